"""Snapshots: folders whose manifest, written last, makes them exist.

A snapshot is a folder named by its number, ``00000012``, with files and ``manifest.json``. The manifest names each file with its
size and SHA-256, says what the snapshot is about, and carries the SHA-256 of what it says itself. A folder without a manifest
that holds true does not exist: it is never read, and removed by the next writer.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from jalon.errors import CheckpointError
from jalon.store import atomic

MANIFEST = "manifest.json"
FORMAT = 1

_HEAD = b'{"sha256":"%s","content":'
_HEAD_BYTES = len(_HEAD % (b"0" * 64))
_DIGITS = 8


class FileRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Is what a manifest says of a file.

    Args:
        size: In bytes.
        sha256: In hexadecimal.
    """

    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Is what a manifest says.

    Args:
        format: The version of this description.
        files: The files by name.
        about: What the snapshot is of, as JSON values.
    """

    format: int
    files: dict[str, FileRecord]
    about: dict[str, Any]


class Damaged(CheckpointError):
    """Says which file of a snapshot is not what it was, and how."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Is a snapshot that was found whole.

    Args:
        path: Its folder.
        manifest: What its manifest says.
    """

    path: Path
    manifest: Manifest

    @property
    def number(self) -> int:
        """Its number; the newest has the greatest."""
        return int(self.path.name)

    @property
    def about(self) -> dict[str, Any]:
        """What it is of."""
        return self.manifest.about


class Snapshots:
    """Is a folder of snapshots.

    Args:
        root: The folder. It need not be there.

    Example:
        >>> import tempfile
        >>> snapshots = Snapshots(Path(tempfile.mkdtemp()))
        >>> folder = snapshots.begin()
        >>> snapshots.make(folder)
        >>> _ = write_file(folder / "notes.txt", b"whole")
        >>> _ = snapshots.commit(folder, {"epoch": 3})
        >>> [snapshot.about for snapshot in snapshots.newest_first()]
        [{'epoch': 3}]
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._next: int | None = None
        self._whole: list[Path] | None = None
        self._discarded: list[Path] = []

    def begin(self) -> Path:
        """Return the folder of the next snapshot, which is not there yet.

        Raises:
            OSError: The system refuses.
        """
        if self._next is None:
            self._next = max(self._numbers(all_kinds=True), default=0) + 1
        folder = self._folder(self._next)
        self._next += 1
        return folder

    def make(self, folder: Path) -> None:
        """Make the folder of a snapshot, for its files, where nobody has.

        Args:
            folder: What ``begin`` returned.

        Raises:
            OSError: The system refuses.
        """
        atomic.make_folder(self.root)
        folder.mkdir(exist_ok=True)

    def commit(self, folder: Path, about: Mapping[str, Any], *, written: Mapping[str, FileRecord] | None = None) -> Snapshot:
        """Make a folder a snapshot, with the files that are in it, which are on the disk.

        Args:
            folder: What ``begin`` returned.
            about: What the snapshot is of, as JSON values.
            written: What ``write_file`` returned, by the file's name; others are read.

        Raises:
            OSError: The system refuses, as on a full disk. What was there before is intact.
        """
        known = written or {}
        files = {name: known.get(name) or _recorded(folder / name) for name in sorted(os.listdir(folder))}  # noqa: PTH208  # as below
        manifest = Manifest(FORMAT, files, dict(about))
        temp = atomic.temp_beside(folder / MANIFEST)
        write_file(temp, _sealed(msgspec.json.encode(manifest)))
        atomic.sync_folder(folder)  # what the manifest names is there before it is
        temp.replace(folder / MANIFEST)
        atomic.sync_folder(folder)
        atomic.sync_folder(self.root)
        if self._whole is not None:
            self._whole.append(folder)
        return Snapshot(folder, manifest)

    def discard(self, folder: Path) -> None:
        """Delete what does not become a snapshot. What cannot be deleted is tried again by ``keep``."""
        try:
            _remove(folder)
        except OSError:
            self._discarded.append(folder)

    def newest_first(self) -> Iterator[Snapshot | Damaged]:
        """Yield what has a manifest, the newest first: each whole snapshot, and what is wrong with each that is not."""
        for number in sorted(self._numbers(), reverse=True):
            folder = self._folder(number)
            if not os.path.lexists(folder / MANIFEST):
                continue
            try:
                yield read(folder)
            except Damaged as exc:
                yield exc

    def keep(self, kept: int) -> None:
        """Delete all snapshots but the newest; nothing that may still be written to is touched.

        Args:
            kept: How many are kept, 1 or more.

        Raises:
            OSError: Something cannot be deleted. It is tried again.
        """
        if self._whole is None:
            folders = [self._folder(number) for number in sorted(self._numbers())]
            self._whole = [folder for folder in folders if os.path.lexists(folder / MANIFEST)]
        for superfluous in (self._discarded, self._whole):
            while len(superfluous) > (kept if superfluous is self._whole else 0):
                _remove(superfluous[0])
                del superfluous[0]

    def sweep(self) -> None:
        """Delete what writers that died have left. Nobody may be writing.

        Raises:
            OSError: Something cannot be deleted.
        """
        for folder in map(self._folder, self._numbers()):
            if not os.path.lexists(folder / MANIFEST):
                _remove(folder)

    def clear(self) -> None:
        """Delete everything. Nobody may be writing.

        Raises:
            OSError: Something cannot be deleted.
        """
        self._whole = None
        for folder in map(self._folder, self._numbers()):
            _remove(folder)

    def _folder(self, number: int) -> Path:
        return self.root / f"{number:0{_DIGITS}}"

    def _numbers(self, *, all_kinds: bool = False) -> Iterator[int]:
        """Yield the numbers of the snapshots there are, or with ``all_kinds`` whatever has the name of one."""
        with suppress(FileNotFoundError), os.scandir(self.root) as entries:
            for entry in entries:
                if len(entry.name) == _DIGITS and entry.name.isdecimal() and (all_kinds or entry.is_dir(follow_symlinks=False)):
                    yield int(entry.name)


def read(folder: Path) -> Snapshot:
    """Return a snapshot whose every file is what its manifest says.

    Raises:
        Damaged: It names the file and what is wrong with it.
    """
    manifest = read_manifest(folder)
    for name, record in manifest.files.items():
        path = folder / name
        fault = _fault(path, record)
        if fault is not None:
            raise Damaged(f"{path} {fault}")
    return Snapshot(folder, manifest)


def read_manifest(folder: Path) -> Manifest:
    """Return what a snapshot's manifest says, without a look at the files.

    Raises:
        Damaged: There is none, or it does not hold true.
    """
    path = folder / MANIFEST
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            fault = "is a link" if path.is_symlink() else "is no file"
            raise Damaged(f"{path} {fault}")
        data = path.read_bytes()
    except Damaged:
        raise
    except OSError as exc:
        raise Damaged(f"{path} cannot be read: {exc.strerror}") from exc
    body = data[_HEAD_BYTES:-1]
    if data != _sealed(body):
        raise Damaged(f"{path} is damaged: it does not have its checksum")
    try:
        manifest = msgspec.json.decode(body, type=Manifest)
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        raise Damaged(f"{path} says something else than a manifest does: {exc}") from exc
    if manifest.format > FORMAT:
        raise Damaged(f"{path} was written by a newer jalon (format {manifest.format}; this one reads {FORMAT})")
    outside = next((name for name in manifest.files if name in ("", ".", "..", MANIFEST) or {"/", "\\", "\0"} & set(name)), None)
    if outside is not None:
        raise Damaged(f"{path} names {outside!r}, which is no file in its folder")
    return manifest


def _sealed(body: bytes) -> bytes:
    return _HEAD % hashlib.sha256(body).hexdigest().encode() + body + b"}"


def write_file(path: Path, data: bytes) -> FileRecord:
    """Write a file of a snapshot, which no one reads before the snapshot is there, and return what its manifest says of it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        done = 0
        while done < len(data):
            done += os.write(descriptor, data[done:] if done else data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return FileRecord(len(data), hashlib.sha256(data).hexdigest())


def _recorded(path: Path) -> FileRecord:
    with open(path, "rb") as file:
        return FileRecord(os.fstat(file.fileno()).st_size, hashlib.file_digest(file, "sha256").hexdigest())


def _fault(path: Path, record: FileRecord) -> str | None:
    """Return what is wrong with a file, or ``None`` where it is what the manifest says."""
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return "is no file of its own, but a link or a folder"
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size != record.size:
                return f"is damaged: it has {size:,} bytes where {record.size:,} were written"
            if hashlib.file_digest(file, "sha256").hexdigest() != record.sha256:
                return "is damaged: it does not have its checksum"
    except OSError as exc:
        return f"cannot be read: {exc.strerror}"
    return None


def _remove(folder: Path) -> None:
    """Delete a snapshot, its manifest first: what is half deleted does not exist."""
    with suppress(FileNotFoundError):
        names = os.listdir(folder)  # noqa: PTH208  # a Path for each takes the writing thread longer than the call
        for name in sorted(names, key=lambda name: name != MANIFEST):
            os.unlink(folder / name)  # noqa: PTH108
        os.rmdir(folder)  # noqa: PTH106
