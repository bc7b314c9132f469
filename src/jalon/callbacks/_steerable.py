"""The numbers of a run that may be set while it goes on: the learning rate, and what callbacks declare."""

from __future__ import annotations

import math
from typing import Any

from jalon.core.run import Run
from jalon.errors import ArgumentError, UnknownName

RATE = "learning_rate"


def numbers(run: Run) -> dict[str, dict[str, float | None]]:
    """Return each number by name, as ``EarlyStopping.patience``: its value, and the least and the greatest that can be set."""
    rates = run.trainer.learning_rates()
    found: dict[str, dict[str, float | None]] = {RATE: _number(rates[0], 0.0, math.inf)} if rates else {}
    for label, callback in _labelled(run).items():
        for attribute, bounds in getattr(callback, "steerable", {}).items():
            found[f"{label}.{attribute}"] = _number(getattr(callback, attribute), *bounds)
    return found


def set_number(run: Run, name: str, value: float) -> tuple[float, float]:
    """Set a number, and return what it was and what it is.

    Args:
        run: The training.
        name: Its name, as in ``numbers``.
        value: What it is to be.

    Raises:
        ArgumentError: There is no such number, or it cannot be that.
    """
    known = numbers(run)
    if name not in known:
        raise UnknownName("number", name, known, where="set")
    was, least, most = (known[name][part] for part in ("value", "least", "most"))
    if not math.isfinite(value) or (least is not None and value < least) or (most is not None and value > most):
        span = f"{least:g} or more" if most is None else f"from {least:g} to {most:g}"
        raise ArgumentError(f"set: {name} must be {span}. Received: {value!r}.")
    if name == RATE:
        _set_rate(run, value)
        return was or 0.0, run.trainer.learning_rates()[0]
    label, _, attribute = name.rpartition(".")
    callback = _labelled(run)[label]
    if isinstance(getattr(callback, attribute), int):
        if value != int(value):
            raise ArgumentError(f"set: {name} must be a whole number. Received: {value!r}.")
        value = int(value)
    setattr(callback, attribute, value)
    return was or 0.0, value


def _set_rate(run: Run, value: float) -> None:
    """Set the rate of the first parameter group; those of the others keep their ratio to it."""
    rates = run.trainer.learning_rates()
    first = rates[0]
    run.trainer.set_learning_rates([value * rate / first if first else value for rate in rates])


def _labelled(run: Run) -> dict[str, Any]:
    return {} if run.callbacks is None else run.callbacks.labelled()


def _number(value: float, least: float, most: float) -> dict[str, float | None]:
    return {"value": value, "least": least, "most": None if math.isinf(most) else most}
