"""FolderLock: one writer per folder, over all processes of a machine."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from jalon.errors import CheckpointError, FolderInUse
from jalon.store.atomic import make_folder

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK_NAME = "lock"
_TAKEN = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK}
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
_FAR = 1 << 30
"""The byte that Windows locks. What is locked there cannot be read, and the number at the beginning has to be."""


class FolderLock:
    """Keep a folder to one writer.

    The lock is the system's, on a file ``lock`` in the folder that holds the number of the process. It is free again when
    that process ends, however it ends; its forked children do not keep it. The file stays where it is: it says nothing by
    being there, and removing it would let in two that have opened it before and after. Who removes the whole folder does so
    while he holds the lock.

    Where a file system has no locks, as some network file systems, the folder is not protected.

    Args:
        folder: The folder; made where it is missing.
        who: Who writes there, for messages.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> lock = FolderLock(folder, who="BackupAndRestore")
        >>> lock.acquire()
        >>> (folder / "lock").read_text() == str(os.getpid())
        True
        >>> lock.release()
    """

    def __init__(self, folder: Path, *, who: str) -> None:
        self.folder = folder
        self.path = folder / LOCK_NAME
        self._who = who
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the folder, unless this lock has it.

        Raises:
            FolderInUse: Another writer has it, in this process or another one.
            CheckpointError: The file cannot be written.
        """
        try:
            while self._descriptor is None:
                self._try()
        except CheckpointError:
            raise
        except OSError as exc:
            raise CheckpointError(
                f"{self._who} cannot write {self.path}: {exc.strerror}. "
                "Choose another folder, change its permissions or free space there."
            ) from exc

    def _try(self) -> None:
        make_folder(self.folder)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not _lock(descriptor):
                raise FolderInUse(self.folder, _number_in(descriptor), who=self._who)
            if self._is_the_file(descriptor):
                os.ftruncate(descriptor, 0)
                os.write(descriptor, str(os.getpid()).encode())
                self._descriptor = descriptor
                _held.add(self)
        finally:
            if self._descriptor is None:
                os.close(descriptor)

    def release(self) -> None:
        """Leave the folder to the next one. May run twice."""
        if self._descriptor is None:
            return
        with suppress(OSError):  # the number says nothing any more
            os.ftruncate(self._descriptor, 0)
        self.forget()

    def forget(self) -> None:
        """Give up what a forked child has of its parent's lock; the parent keeps it."""
        descriptor, self._descriptor = self._descriptor, None
        _held.discard(self)
        if descriptor is not None:
            with suppress(OSError):  # said of a file that is closed all the same
                os.close(descriptor)

    def _is_the_file(self, descriptor: int) -> bool:
        """Return whether what was locked is still what has the name; the folder may have been removed meanwhile."""
        try:
            return os.path.samestat(os.fstat(descriptor), self.path.stat())
        except FileNotFoundError:
            return False


_held: set[FolderLock] = set()


def _forget_all() -> None:
    for lock in list(_held):
        lock.forget()


if hasattr(os, "register_at_fork"):
    # The lock belongs to the open file, which a child shares, and would be held for as long as the last of them lives. That
    # of fcntl.lockf belongs to the process, but is gone as soon as anything in it opens and closes the file, as a callback
    # does that copies the folder elsewhere.
    os.register_at_fork(after_in_child=_forget_all)


def _number_in(descriptor: int) -> int | None:
    text = os.pread(descriptor, 20, 0) if hasattr(os, "pread") else os.read(descriptor, 20)
    return int(text) if text.isdigit() else None


if fcntl is not None:

    def _lock(descriptor: int) -> bool:
        """Lock an open file, and return whether nobody else had it."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            if exc.errno in _TAKEN:
                return False
            if exc.errno not in _NO_LOCKS:
                raise
        return True

else:
    import msvcrt

    def _lock(descriptor: int) -> bool:
        """Lock an open file, and return whether nobody else had it."""
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError as exc:
            if exc.errno in _TAKEN:
                return False
            raise
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
        return True
