"""The journal of a run: a record a line, written by a thread of its own, read by anyone meanwhile."""

from __future__ import annotations

import json
import math
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

JOURNAL = "journal.jsonl"
"""The journal's name in a run's folder."""
NOW = "now.json"
"""Beside it, where the run stands at the moment; written over and over."""

Record = dict[str, Any]

_WRITE_SECONDS = 0.25
_NOW_SECONDS = 1.0
_NOW_BYTES = 512
_MOST_WAITING = 20_000
_MOST_UNWRITTEN = 16 << 20
_PIECE_BYTES = 8 << 20
_HEAD_BYTES = 512
_SPELT = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class JournalWriter:
    """Append records to a journal, from a thread of its own.

    Whoever hands in a record never waits for the disk, and what waits to be written is bounded: where the disk takes nothing
    for long, further records are lost, and a record says how many. Half a line, as a killed process leaves it, is removed.

    Args:
        folder: The run's folder; made where it is missing.
        anew: Whether a journal that is there belongs to another run and is replaced. Otherwise it is gone on with.
        now: Returns where the run stands, for ``now.json``. Called by the thread. Defaults to nothing being told.

    Raises:
        OSError: The system refuses.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> writer = JournalWriter(folder, anew=True)
        >>> writer.append({"kind": "epoch", "time": 1.5, "epoch": 0, "logs": {"loss": float("nan")}})
        >>> writer.close()
        >>> (folder / "journal.jsonl").read_text()
        '{"kind":"epoch","time":1.5,"epoch":0,"logs":{"loss":"NaN"}}\\n'
        >>> list(records(folder / "journal.jsonl"))
        [{'kind': 'epoch', 'time': 1.5, 'epoch': 0, 'logs': {'loss': nan}}]
    """

    def __init__(self, folder: Path, *, anew: bool, now: Callable[[], Record] | None = None) -> None:
        self.path = folder / JOURNAL
        self.fault: OSError | None = None
        self._now_path, self._now, self._told_now, self._ticks = folder / NOW, now, b"", 0
        self._waiting: deque[Record] = deque()
        self._lost = 0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._process = os.getpid()
        folder.mkdir(parents=True, exist_ok=True)
        if anew:
            self.path.unlink(missing_ok=True)
        self._descriptor: int | None = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        self._unwritten = b""
        _cut_torn_tail(self._descriptor)
        self._thread = threading.Thread(target=self._work, name="jalon-journal", daemon=True)
        self._thread.start()

    def append(self, record: Record) -> None:
        """Hand in a record, which must not be changed afterwards. In a forked child it goes nowhere."""
        if os.getpid() != self._process:
            return
        if len(self._waiting) < _MOST_WAITING:
            self._waiting.append(record)
        else:
            self._lost += 1

    def write(self) -> None:
        """Write what waits now, in this thread.

        Raises:
            OSError: The system refuses; what waits is kept, and tried again.
        """
        if os.getpid() != self._process:
            return
        with self._lock:
            self._write()

    def close(self) -> None:
        """Write what waits, and end the thread. May run twice.

        Raises:
            OSError: Something could not be written.
        """
        if self._descriptor is None or os.getpid() != self._process:
            return
        self._closing.set()
        self._thread.join()
        try:
            self.write()
            with suppress(OSError):
                os.fsync(self._descriptor)
        finally:
            self._told_now = b""
            self._tell_now()
            os.close(self._descriptor)
            self._descriptor = None

    def _work(self) -> None:
        while not self._closing.wait(_WRITE_SECONDS):
            try:
                self.write()
                self.fault = None
            except OSError as exc:
                self.fault = exc
            self._ticks += 1
            if self._ticks * _WRITE_SECONDS >= _NOW_SECONDS:
                self._ticks = 0
                self._tell_now()

    def _write(self) -> None:
        while self._waiting:
            self._unwritten += encoded(self._waiting.popleft())
        if self._lost and not self._waiting:
            text = f"{self._lost:,} records were lost: the disk took them too slowly."
            self._lost, self._unwritten = 0, self._unwritten + encoded({"kind": "warning", "text": text})
        while self._unwritten and self._descriptor is not None:
            try:
                written = os.write(self._descriptor, self._unwritten)
            except OSError:
                if len(self._unwritten) > _MOST_UNWRITTEN:
                    self._lost += self._unwritten.count(b"\n")
                    self._unwritten = b"\n"  # it may have been broken off within a line
                raise
            self._unwritten = self._unwritten[written:]

    def _tell_now(self) -> None:
        """Write over where the run stands; that the file is touched tells that the process lives."""
        if self._now is None:
            return
        said = json.dumps(self._now()).encode().ljust(_NOW_BYTES - 1) + b"\n"
        with suppress(OSError):
            if said == self._told_now:
                os.utime(self._now_path)
                return
            # One write of one length in place: a reader sees the old text or the new one, and no file is ever left over.
            descriptor = os.open(self._now_path, os.O_WRONLY | os.O_CREAT, 0o666)
            try:
                os.write(descriptor, said)
                self._told_now = said
            finally:
                os.close(descriptor)


class JournalTail:
    """Read a file of lines while it is written: each call returns the whole lines that are new.

    Args:
        path: The file; it need not be there yet.

    Attributes:
        begun_anew: Whether, with the last call, what was read before no longer holds: another file is there, or a shorter one.
        behind: How many bytes were there that the last call has not read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.begun_anew = False
        self.behind = 0
        self._place = 0
        self._head = b""

    def lines(self, most: int = _PIECE_BYTES) -> list[bytes]:
        """Return new lines, without their ends; of at most so many bytes, unless one line is longer.

        Args:
            most: How many bytes to read. What is left is for the next call.
        """
        self.begun_anew = False
        try:
            with open(self.path, "rb") as file:
                return self._read(file, most)
        except (FileNotFoundError, NotADirectoryError):
            self._begin_anew()
            return []

    def _read(self, file: Any, most: int) -> list[bytes]:
        head, size = file.read(_HEAD_BYTES), os.fstat(file.fileno()).st_size
        if size < self._place or not head.startswith(self._head):
            self._begin_anew()
        file.seek(self._place)
        piece: bytes = file.read(most)
        while b"\n" not in piece and (more := file.read(most)):
            piece += more
        end = piece.rfind(b"\n") + 1
        self._place += end
        self._head = head[: min(self._place, _HEAD_BYTES)]
        self.behind = size - self._place if end else 0
        return piece[:end].splitlines()

    def _begin_anew(self) -> None:
        self.begun_anew = self._place > 0
        self._place, self._head, self.behind = 0, b"", 0


def encoded(record: Mapping[str, Any]) -> bytes:
    """Return a record as a line. Numbers that JSON has not are spelt ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``.

    Args:
        record: JSON values; what is none is told as text.
    """
    try:
        text = json.dumps(record, allow_nan=False, separators=(",", ":"), default=str)
    except ValueError:
        text = json.dumps(_spelt(record), separators=(",", ":"), default=str)
    return text.encode() + b"\n"


def decoded(line: bytes) -> Record | None:
    """Return the record in a line, or ``None`` where it is none, as what a killed process left half.

    Args:
        line: One line of a journal.
    """
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not isinstance(record.get("kind"), str):
        return None
    logs = record.get("logs")
    if isinstance(logs, dict):
        record["logs"] = {name: _SPELT.get(value, value) if isinstance(value, str) else value for name, value in logs.items()}
    return record


def records(path: Path) -> Iterator[Record]:
    """Yield every record of a journal, those included that a later start has made void.

    Args:
        path: The journal. Nothing need be there.
    """
    tail = JournalTail(path)
    while lines := tail.lines():
        yield from filter(None, map(decoded, lines))


def standing(folder: Path) -> Record:
    """Return where a run stands by its ``now.json``, and when that was ``written``; nothing where it cannot be read."""
    path = folder / NOW
    try:
        said = json.loads(path.read_bytes())
        return {**said, "written": path.stat().st_mtime} if isinstance(said, dict) else {}
    except (OSError, ValueError, RecursionError):
        return {}


def _cut_torn_tail(descriptor: int) -> None:
    """Remove half a line, which a killed process has left and no reader has taken in."""
    end = os.lseek(descriptor, 0, os.SEEK_END)
    os.lseek(descriptor, max(0, end - _PIECE_BYTES), os.SEEK_SET)
    tail = os.read(descriptor, _PIECE_BYTES)
    torn = len(tail) - tail.rfind(b"\n") - 1
    if torn:
        os.ftruncate(descriptor, end - torn)


def _spelt(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _spelt(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_spelt(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
