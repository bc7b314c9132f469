"""Watch: a metric that a callback compares with its best."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from jalon.core.callback import Callback
from jalon.core.monitor import Monitor
from jalon.core.trainer import Direction


@dataclass(frozen=True, slots=True)
class Watch:
    """Is a metric that a callback compares with its best.

    Args:
        name: The metric.
        mode: The direction that was asked for, ``None`` for ``"auto"``.
        min_delta: The least change that counts.
        baseline: The value to beat from the start.
    """

    name: str
    mode: Direction | None
    min_delta: float = 0.0
    baseline: float | None = None


def watches_of(callback: Any, kinds: frozenset[str]) -> Iterator[Watch]:
    """Yield what a callback compares.

    Args:
        callback: A callback.
        kinds: The names of the classes of jalon and Keras that it is of.
    """
    if isinstance(callback, Callback) and "Callback" in kinds and "MonitorCallback" not in kinds:
        yield from map(_of_monitor, callback.awaited_metrics())
    if "MonitorCallback" not in kinds or isinstance(callback, type):
        return
    if compares(callback, kinds):
        mode: Any = getattr(callback, "mode", "auto")
        for name in names_in(callback.monitor):
            yield Watch(name, mode if mode in ("min", "max") else None, _min_delta(callback), _baseline(callback))


def compares(callback: Any, kinds: frozenset[str]) -> bool:
    """Return whether a callback with a monitor has anything to compare: a checkpoint may save whatever comes."""
    if kinds.isdisjoint(("ModelCheckpoint", "OrbaxCheckpoint")):
        return True
    return bool(callback.save_best_only) or getattr(callback, "keep_best", None) is not None


def names_in(monitor: Any) -> list[str]:
    """Return the metrics that ``monitor=`` names, one or several."""
    return [monitor] if isinstance(monitor, str) else list(monitor)


def _of_monitor(monitor: Monitor) -> Watch:
    return Watch(monitor.name, monitor.told_direction, monitor.min_delta, monitor.best)


def _min_delta(callback: Any) -> float:
    return abs(float(getattr(callback, "min_delta", None) or 0.0))


def _baseline(callback: Any) -> float | None:
    told = getattr(callback, "baseline", None)
    value: float | None = getattr(callback, "initial_value_threshold", None) if told is None else told
    return value
