"""TimeLimit: leave the training when its time is over, to go on with another start."""

from __future__ import annotations

import datetime
import math
from typing import Any

from jalon.callbacks._arguments import finite_number
from jalon.callbacks._leaving import refuse_to_lose
from jalon.core.callback import Callback, Logs
from jalon.errors import ArgumentError, Preempted

_UNITS = (("h", 3600), ("min", 60), ("s", 1))


class TimeLimit(Callback):
    """Leave the training when its time is over, to go on with another start.

    For a queue that ends jobs: at the first batch, of training or validation, that ends after the limit, the training is
    backed up and left with :class:`~jalon.errors.Preempted`, which ends the program with code 143. The same command goes on
    from there. Ask for an end that much before the queue's as loading the data, a batch and a backup take.

    It needs something that keeps the training: ``run_dir``, or ``BackupAndRestore``.

    Args:
        hours: How long to train, together with ``minutes`` and ``seconds``; counted from the beginning of training.
        minutes: As ``hours``.
        seconds: As ``hours``.
        until: When to leave, in place of a duration: a ``datetime``, or its ISO form as ``"2026-11-24T18:00"``. Without a
            time zone it is the machine's time.

    Raises:
        ArgumentError: There is neither a duration nor a moment, or both, or they cannot be what they are; when training
            begins, the moment has passed or nothing keeps the training.

    Example:
        >>> from datetime import datetime, timedelta
        >>> limit = TimeLimit(hours=1, minutes=50)
        >>> limit.seconds
        6600.0
        >>> by_the_clock = TimeLimit(until=datetime.now() + timedelta(minutes=110))

    After a resume: the duration begins anew.
    """

    lazy_logs = True
    adds_metrics = False
    optional_hooks = frozenset({"on_train_batch_end", "on_test_batch_end"})

    def __init__(
        self,
        hours: float = 0,
        *,
        minutes: float = 0,
        seconds: float = 0,
        until: datetime.datetime | str | None = None,
    ) -> None:
        who = type(self).__name__
        parts = {"hours": hours, "minutes": minutes, "seconds": seconds}
        h, m, s = (finite_number(value, name=name, who=who) for name, value in parts.items())
        self.seconds = 3600 * h + 60 * m + s
        self.until = None if until is None else _moment(until, who=who)
        if self.until is None and (self.seconds <= 0 or min(h, m, s) < 0):
            raise ArgumentError(
                f"{who}: give a duration above 0, as hours=2, or until. "
                f"Received: hours={hours!r}, minutes={minutes!r}, seconds={seconds!r}."
            )
        if self.until is not None and (h, m, s) != (0, 0, 0):
            raise ArgumentError(f"{who}: give a duration or until, not both. Received: {self.seconds:g} s and until={until!r}.")
        self._deadline = math.inf

    def check_setup(self) -> None:
        if self.until is not None and self.until.timestamp() <= self.run.clock.wall():
            raise ArgumentError(
                f"{type(self).__name__}: the moment to leave has passed. Received: until={self.until.isoformat(' ')}. "
                "Give a later one."
            )

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Begin to count, once it is sure that what is left can be gone on with."""
        refuse_to_lose(self.run, who=type(self).__name__)
        if self.until is None:
            self._deadline = self.run.clock.monotonic() + self.seconds
        else:
            self._deadline = self.until.timestamp()

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._look()

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._look()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._look()

    def close(self) -> None:
        self._deadline = math.inf

    def _look(self) -> None:
        clock = self.run.clock
        now = clock.monotonic() if self.until is None else clock.wall()
        if now >= self._deadline:
            self._deadline = math.inf
            self.run.leave(Preempted(f"the time limit, {self._told()}, was reached"))

    def _told(self) -> str:
        return _duration(self.seconds) if self.until is None else self.until.isoformat(" ", timespec="seconds")


def _moment(until: Any, *, who: str) -> datetime.datetime:
    try:
        moment = datetime.datetime.fromisoformat(until) if isinstance(until, str) else until
        if isinstance(moment, datetime.datetime):
            return moment.astimezone()
    except (ValueError, OverflowError) as exc:
        raise ArgumentError(f"{who}: until is no moment: {exc}. Received: until={until!r}. Write as '2026-11-24T18:00'.") from exc
    raise ArgumentError(f"{who}: until must be a datetime or its ISO form, as '2026-11-24T18:00'. Received: until={until!r}.")


def _duration(seconds: float) -> str:
    """Return a duration as people write it, as ``"1 h 50 min"``."""
    parts, rest = [], seconds
    for unit, size in _UNITS:
        number = rest if size == 1 else rest // size
        rest -= number * size
        parts += [f"{number:g} {unit}"] if number else []
    return " ".join(parts)
