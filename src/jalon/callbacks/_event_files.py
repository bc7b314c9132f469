"""The event files of a run that is gone on with, cut back to what a backup counts on, whoever reads them meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path

from jalon.sinks.tfevents import HEAD_BYTES, event_files, head, later_name, whole_records
from jalon.store import atomic

_PIECE_BYTES = 1 << 20


def cut_back(folder: Path, run: str, length: int, *, now: float) -> Path | None:
    """Return the one file that holds the records of a run, up to a length; make it where there is none.

    Records that are not to be may have been read already. Therefore no file is made shorter under the eyes of a reader, and
    none vanishes: all that counts goes into a new file, of a later name, whose head tells readers to begin again. After that,
    of the older files the head is left. Wherever this is broken off, the newest file has all that counts.

    Args:
        folder: The folder of the event files.
        run: The name of the run.
        length: How many bytes of records are wanted, the head not counted.
        now: The time, in seconds since 1970.

    Returns:
        The file, with fewer records than wanted where they are gone; ``None`` where the run has no file at all.

    Raises:
        OSError: The system refuses.
    """
    for left in folder.glob(f".{run}.tmp-*"):
        left.unlink(missing_ok=True)
    files = event_files(folder, run)
    if not files:
        return None
    path, end = _fullest(files, HEAD_BYTES + length)
    first = head(folder, run, now)
    if path != files[-1] or path.stat().st_size != end or end < HEAD_BYTES:
        path = _begin_again(folder, run, first, path, end, now)
    for older in files:
        if older != path and older.stat().st_size != HEAD_BYTES:
            with suppress(OSError):  # the next start tries again; until then readers forget it where the new file begins
                _put(folder, run, older, [first])
    return path


def _fullest(files: Sequence[Path], end: int) -> tuple[Path, int]:
    """Return the newest file that is so long, or else the one with most whole records; and where it is to end."""
    for path in reversed(files):
        if path.stat().st_size >= end:
            return path, end
    end, path = max((whole_records(path), path) for path in files)
    return path, end


def _begin_again(folder: Path, run: str, first: bytes, source: Path, end: int, now: float) -> Path:
    new = folder / later_name(folder, run, now)
    try:
        _put(folder, run, new, chain([first], _pieces(source, HEAD_BYTES, end)))
    except OSError:
        # On a full disk the records count more than who reads them just now.
        if end < HEAD_BYTES:
            raise
        os.truncate(source, end)
        return source
    return new


def _pieces(path: Path, begin: int, end: int) -> Iterator[bytes]:
    with open(path, "rb") as file:
        file.seek(begin)
        while piece := file.read(max(0, min(_PIECE_BYTES, end - file.tell()))):
            yield piece


def _put(folder: Path, run: str, path: Path, pieces: Iterable[bytes]) -> None:
    temp = atomic.temp_beside(folder / run)  # TensorBoard reads whatever has "tfevents" in its name
    try:
        with open(temp, "xb") as file:
            file.writelines(pieces)
    except BaseException:
        temp.unlink(missing_ok=True)
        raise
    atomic.put_in_place(temp, path)
