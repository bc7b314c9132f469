"""Checks of arguments that several callbacks share."""

from __future__ import annotations

import math
import warnings
from numbers import Integral
from operator import index
from typing import Any

from jalon.core.logs import scalar
from jalon.errors import ArgumentError, OlderSpelling


def whole_number(value: int, *, name: str, who: str) -> int:
    """Return an argument that counts something, or refuse it.

    Raises:
        ArgumentError: It is no whole number, or a negative one.
    """
    try:
        number = index(value)
    except TypeError:
        number = -1
    if number < 0:
        raise ArgumentError(f"{who}: {name} must be a whole number, 0 or more. Received: {name}={value!r}.")
    return number


def finite_number(value: float, *, name: str, who: str) -> float:
    """Return an argument that measures something, or refuse it.

    Raises:
        ArgumentError: It is no number, or not a finite one.
    """
    number = scalar(value)
    if number is None or not math.isfinite(number):
        raise ArgumentError(f"{who}: {name} must be a finite number. Received: {name}={value!r}.")
    return number


def name_todays_spelling(older: str, today: str, *, who: str) -> None:
    """Warn of an argument of Keras 2, which is taken.

    Args:
        older: The argument as it was given.
        today: What to write in its place, as a sentence.
        who: The callback.
    """
    warnings.warn(f"{who}: {older} is Keras 2's spelling. {today}", OlderSpelling, stacklevel=3)


def batches_between(update_freq: Any, *, who: str) -> int | None:
    """Return every how many batches there is something to write, or ``None`` where at the ends of epochs alone.

    Raises:
        ArgumentError: It is neither a word that is known nor a number of batches.
    """
    if isinstance(update_freq, str) and update_freq in ("epoch", "batch"):
        return None if update_freq == "epoch" else 1
    if not isinstance(update_freq, Integral) or isinstance(update_freq, bool) or update_freq <= 0:
        raise ArgumentError(
            f"{who}: update_freq must be 'epoch', 'batch' or a positive whole number of batches. "
            f"Received: update_freq={update_freq!r}."
        )
    return int(update_freq)
