"""A file under its final name is whole: temp file beside it, fsync, rename, fsync of the folder.

On Linux the new file is on the disk when a block of :func:`replacing` ends. What is weaker elsewhere: macOS hands the
data to the drive, which may still hold them in its own memory when power fails; Windows cannot sync a folder, so that
after a power cut the old file may be there in place of the new one. Whole it is everywhere.
"""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from jalon.errors import CheckpointError

_BUFFER_BYTES = 1 << 20
_FOLDERS_SYNC = os.name != "nt"
_CANNOT_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EBADF}
_numbers = itertools.count()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Put a new file in the place of an old one, whole or not at all.

    The block writes the file yielded, which lies in the same folder and is called ``.<name>.tmp-<pid>-<n>``. After the
    block it takes the final name. On an exception it is removed, and the old file is what it was. A missing folder is
    made; permissions follow the umask; a symbolic link stays one, and the file it points to is replaced.

    Args:
        path: The final name.

    Raises:
        OSError: The system refuses, as on a full disk.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "notes.txt")
        >>> with replacing(path) as temp:
        ...     _ = temp.write_text("whole")
        >>> path.read_text()
        'whole'
    """
    target = Path(os.path.realpath(path)) if path.is_symlink() else path
    make_folder(target.parent)
    temp = temp_beside(target)
    try:
        yield temp
    except BaseException:
        temp.unlink(missing_ok=True)
        raise
    put_in_place(temp, target)


def put_in_place(temp: Path, target: Path) -> None:
    """Give a file that was written beside it its final name, once it is on the disk.

    Args:
        temp: The file; removed where it cannot be put in place.
        target: The final name.

    Raises:
        OSError: The system refuses, as on a full disk.
    """
    try:
        _sync(temp, os.O_RDWR)
        temp.replace(target)
    except BaseException:
        temp.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


def write_bytes(path: Path, chunks: Iterable[bytes | memoryview]) -> None:
    """Write a file from pieces, whole or not at all.

    Args:
        path: The final name.
        chunks: What is written, in order. Small pieces are joined, large ones go to the system as they are.

    Raises:
        OSError: The system refuses, as on a full disk.
    """
    with replacing(path) as temp, open(temp, "xb", buffering=_BUFFER_BYTES) as file:
        for chunk in chunks:
            file.write(chunk)


def make_folder(folder: Path) -> None:
    """Make a folder that lasts, and the missing ones above it."""
    if folder.is_dir() or folder == folder.parent:
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def refuse_unwritable(path: Path, who: str) -> None:
    """Refuse a path where no file can be put, by trying it with another file beside it.

    Missing folders are made. What is at the path itself is not touched.

    Args:
        path: Where a file is going to be written.
        who: Who is going to write it, for the message.

    Raises:
        CheckpointError: It names the path, the reason and what to do.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        make_folder(path.parent)
        with open(temp_beside(path), "xb") as probe:
            Path(probe.name).unlink()
    except OSError as exc:
        raise CheckpointError(f"{who} cannot write {path}: {_explained(exc, path)}.") from exc


def _explained(exc: OSError, path: Path) -> str:
    in_the_way = next((folder for folder in path.parents if os.path.lexists(folder) and not folder.is_dir()), None)
    if isinstance(exc, (FileExistsError, NotADirectoryError)) and in_the_way is not None:
        return f"{in_the_way} is a file where a folder should be; remove it or choose another folder"
    remedy = {
        errno.EISDIR: "; give the path of a file in it",
        errno.EROFS: "; choose a folder on a disk that can be written to",
        errno.ENOSPC: "; free space there or choose another disk",
    }.get(exc.errno or 0, "; choose another folder or change its permissions")
    return f"{exc.strerror}{remedy}"


def temp_beside(path: Path, *, ending: str = "") -> Path:
    """Return a name of its own beside a path, for what will take the path's place.

    Args:
        path: The final name.
        ending: How the name has to end, for a writer that knows a format by it.
    """
    return path.with_name(f".{path.name}.tmp-{os.getpid()}-{next(_numbers)}{ending}")


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Put on the disk which files a folder has, where the system can."""
    if not _FOLDERS_SYNC:
        return
    try:
        _sync(folder, os.O_RDONLY)
    except OSError as exc:
        if exc.errno not in _CANNOT_SYNC:  # some network file systems have no such call
            raise
