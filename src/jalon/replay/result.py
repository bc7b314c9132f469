"""Replay: what callbacks would have done in a recorded training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from jalon.core.trainer import Direction
from jalon.replay.record import Record


@dataclass(frozen=True, slots=True)
class Stop:
    """Is the end that callbacks asked for.

    Args:
        epoch: The last epoch, from 0.
        reason: Why, in words.
        left: Whether the training would have been left, to be gone on with by another start.
    """

    epoch: int
    reason: str
    left: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """Is a change of the learning rate.

    Args:
        epoch: The epoch at whose end it was made, or at whose beginning, by a schedule; from 0.
        before: The rate before.
        after: The rate after.
    """

    epoch: int
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Save:
    """Is a file that would have been written.

    Args:
        epoch: The epoch from which its weights come, from 0.
        path: Where.
    """

    epoch: int
    path: Path


@dataclass(frozen=True, slots=True)
class Reached:
    """Is a value of the metric, and when it was reached.

    Args:
        epoch: The epoch, from 0.
        value: The value.
    """

    epoch: int
    value: float


@dataclass(frozen=True, slots=True)
class Replay:
    """Is what callbacks would have done in a recorded training. Printed, it is a table.

    Epochs are counted from 0 here, and from 1 where they are shown.

    Args:
        record: The record.
        epochs: How many of its epochs would have been trained.
        stop: The end that callbacks asked for, if they did within the record.
        changes: The changes of the learning rate, in order.
        saves: The files that would have been written, in order.
        deleted: Which of them would have been deleted to keep only some.
        disk: What would be on the disk at the end: by path, the epoch from which the weights come.
        in_memory: The epoch from which the model's own weights would come at the end.
        metric: The metric by which epochs are compared; ``None`` where the record has none that is known.
        direction: Whether less or more of it is better.
        kept: The best that would be there at the end, in a file or in the model.
        best: The best in the whole record.
        departs_at: The first epoch that would have been trained with another learning rate than was recorded, from where on the
            record says nothing of what would have been.
        notes: What is to be known beside.
    """

    record: Record
    epochs: int
    stop: Stop | None = None
    changes: tuple[Change, ...] = ()
    saves: tuple[Save, ...] = ()
    deleted: tuple[Path, ...] = ()
    disk: Mapping[Path, int] = field(default_factory=dict)
    in_memory: int = -1
    metric: str | None = None
    direction: Direction | None = None
    kept: Reached | None = None
    best: Reached | None = None
    departs_at: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def epochs_saved(self) -> int:
        """How many epochs of the record would not have been trained."""
        return len(self.record.epochs) - self.epochs

    @property
    def seconds_saved(self) -> float | None:
        """How long these took, as far as it was recorded."""
        known = [epoch.seconds for epoch in self.record.epochs[self.epochs :] if epoch.seconds is not None]
        return sum(known) if known else None

    @property
    def cost(self) -> float | None:
        """By how much the best kept falls short of the best in the record, in units of the metric; 0 where it does not."""
        if self.kept is None or self.best is None:
            return None
        return abs(self.best.value - self.kept.value)

    def rows(self) -> Iterator[tuple[str, str]]:
        """Yield what is told, as pairs of a subject and a line."""
        total = len(self.record.epochs)
        yield "record", f"{self.record.name}: {counted(total, 'epoch')}"
        yield "ends", self._end()
        for change in self.changes:
            yield "rate", f"{change.before:.4g} → {change.after:.4g} in epoch {change.epoch + 1:,}"
        if self.departs_at is not None:
            yield "", f"from epoch {self.departs_at + 1:,} on decisions only: with that rate the curves would be others"
        yield from self._told_files()
        yield "in memory", "nothing" if self.in_memory < 0 else f"the weights of epoch {self.in_memory + 1:,}"
        yield from self._told_metric()
        yield "spared", self._spared()
        for note in (*self.record.notes, *self.notes):
            yield "note", note

    def _end(self) -> str:
        if self.stop is None:
            return f"not within the record: after epoch {self.record.epochs[-1].number + 1:,} nothing had asked for it"
        how = "left, to be gone on with" if self.stop.left else "stopped"
        return f"{how} after epoch {self.stop.epoch + 1:,}: {self.stop.reason}"

    def _told_files(self) -> Iterator[tuple[str, str]]:
        if not self.saves:
            return
        epochs = list(dict.fromkeys(save.epoch + 1 for save in self.saves))
        gone = f", {len(self.deleted):,} of them deleted again" if self.deleted else ""
        yield "saves", f"{len(self.saves):,}{gone}: {_in_short(epochs)}"
        shown = sorted(self.disk.items(), key=lambda item: item[1])
        for path, epoch in shown[-_SHOWN:]:
            yield "on disk", f"{path}, of epoch {epoch + 1:,}"
        if len(shown) > _SHOWN:
            yield "", f"and {len(shown) - _SHOWN:,} older ones"

    def _told_metric(self) -> Iterator[tuple[str, str]]:
        if self.kept is None or self.best is None:
            return
        yield "best kept", f"{self.metric} {self.kept.value:.5g}, of epoch {self.kept.epoch + 1:,}"
        cost = self.cost or 0.0
        share = f" ({cost / abs(self.best.value):.2%})" if cost and self.best.value else ""
        told = f"a cost of {cost:.3g}{share}" if cost else "nothing lost"
        yield "best there", f"{self.metric} {self.best.value:.5g}, of epoch {self.best.epoch + 1:,}: {told}"

    def _spared(self) -> str:
        if not self.epochs_saved:
            return "nothing"
        seconds = self.seconds_saved
        share = self.epochs_saved / len(self.record.epochs)
        return f"{counted(self.epochs_saved, 'epoch')} ({share:.0%})" + ("" if seconds is None else f", {duration(seconds)}")

    def __str__(self) -> str:
        rows = list(self.rows())
        width = max(len(subject) for subject, _ in rows)
        return "\n".join(f"{subject:<{width}}  {line}".rstrip() for subject, line in rows)


_SHOWN = 5


def duration(seconds: float) -> str:
    """Return a duration as people say it.

    Example:
        >>> duration(0.25), duration(95), duration(7260)
        ('0.25 s', '1 min 35 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min {rest} s"


def counted(number: int, one: str, several: str | None = None) -> str:
    """Return how many there are of something.

    Example:
        >>> counted(1, "epoch"), counted(1200, "epoch")
        ('1 epoch', '1,200 epochs')
    """
    return f"{number:,} {one if number == 1 else several or f'{one}s'}"


def _in_short(epochs: list[int]) -> str:
    """Return numbers of epochs, of many the first and the last."""
    if len(epochs) == 1:
        return f"epoch {epochs[0]:,}"
    if epochs == list(range(epochs[0], epochs[-1] + 1)) and len(epochs) > 2:
        return f"epochs {epochs[0]:,} to {epochs[-1]:,}"
    shown = list(map("{:,}".format, epochs))
    if len(shown) > 2 * _SHOWN:
        shown = [*shown[:_SHOWN], "…", *shown[-_SHOWN:]]
    return f"epochs {', '.join(shown)}"
