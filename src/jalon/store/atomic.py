"""A file under its final name is whole: temp file beside it, fsync, rename, fsync of the folder.

On Linux the new file is on the disk when a block of :func:`replacing` ends. On macOS too, where the file system can be told
to have the drive write down what it holds in its own memory (``F_FULLFSYNC``); elsewhere there it may still hold it when
power fails. Windows cannot sync a folder, so that after a power cut the old file may be there in place of the new one. Whole
it is everywhere.

Two processes are told apart by their numbers, which hold for one machine (and one container): let no two machines write the
same file. Windows does not say which processes live; there an unfinished file is safe from :func:`remove_leftovers` for as
long as it is open.
"""

from __future__ import annotations

import errno
import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import BinaryIO

from jalon.errors import CheckpointError

try:
    from fcntl import F_FULLFSYNC, fcntl  # type: ignore[attr-defined,unused-ignore]
except ImportError:  # not macOS
    F_FULLFSYNC = None

_BUFFER_BYTES = 1 << 20
_PIECE_BYTES = 16 << 20
_BLOCK = bytes(4096)
_FOLDERS_SYNC = os.name != "nt"
_CANNOT_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EBADF}
_FIRST_NUMBER = int.from_bytes(os.urandom(4), "big")  # in a container, the next process often has the same process number
_numbers = itertools.count(_FIRST_NUMBER)
_TEMP_NAME = re.compile(r"\.(?P<name>.+)\.tmp-(?P<pid>[0-9]+)-(?P<number>[0-9]+)(?:\D.*)?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Late:
    """Is a piece of a file that is known only when the pieces after it are written.

    Args:
        size: How many bytes it is.
        content: Returns it; may wait.
    """

    size: int
    content: Callable[[], bytes]


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
    with _renaming_synced(path) as temp:
        yield temp
        _sync(temp, os.O_RDWR)


@contextmanager
def _renaming_synced(path: Path) -> Iterator[Path]:
    """Do as ``replacing`` does, for a block that syncs the file itself."""
    target = Path(os.path.realpath(path)) if path.is_symlink() else path
    make_folder(target.parent)
    temp = temp_beside(target)
    with _removed_on_error(temp):
        yield temp
        _replace(temp, target)


def put_in_place(temp: Path, target: Path) -> None:
    """Give a file that was written beside it its final name, once it is on the disk.

    Args:
        temp: The file; removed where it cannot be put in place.
        target: The final name.

    Raises:
        OSError: The system refuses, as on a full disk.
    """
    with _removed_on_error(temp):
        _sync(temp, os.O_RDWR)
        _replace(temp, target)


def _replace(temp: Path, target: Path) -> None:
    """Rename, and put the rename on the disk. A large old file's blocks are freed by another thread, after that.

    To free them takes as long as to write some of them, and would be waited for in the rename.
    """
    old = _held(target)
    try:
        temp.replace(target)
        sync_folder(target.parent)
    finally:
        if old is not None:
            _close_aside(old)


def _held(path: Path) -> int | None:
    """Return a descriptor that keeps the blocks of a large file in use, where the system has such."""
    with suppress(OSError):
        if hasattr(os, "O_PATH") and path.stat().st_size >= _PIECE_BYTES:
            return os.open(path, os.O_PATH)
    return None


def _close_aside(descriptor: int) -> None:
    try:
        Thread(target=os.close, args=(descriptor,), name="jalon-free", daemon=True).start()
    except RuntimeError:  # no more threads are to be had, or Python 3.12 is about to end
        os.close(descriptor)


@contextmanager
def _removed_on_error(temp: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with suppress(OSError):
            temp.unlink()
        raise


def write_bytes(path: Path, chunks: Iterable[bytes | memoryview | Late], *, exposed: bool = True) -> None:
    """Write a file from pieces, whole or not at all.

    Args:
        path: The final name.
        chunks: What is written, in order. Small pieces are joined, large ones go to the system as they are, and those that
            are late are asked for when all others are written.
        exposed: Whether somebody may look at the path before it is whole. A file that nobody knows of yet, in a folder that
            is there, is written under its name at once, and it is for others to sync the folder. Defaults to True.

    Raises:
        OSError: The system refuses, as on a full disk.
    """
    place_of = _renaming_synced(path) if exposed else nullcontext(path)
    with place_of as temp, open(temp, "xb", buffering=_BUFFER_BYTES) as file:
        _write(file, chunks)
        file.flush()
        _sync_open(file.fileno())


def _write(file: BinaryIO, chunks: Iterable[bytes | memoryview | Late]) -> None:
    late, end, begun = [], 0, 0
    for piece in _in_pieces(chunks):
        if isinstance(piece, Late):
            late.append((end, piece))
            end += file.write(bytes(piece.size))
            continue
        end += file.write(piece)
        if end - begun >= _PIECE_BYTES:
            _begin_sync(file.fileno(), begun, end - begun)
            begun = end
    for start, piece in late:
        file.seek(start)
        file.write(piece.content())


def _in_pieces(chunks: Iterable[bytes | memoryview | Late]) -> Iterator[bytes | memoryview | Late]:
    for chunk in chunks:
        if isinstance(chunk, Late) or len(chunk) <= _PIECE_BYTES:
            yield chunk
        else:
            view = memoryview(chunk)
            yield from (view[start : start + _PIECE_BYTES] for start in range(0, len(view), _PIECE_BYTES))


def _begin_sync(descriptor: int, start: int, size: int) -> None:
    """Let the disk begin with what it would otherwise get at the end."""
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError):
            os.posix_fadvise(descriptor, start, size, os.POSIX_FADV_DONTNEED)


def make_folder(folder: Path) -> None:
    """Make a folder that lasts, and the missing ones above it."""
    if folder.is_dir() or folder == folder.parent:
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def obstacle(path: Path, *, folder: bool = False) -> str:
    """Return why nothing can be written at a path, as far as can be known without touching it; nothing if it can.

    Args:
        path: A file, or a folder.
        folder: Whether it is to be a folder, in which files are written.
    """
    try:
        if path.is_dir() != folder and path.exists():
            return "it is a file" if folder else "it is a folder"
        if path.exists():
            return "" if os.access(path, os.W_OK | (os.X_OK if folder else 0)) else "writing to it is not permitted"
        nearest = next(parent for parent in path.absolute().parents if parent.exists())
    except PermissionError:
        return "looking into its folder is not permitted"
    if not nearest.is_dir():
        return f"{str(nearest)!r} is not a folder"
    return "" if os.access(nearest, os.W_OK | os.X_OK) else f"writing to the folder {str(nearest)!r} is not permitted"


def refuse_unwritable(path: Path, who: str) -> None:
    """Refuse a path where no file can be put, by writing a block to another file beside it.

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
        temp = temp_beside(path)
        with _removed_on_error(temp):
            with open(temp, "xb") as probe:
                probe.write(_BLOCK)
                probe.flush()
                _sync_open(probe.fileno())
            temp.unlink()
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
        errno.EDQUOT: "; free some of your quota there or choose another disk",
    }.get(exc.errno or 0, "; choose another folder or change its permissions")
    return f"{exc.strerror}{remedy}"


def temp_beside(path: Path, *, ending: str = "") -> Path:
    """Return a name of its own beside a path, for what will take the path's place.

    Args:
        path: The final name.
        ending: How the name has to end, for a writer that knows a format by it.
    """
    return path.with_name(f".{path.name}.tmp-{os.getpid()}-{next(_numbers)}{ending}")


def remove_leftovers(path: Path, *, same_suffix: bool = False) -> None:
    """Remove what processes that no longer live have left of files that they were writing.

    The files are those of :func:`temp_beside`. A process that lives keeps its own. What cannot be removed stays.

    Args:
        path: A final name. Nothing need be there.
        same_suffix: Also remove what was left of other files in its folder with the same suffix, where names are made from
            a template. Defaults to ``False``.
    """
    target = Path(os.path.realpath(path))
    own = range(_FIRST_NUMBER, next(_numbers))
    with suppress(OSError):
        for temp in list(target.parent.iterdir()):
            found = _TEMP_NAME.fullmatch(temp.name)
            if found is None or _is_kept(int(found["pid"]), int(found["number"]), own):
                continue
            if found["name"] == target.name or (same_suffix and Path(found["name"]).suffix == target.suffix):
                with suppress(OSError):
                    temp.unlink()


def _is_kept(pid: int, number: int, own: range) -> bool:
    """Return whether somebody may still be writing a file. What has this process's number may be from one before it."""
    return number in own if pid == os.getpid() else _lives(pid)


def _lives(pid: int) -> bool:
    if os.name == "nt":
        return False  # to ask there is to send Ctrl-C
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        _sync_open(descriptor)
    finally:
        os.close(descriptor)


def _sync_open(descriptor: int) -> None:
    if F_FULLFSYNC is not None:
        with suppress(OSError):  # some file systems have no such call
            fcntl(descriptor, F_FULLFSYNC)
            return
    os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """Put on the disk which files a folder has, where the system can."""
    if not _FOLDERS_SYNC:
        return
    try:
        _sync(folder, os.O_RDONLY)
    except OSError as exc:
        if exc.errno not in _CANNOT_SYNC:  # some network file systems have no such call
            raise
