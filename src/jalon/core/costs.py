"""Costs: how long each callback took in each hook, measured where somebody asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from jalon.core.clock import SYSTEM_CLOCK

_measured: ContextVar[Costs | None] = ContextVar("jalon_costs", default=None)


@dataclass(slots=True)
class Cost:
    """Is what one callback cost in one hook.

    Args:
        calls: How often it was told.
        seconds: How long that took in all.
    """

    calls: int = 0
    seconds: float = 0.0


class Costs:
    """Holds what each callback cost in each hook; prints as a table.

    Attributes:
        by_hook: For each hook, the costs by callback, in the order in which they are told.
    """

    def __init__(self) -> None:
        self.by_hook: dict[str, dict[str, Cost]] = {}

    def timed(self, hook: str, label: str, method: Callable[..., Any]) -> Callable[..., Any]:
        """Return a callback's method so that its calls are counted and timed.

        Args:
            hook: The hook.
            label: The callback.
            method: What it does in that hook.
        """
        cost = self.by_hook.setdefault(hook, {}).setdefault(label, Cost())
        now = SYSTEM_CLOCK.monotonic

        def timed(*arguments: Any) -> Any:
            began = now()
            try:
                return method(*arguments)
            finally:
                cost.calls += 1
                cost.seconds += now() - began

        return timed

    def __str__(self) -> str:
        rows = [("", "calls", "in all", "each")]
        for hook, costs in self.by_hook.items():
            if costs:
                rows.append((hook, "", "", ""))
            rows += [(f"  {label}", f"{cost.calls:,}", _time(cost.seconds), _time(_each(cost))) for label, cost in costs.items()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join(
                [name.ljust(widths[0]), *(value.rjust(width) for value, width in zip(rest, widths[1:], strict=True))]
            ).rstrip()
            for name, *rest in rows
        )


def _each(cost: Cost) -> float:
    return cost.seconds / cost.calls if cost.calls else 0.0


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.0f} µs"


@contextmanager
def measuring() -> Iterator[Costs]:
    """Measure what callbacks cost in the trainings of the block; without it, nothing is measured and telling them is free.

    Example:
        >>> from jalon.callbacks import EarlyStopping
        >>> from jalon.testing import play
        >>> with measuring() as costs:
        ...     run = play(EarlyStopping("loss", patience=5), [{"loss": 2.0}, {"loss": 1.0}])
        >>> costs.by_hook["on_epoch_end"]["EarlyStopping"].calls
        2
    """
    costs = Costs()
    token = _measured.set(costs)
    try:
        yield costs
    finally:
        _measured.reset(token)


def costs_in_demand() -> Costs | None:
    """Return where costs are to be noted; ``None`` where nobody asks."""
    return _measured.get()
