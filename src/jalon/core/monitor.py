"""Monitor: one metric compared with its best so far."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

from jalon.core.logs import scalar
from jalon.core.trainer import Direction, TrainerAdapter
from jalon.errors import ArgumentError, MissingMetric

Mode = Literal["auto", "min", "max"]


class Countdown(NamedTuple):
    """Is what a callback will do when a metric does not improve.

    Args:
        act: What, in a word or two, as ``"stop"``.
        epochs: After how many more epochs without an improvement, 1 or more.
    """

    act: str
    epochs: int


class Monitor:
    """Compare a metric with its best so far.

    A value is an improvement where it beats the best by more than ``min_delta``. The first value always is one, unless
    it is NaN: NaN never improves on anything.

    Args:
        name: The metric's name in ``logs``.
        mode: ``"min"``, ``"max"``, or ``"auto"`` to take it from the metric.
        min_delta: The least change that counts, as an absolute number.
        best: The value to beat from the start.
        who: The callback that asks, for error messages.

    Attributes:
        told_direction: The direction that ``mode`` names, ``None`` for ``"auto"``.

    Raises:
        ArgumentError: An unknown mode, or a name or number of the wrong type.
    """

    def __init__(self, name: str, *, mode: Mode = "auto", min_delta: float = 0.0, best: float | None = None, who: str) -> None:
        if not isinstance(name, str) or not name:
            raise ArgumentError(f"{who}: monitor must be the name of a metric, as 'val_loss'. Received: monitor={name!r}.")
        if mode not in get_args(Mode):
            raise ArgumentError(f"{who}: mode must be 'auto', 'min' or 'max'. Received: mode={mode!r}.")
        if scalar(min_delta) is None:
            raise ArgumentError(f"{who}: min_delta must be a number. Received: min_delta={min_delta!r}.")
        if best is not None and scalar(best) is None:
            raise ArgumentError(f"{who}: the value to beat must be a number. Received: {best!r}.")
        self.name = name
        self.who = who
        self.min_delta = abs(float(min_delta))
        self.direction: Direction | None = None if mode == "auto" else mode
        self.best = best
        self.told_direction = self.direction
        self._seen = False

    def prepare(self, trainer: TrainerAdapter) -> None:
        """Settle the direction and refuse a metric that nothing will report, as early as it can be known.

        Raises:
            MissingMetric: The loop knows all its metrics, and this is none of them.
            ArgumentError: ``mode="auto"`` and nobody knows whether less or more of the metric is better.
        """
        known = trainer.metric_names()
        if known is None:
            return
        if self.name not in known:
            raise MissingMetric(self.who, self.name, known, when="this training")
        self.settle(trainer)

    def settle(self, trainer: TrainerAdapter) -> Direction:
        """Return the direction, taken from the metric where ``mode`` is ``"auto"``."""
        if self.direction is None:
            self.direction = trainer.metric_direction(self.name)
        if self.direction is None:
            raise ArgumentError(
                f"{self.who}: whether less or more of {self.name!r} is better cannot be told from the metric. "
                "Received: mode='auto'. Pass mode='min' or mode='max'."
            )
        return self.direction

    def restart(self, best: float | None = None) -> None:
        """Forget what was seen, for a new training."""
        self.best = best
        self.direction = self.told_direction
        self._seen = False

    def read(self, logs: Mapping[str, Any], trainer: TrainerAdapter, *, epoch: int) -> float | None:
        """Return the metric's value, or ``None`` where this epoch has none although others will or did.

        Raises:
            MissingMetric: Nothing reports the metric, as far as can be known.
            ArgumentError: The value is not a single number.
        """
        if logs.get(self.name) is None:
            if self._seen or self._comes_later(logs, trainer):
                return None
            raise MissingMetric(self.who, self.name, logs, when=f"epoch {epoch + 1}")
        self._seen = True
        self.settle(trainer)
        value = scalar(logs[self.name])
        if value is None:
            raise ArgumentError(
                f"{self.who}: {self.name!r} must be a single number to be compared. "
                f"Received: {logs[self.name]!r} in epoch {epoch + 1}."
            )
        return value

    def _comes_later(self, logs: Mapping[str, Any], trainer: TrainerAdapter) -> bool:
        if self.name in (trainer.metric_names() or ()):
            return True
        validated = any(name.startswith("val_") for name in logs)
        return self.name.startswith("val_") and trainer.validates and not validated

    def improves(self, value: float, reference: float | None) -> bool:
        """Return whether a value beats a reference by more than ``min_delta``."""
        if math.isnan(value):
            return False
        if reference is None or math.isnan(reference):
            return True
        if self.direction == "max":
            return value - self.min_delta > reference
        return value + self.min_delta < reference

    def improved(self, value: float) -> bool:
        """Return whether a value beats the best, and keep it if so."""
        if not self.improves(value, self.best):
            return False
        self.best = value
        return True
