"""Standing: how a training stands beside its metrics: what was best, the learning rate, and what callbacks wait for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from jalon.core.logs import scalar
from jalon.core.monitor import Countdown, Monitor
from jalon.core.run import Best, Run
from jalon.core.trainer import Direction, direction_by_name
from jalon.sinks.progress import Reached


class Standing:
    """Follows the metrics that callbacks compare, and asks callbacks and trainer for what else there is to show.

    It compares for itself: what a callback holds for the best may be a file that is still being written.

    Args:
        run: The training.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        callbacks = list(run.callbacks or ())
        self._comparing = [callback for callback in callbacks if hasattr(callback, "awaited_metrics")]
        self._counting = [callback for callback in callbacks if hasattr(callback, "countdown")]
        self._followed: dict[str, _Followed] = {}
        self._rates: dict[str, float] = {}

    def begin_epoch(self) -> None:
        """Look at what is to be looked at between two epochs alone, and at what was best before an interruption."""
        self._rates = self._run.trainer.reported_rates()
        for monitor in self._compared():
            if self._run.resumed and monitor.name in self._run.bests:
                self._follow(monitor)

    def end_epoch(self, epoch: int, logs: Mapping[str, Any]) -> None:
        """Compare what an epoch has reported with what was best."""
        for monitor in self._compared() or [self._usual(logs)]:
            direction = monitor.direction or self._run.trainer.metric_direction(monitor.name) or direction_by_name(monitor.name)
            self._follow(monitor).take(logs, epoch, direction)
        self._rates = self._run.trainer.reported_rates()

    def bests(self, epoch: int) -> dict[str, Reached]:
        """Return the best value of each metric that is followed, and how many epochs before this one it was reached."""
        reached = {name: one.reached(epoch) for name, one in self._followed.items()}
        return {name: best for name, best in reached.items() if best is not None}

    def rate(self, metrics: Iterable[str] = ()) -> str:
        """Return the learning rate as text, unless it is among the metrics."""
        if self._run.phase == "train" and self._run.trainer.rates_at_hand:
            self._rates = self._run.trainer.reported_rates()
        rates = [f"{rate:.3g}" for name, rate in self._rates.items() if name not in metrics]
        return f"lr {', '.join(rates)}" if rates else ""

    def waits(self) -> tuple[str, ...]:
        """Return what callbacks will do, and after how many more epochs without an improvement: first what ends training."""
        counted = (callback.countdown() for callback in self._counting)
        counting = sorted((one for one in counted if isinstance(one, Countdown)), key=lambda one: (one.act != "stop", one.epochs))
        return tuple(f"{one.act} in {one.epochs}" for one in counting)

    def _compared(self) -> list[Monitor]:
        return [monitor for callback in self._comparing for monitor in callback.awaited_metrics()]

    def _usual(self, logs: Mapping[str, Any]) -> Monitor:
        """Return what is followed where no callback compares: ``loss``, until there is a ``val_loss``."""
        if "val_loss" not in logs and "val_loss" not in self._followed:
            return Monitor("loss", who="ProgbarLogger")
        self._followed.pop("loss", None)
        return Monitor("val_loss", who="ProgbarLogger")

    def _follow(self, monitor: Monitor) -> _Followed:
        name = monitor.name
        if name not in self._followed:
            self._followed[name] = _Followed(name, self._run.bests.get(name) if self._run.resumed else None)
        return self._followed[name]


class _Followed:
    """Is a metric with its best so far.

    Args:
        name: The metric.
        best: What was best before an interruption.
    """

    def __init__(self, name: str, best: Best | None) -> None:
        self._monitor = Monitor(name, best=None if best is None else best.value, who="ProgbarLogger")
        self._epoch = 0 if best is None else best.epoch

    def take(self, logs: Mapping[str, Any], epoch: int, direction: Direction | None) -> None:
        value = scalar(logs.get(self._monitor.name))
        if value is not None and direction is not None:
            self._monitor.direction = direction
            if self._monitor.improved(value):
                self._epoch = epoch

    def reached(self, epoch: int) -> Reached | None:
        best = self._monitor.best
        return None if best is None else Reached(best, epoch - self._epoch)
