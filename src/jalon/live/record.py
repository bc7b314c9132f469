"""RunRecord: all that is known of one run, brought up to date from its files each time it is asked for."""

from __future__ import annotations

import csv
import math
from abc import ABC, abstractmethod
from array import array
from collections import deque
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from jalon.live.curves import Table
from jalon.store import event_records
from jalon.store.event_records import EventFile, Point
from jalon.store.journal import JournalTail, decoded, standing
from jalon.store.process import is_alive

MARKED = ("save", "rate", "stop", "warning", "error", "note", "command", "set", "nan")
_MOST_MARKS = 500
_SILENT_SECONDS = 60.0
_HEAD_BYTES = 4096
_SEPARATORS = ",;\t"
_PIECE_BYTES = 8 << 20
_BATCH = b'{"kind":"batch"'


class _Batch(msgspec.Struct, gc=False):
    """Is what a journal says of a batch: the record there are most of, and read the fastest way."""

    time: float
    epoch: int
    batch: int
    step: int
    logs: dict[str, float | str]


_batch = msgspec.json.Decoder(_Batch).decode
_batches = msgspec.json.Decoder(list[_Batch]).decode


class RunRecord(ABC):
    """Knows one run.

    Args:
        id: By what the run is asked for: its place among the runs.
        path: Its folder or file.

    Attributes:
        epochs: What each epoch reported.
        steps: What batches reported.
        marks: What happened, and when: saves, rates, stops, warnings, errors, notes, commands.
        begin: What the run said of itself as it began.
        version: A number that grows with what is known.
        complete: Whether all that there was to read has been read.
    """

    kind = ""

    def __init__(self, id: str, path: Path) -> None:  # noqa: A002  # it is called that everywhere
        self.id, self.path = id, path
        self.version = 0
        self._forget()

    def _forget(self) -> None:
        self.epochs, self.steps = Table(), Table()
        self.marks: deque[dict[str, Any]] = deque(maxlen=_MOST_MARKS)
        self.begin: dict[str, Any] = {}
        self.bests: dict[str, dict[str, float]] = {}
        self.end: dict[str, Any] | None = None
        self.complete = False
        self.seconds: dict[int, float] = {}

    @abstractmethod
    def refresh(self, *, most: int = _PIECE_BYTES) -> None:
        """Read what is new, at most so many bytes."""

    def state(self, now: float) -> str:
        """Return how the run is, in a word: ``running``, ``paused``, ``finished``, ``stopped``, ``failed``, ``dead`` …"""
        return "recorded"

    def updated(self) -> float:
        """Return when its file was last written, in seconds since 1970."""
        try:
            return self.path.stat().st_mtime
        except OSError:
            return 0.0

    def standing(self) -> dict[str, Any]:
        """Return where it stands at the moment: epoch, batch, step, phase."""
        return {}


class JournalRun(RunRecord):
    """Knows a run by its journal."""

    kind = "journal"

    def __init__(self, id: str, path: Path) -> None:  # noqa: A002
        super().__init__(id, path)
        self._tail = JournalTail(path / "journal.jsonl")

    def refresh(self, *, most: int = _PIECE_BYTES) -> None:
        lines = self._tail.lines(most)
        if self._tail.begun_anew:
            self._forget()
        self.complete = self._tail.behind == 0
        for is_batch, some in groupby(lines, lambda line: line.startswith(_BATCH)):
            if is_batch:
                self._take_batches(list(some))
            else:
                for record in filter(None, map(decoded, some)):
                    self._take(record)
        self.version += bool(lines) or self._tail.begun_anew

    def updated(self) -> float:
        try:
            return self._tail.path.stat().st_mtime
        except OSError:
            return 0.0

    def standing(self) -> dict[str, Any]:
        return standing(self.path)

    def state(self, now: float) -> str:
        if self.end is not None:
            return str(self.end.get("outcome", "finished"))
        alive = is_alive(self.begin.get("process") or {})
        if alive is None:
            alive = now - max(self.updated(), self.standing().get("written", 0.0)) < _SILENT_SECONDS
            if not alive:
                return "silent"
        if not alive:
            return "dead"
        return "paused" if self._paused else "running"

    @property
    def _paused(self) -> bool:
        for mark in reversed(self.marks):
            if mark["kind"] == "command" and mark.get("outcome") == "done" and mark.get("command") in ("pause", "resume", "stop"):
                return bool(mark["command"] == "pause")
        return False

    def _take_batches(self, lines: list[bytes]) -> None:
        """Take in records of batches, all at once where they are as nearly always: whole, ascending and of the same metrics."""
        try:
            said = _batches(b"[" + b",".join(lines) + b"]")
        except msgspec.DecodeError:
            said = [one for line in lines if (one := _batch_in(line)) is not None]
        names = said[0].logs.keys() if said else set()
        if all(one.logs.keys() == names for one in said):
            columns = {name: _numbers([one.logs[name] for one in said]) for name in names}
            if self.steps.extend([one.step for one in said], [one.time for one in said], columns):
                for row in np.flatnonzero(~np.isfinite(np.column_stack([*columns.values()])).all(axis=1)) if columns else ():
                    self._mark_faults(said[row].logs, said[row].time, epoch=said[row].epoch, step=said[row].step)
                return
        for one in said:
            self.steps.add(one.step, one.time, {name: _number(value) for name, value in one.logs.items()})
            self._mark_faults(one.logs, one.time, epoch=one.epoch, step=one.step)

    def _take(self, record: dict[str, Any]) -> None:
        kind = record["kind"]
        try:
            if kind == "begin":
                self._begin(record)
            elif kind == "epoch":
                self._take_epoch(record)
            elif kind == "end":
                self.end = record
            elif kind in MARKED:
                self.marks.append(record)
                if record.get("best"):  # known only when the file is there, after the epoch's own record
                    self.bests[record["monitor"]] = {"value": record["value"], "epoch": record["epoch"]}
        except (KeyError, TypeError, ValueError, AttributeError):
            return  # it is none of ours

    def _begin(self, record: dict[str, Any]) -> None:
        position = record.get("position") or {}
        if not record.get("resumed"):
            self._forget()
        else:
            self.steps.cut(position.get("step", 0) + 1)
            if "epoch" in position:
                epoch = position["epoch"]
                self.epochs.cut(epoch)
                void = {"save", "rate", "stop", "error", "warning", "nan"}
                kept = [one for one in self.marks if one["kind"] not in void or one.get("epoch", -1) < epoch]
                self.marks = deque(kept, maxlen=_MOST_MARKS)
                self.bests = {name: best for name, best in self.bests.items() if best["epoch"] < epoch}
            self.marks.append(
                {"kind": "resumed", "time": record["time"], "epoch": position.get("epoch"), "step": position.get("step")}
            )
        self.begin, self.end = record, None

    def _take_epoch(self, record: dict[str, Any]) -> None:
        epoch, logs = int(record["epoch"]), record["logs"]
        numbers = {name: float(value) for name, value in logs.items() if isinstance(value, (int, float))}
        self.epochs.add(epoch, float(record["time"]), numbers)
        self.seconds = {epoch: float(record["seconds"])} if "seconds" in record else {}
        self.bests |= record.get("bests") or {}
        self._mark_faults(numbers, record["time"], epoch=epoch, step=record.get("step"))

    def _mark_faults(self, logs: Mapping[str, float | str], time: float, **where: Any) -> None:
        bad = [name for name, value in logs.items() if not math.isfinite(_number(value))]
        if bad and not (self.marks and self.marks[-1]["kind"] == "nan"):
            self.marks.append({"kind": "nan", "time": time, "text": f"{', '.join(bad)} is not finite", **where})


class CsvRun(RunRecord):
    """Knows a run by a table that Keras's ``CSVLogger`` or jalon's wrote, or any with a column ``epoch`` or ``step``."""

    kind = "csv"

    def __init__(self, id: str, path: Path) -> None:  # noqa: A002
        super().__init__(id, path)
        self._tail = JournalTail(path)
        self._header: list[str] = []
        self._separator = ","

    def refresh(self, *, most: int = _PIECE_BYTES) -> None:
        lines = self._tail.lines(most)
        if self._tail.begun_anew:
            self._forget()
            self._header = []
        self.complete = self._tail.behind == 0
        rows = [line.decode("utf-8-sig", "replace") for line in lines]
        if rows and not self._header:
            self._separator, self._header = _heading(rows.pop(0))
        for row in csv.reader(rows, delimiter=self._separator):
            self._take(row)
        self.version += bool(lines) or self._tail.begun_anew

    def _take(self, row: list[str]) -> None:
        values = {name: _number(text) for name, text in zip(self._header, row, strict=False)}
        place, step = values.pop("epoch", math.nan), values.pop("step", math.nan)
        if not math.isnan(step):
            self.steps.add(step, math.nan, values)
        elif not math.isnan(place):
            self.epochs.add(place, math.nan, values)


class EventRun(RunRecord):
    """Knows a run by TensorBoard's event files: those of ``train`` and ``validation`` in its folder are one run's."""

    kind = "events"

    def __init__(self, id: str, path: Path) -> None:  # noqa: A002
        super().__init__(id, path)
        self._files: dict[Path, EventFile] = {}

    def refresh(self, *, most: int = _PIECE_BYTES) -> None:
        taken = 0
        for folder, paths in event_records.runs(self.path).items():
            for path in paths:
                file = self._files.setdefault(path, EventFile(path))
                for found in file.points():
                    taken += 1
                    if isinstance(found, Point):
                        self._take(folder, found)
                    else:
                        self._cut(found.step)
        self.complete = True
        self.version += bool(taken)

    def updated(self) -> float:
        return max((path.stat().st_mtime for path in self._files if path.exists()), default=0.0)

    def _cut(self, step: int) -> None:
        self.epochs.cut(step)
        self.steps.cut(step)

    def _take(self, folder: str, point: Point) -> None:
        name, table = point.tag, self.steps
        for prefix in ("epoch_", "batch_", "evaluation_"):
            if name.startswith(prefix):
                name, table = name.removeprefix(prefix), self.epochs if prefix == "epoch_" else self.steps
                break
        name = name.removesuffix("_vs_iterations")
        if folder.rpartition("/")[2] in ("validation", "val", "test") and not name.startswith("val_"):
            name = f"val_{name}"
        elif folder not in (".", "train"):
            name = f"{folder}/{name}"
        table.set(point.step, point.wall_time, name, point.value)


def _heading(line: str) -> tuple[str, list[str]]:
    separator = max(_SEPARATORS, key=line.count)
    return separator, next(csv.reader([line], delimiter=separator), [])


def _batch_in(line: bytes) -> _Batch | None:
    try:
        return _batch(line)
    except msgspec.DecodeError:
        return None


def _number(value: float | str) -> float:
    """Return a number, whether it is spelt or not; NaN for what is none."""
    try:
        return float(value)
    except ValueError:
        return math.nan


def _numbers(values: list[Any]) -> array[float]:
    try:
        return array("d", values)
    except TypeError:
        return array("d", map(_number, values))


def is_csv_log(path: Path) -> bool:
    """Return whether a file is a table of a training: its first line has a column ``epoch`` or ``step``."""
    try:
        with open(path, "rb") as file:
            line = file.read(_HEAD_BYTES).partition(b"\n")[0].decode("utf-8-sig")
        return bool({"epoch", "step"} & set(_heading(line.rstrip("\r"))[1]))
    except (OSError, UnicodeDecodeError, csv.Error):
        return False
