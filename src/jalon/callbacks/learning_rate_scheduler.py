"""LearningRateScheduler: set the learning rate of each epoch by a function."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

from jalon.core.callback import Callback, Logs
from jalon.core.logs import scalar
from jalon.errors import ArgumentError


class LearningRateScheduler(Callback):
    """Set the learning rate of each epoch by a function.

    As an epoch begins, the function is given the epoch's number and the rate in force, and what it returns is the rate from
    then on. A function of one argument gets the epoch's number alone. With several parameter groups it is called for each.
    The first group's rate is reported at each epoch's end as ``learning_rate``.

    Args:
        schedule: Called as ``schedule(epoch, lr)`` or ``schedule(epoch)``, epochs counted from 0. Returns the rate, a
            float.
        verbose: 1 to be told of each rate. Defaults to 0.

    Raises:
        ArgumentError: ``schedule`` cannot be called so; as an epoch begins, that it did not return a float, or that there
            is no rate to set.

    Example:
        >>> from jalon.testing import play
        >>> halve = LearningRateScheduler(lambda epoch, lr: lr if epoch < 2 else lr / 2)
        >>> run = play(halve, [{"loss": 1.0}] * 4)
        >>> run.history["learning_rate"]
        [0.001, 0.001, 0.0005, 0.00025]

    After a resume: an epoch that is gone on with keeps its rate, which comes back with the optimizer.

    Source: Keras's class of this name.
    """

    adds_metrics = False  # the rate is no metric that a callback would wait for

    def __init__(self, schedule: Callable[..., Any], verbose: int = 0) -> None:
        self._takes_rate = _takes_rate(schedule, who=type(self).__name__)
        self.schedule = schedule
        self.verbose = verbose
        self._epoch: int | None = None

    def check_setup(self) -> None:
        """Refuse a loop that has no rate to set."""
        fault = self.trainer.rate_fault()
        if fault is not None:
            raise ArgumentError(f"{type(self).__name__}: {fault}")

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Start afresh, so that one instance serves several trainings."""
        self._epoch = None

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Set the epoch's rate, once an epoch: one that is gone on with after a resume has its rate."""
        if epoch == self._epoch:
            return
        who, rates = type(self).__name__, self.trainer.learning_rates()
        if not rates:
            raise ArgumentError(
                f'{who}: Optimizer must have a "learning_rate" attribute. Received: an optimizer without a rate. '
                f"Train with one that has a rate, or leave {who} out."
            )
        given = (self.schedule(epoch, rate) if self._takes_rate else self.schedule(epoch) for rate in rates)
        rates = [_checked(rate, who=who) for rate in given]
        self.trainer.set_learning_rates(rates)
        self._epoch = epoch
        if self.verbose > 0:
            self.run.say(f"Epoch {epoch + 1}: {who} setting learning rate to {', '.join(map(str, rates))}.")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if logs is not None:
            logs.update(self.trainer.reported_rates())

    def state_dict(self) -> dict[str, Any]:
        """Return the epoch whose rate was set last."""
        return {"epoch": self._epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._epoch = state["epoch"]


def _takes_rate(schedule: Callable[..., Any], *, who: str) -> bool:
    """Return whether a schedule takes the rate beside the epoch.

    It is read off the signature: to call and see whether a TypeError comes would hide those of the schedule's own.
    """
    if not callable(schedule):
        raise ArgumentError(
            f"{who}: schedule must be a function of the epoch, or of the epoch and the rate. Received: schedule={schedule!r}."
        )
    try:
        signature = inspect.signature(schedule)
    except (TypeError, ValueError):  # some that are written in C have none
        return True
    for arguments in ((0, 0.0), (0,)):
        try:
            signature.bind(*arguments)
        except TypeError:
            continue
        return len(arguments) == 2
    raise ArgumentError(
        f"{who}: schedule must take the epoch, or the epoch and the rate, by position. Received: a function of {signature}."
    )


def _checked(value: Any, *, who: str) -> float:
    """Return a rate, or refuse what is none; a whole number is more often the epoch or a mistyped rate than meant."""
    is_float = isinstance(value, float) or "float" in str(getattr(value, "dtype", ""))
    rate = scalar(value) if is_float else None
    if rate is None or not math.isfinite(rate):
        raise ArgumentError(
            f"{who}: The output of the `schedule` function should be a float. Got: {value!r}. Return the rate, as 0.001."
        )
    return rate
