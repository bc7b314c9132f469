"""MonitorCallback: the base of callbacks that compare a metric with its best so far."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from jalon.core.callback import Callback
from jalon.core.monitor import Countdown, Mode, Monitor


class MonitorCallback(Callback):
    """Compare a metric with its best so far, for callbacks that derive from this one.

    A subclass asks ``_is_improvement``. One that waits for a number of epochs overrides ``countdown``, which progress shows.

    Args:
        monitor: The metric to watch. Defaults to ``"val_loss"``.
        mode: ``"min"`` where less is better, ``"max"`` where more is, ``"auto"`` to take it from the metric. Defaults to
            ``"auto"``.
        baseline: The value to beat from the start. Defaults to none: the first value is an improvement.
        min_delta: The least change that counts as an improvement, as an absolute number. Defaults to 0.

    Raises:
        ArgumentError: An argument cannot be what it is.

    Example:
        >>> from jalon.testing import play
        >>> class Best(MonitorCallback):
        ...     def on_epoch_end(self, epoch, logs=None):
        ...         if self._is_improvement(logs[self.monitor], self.best):
        ...             self.best = logs[self.monitor]
        >>> best = Best("accuracy", mode="max")
        >>> run = play(best, [{"accuracy": 0.5}, {"accuracy": 0.75}, {"accuracy": 0.6}])
        >>> best.best
        0.75

    Source: Keras's class of this name.
    """

    def __init__(
        self, monitor: str = "val_loss", mode: Mode = "auto", baseline: float | None = None, min_delta: float = 0
    ) -> None:
        self.monitor = monitor
        self.mode = mode
        self._monitor = Monitor(monitor, mode=mode, min_delta=min_delta, best=baseline, who=type(self).__name__)

    @property
    def best(self) -> float | None:
        """The best value so far."""
        return self._monitor.best

    @best.setter
    def best(self, value: float | None) -> None:
        self._monitor.best = value

    @property
    def min_delta(self) -> float:
        """The least change that counts as an improvement."""
        return self._monitor.min_delta

    @property
    def monitor_op(self) -> Callable[[Any, Any], Any] | None:
        """The function that says whether a value is better than another, ``None`` while the direction is not known."""
        direction = self._monitor.direction
        return None if direction is None else self.trainer.comparison(direction)

    def awaited_metrics(self) -> Iterable[Monitor]:
        return (self._monitor,)

    def countdown(self) -> Countdown | None:
        """Return what this callback will do after how many more epochs without an improvement, if it counts them."""
        return None

    def _set_monitor_op(self) -> None:
        """Settle the direction, as Keras's subclasses ask for it."""
        if self._monitor.direction is None:
            self._monitor.settle(self.trainer)

    def _is_improvement(self, monitor_value: float, reference_value: float | None) -> bool:
        """Return whether a value beats a reference by more than ``min_delta``."""
        self._set_monitor_op()
        return self._monitor.improves(monitor_value, reference_value)
