"""What the callbacks that save the model share: how often, how many, and how a value is told."""

from __future__ import annotations

from collections.abc import Iterable
from operator import index
from typing import Any

from jalon.core.cadence import Cadence
from jalon.core.run import Best, Run
from jalon.errors import ArgumentError


def save_cadence(save_freq: str | int | Cadence, who: str) -> Cadence:
    """Return how often to save, as ``save_freq`` says it.

    Raises:
        ArgumentError: It says nothing of the kind.
    """
    if isinstance(save_freq, Cadence):
        return save_freq
    if save_freq == "epoch":
        return Cadence(epochs=1)
    if isinstance(save_freq, int) and not isinstance(save_freq, bool) and save_freq > 0:
        return Cadence(steps=save_freq)
    raise ArgumentError(
        f"{who}: Unrecognized save_freq. save_freq must be 'epoch', a positive whole number of batches, or every(epochs=…), "
        f"every(steps=…), every(seconds=…). Received: save_freq={save_freq!r}."
    )


def refuse_late_metrics(metrics: Iterable[str], save_freq: Any, who: str) -> None:
    """Refuse to save by batches what needs a metric of the validation.

    Raises:
        ArgumentError: It names the metric.
    """
    late = next((name for name in metrics if name.startswith("val_")), None)
    if late is not None:
        raise ArgumentError(
            f"{who}: {late!r} is known at an epoch's end only. Received: save_freq={save_freq!r}. "
            "Save by epochs, as with save_freq='epoch', or choose a metric that batches report."
        )


def kept_number(value: int | None, name: str, who: str) -> int | None:
    """Return how many saves to keep, ``None`` for all.

    Raises:
        ArgumentError: It is no whole number, or less than 1.
    """
    if value is None:
        return None
    try:
        number = 0 if isinstance(value, bool) else index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise ArgumentError(f"{who}: {name} must be a whole number, 1 or more. Received: {name}={value!r}.")
    return number


def shown(best: float | None) -> str:
    """Return a best value as Keras's messages show it."""
    return "None" if best is None else f"{best:.5f}"


def expected_bests(run: Run) -> dict[str, Best]:
    """Return the best of each metric, as it is going to be once what is being written is written."""
    known = dict(run.bests)
    for callback in run.callbacks or ():
        if hasattr(callback, "expected_bests"):
            known |= {best.monitor: best for best in callback.expected_bests()}
    return known
