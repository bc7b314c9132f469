"""ReduceLROnPlateau: reduce the learning rate when a metric has stopped improving."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from jalon.callbacks._arguments import finite_number, name_todays_spelling, whole_number
from jalon.callbacks.monitor_callback import MonitorCallback
from jalon.core.callback import Logs
from jalon.core.monitor import Countdown, Mode
from jalon.errors import ArgumentError


class ReduceLROnPlateau(MonitorCallback):
    """Reduce the learning rate when a metric has stopped improving.

    After ``patience`` epochs in a row without an improvement, the rate of every parameter group is multiplied by
    ``factor``, never to fall below ``min_lr``. The first group's rate is reported at each epoch's end as
    ``learning_rate``.

    Args:
        monitor: The metric to watch. Defaults to ``"val_loss"``.
        factor: What the rate is multiplied by, from 0 to below 1. Defaults to 0.1.
        patience: How many epochs without an improvement reduce the rate. Defaults to 10.
        verbose: 1 to be told of each reduction. Defaults to 0.
        mode: ``"min"`` where less is better, ``"max"`` where more is, ``"auto"`` to take it from the metric. Defaults to
            ``"auto"``.
        min_delta: The least change that counts as an improvement, as an absolute number. Defaults to 0.0001.
        cooldown: How many epochs after a reduction are not counted. Defaults to 0.
        min_lr: The rate below which none is set. Defaults to 0.
        epsilon: Keras 2's name of ``min_delta``.

    Raises:
        ArgumentError: An argument cannot be what it is.
        MissingMetric: Nothing reports ``monitor``; as early as that can be known.

    Example:
        >>> from jalon.testing import play
        >>> reduce_lr = ReduceLROnPlateau(monitor="loss", factor=0.5, patience=2)
        >>> run = play(reduce_lr, [{"loss": 1.0}] * 5)
        >>> run.history["learning_rate"], run.trainer.learning_rates()
        ([0.001, 0.001, 0.001, 0.0005, 0.0005], [0.00025])

    After a resume: the count, the cooldown and the best value are those from before; the rate comes back with the
    optimizer.

    Source: Keras's class of this name.
    """

    steerable: ClassVar[Mapping[str, tuple[float, float]]] = {
        "factor": (0.0, 0.999),
        "patience": (0, math.inf),
        "cooldown": (0, math.inf),
        "min_lr": (0.0, math.inf),
    }
    adds_metrics = False  # the rate is no metric that a callback would wait for

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: Mode = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
        *,
        epsilon: float | None = None,
    ) -> None:
        who = type(self).__name__
        if epsilon is not None:
            name_todays_spelling(f"epsilon={epsilon!r}", f"Write min_delta={epsilon!r}.", who=who)
            min_delta = epsilon
        super().__init__(monitor, mode, min_delta=min_delta)
        self.factor = finite_number(factor, name="factor", who=who)
        if not 0 <= self.factor < 1:
            raise ArgumentError(f"{who}: factor must be from 0 to below 1, to reduce the rate. Received: factor={factor!r}.")
        self.patience = whole_number(patience, name="patience", who=who)
        self.verbose = verbose
        self.cooldown = whole_number(cooldown, name="cooldown", who=who)
        self.min_lr = finite_number(min_lr, name="min_lr", who=who)
        if self.min_lr < 0:
            raise ArgumentError(f"{who}: min_lr must be 0 or more. Received: min_lr={min_lr!r}.")
        self._reset()

    def _reset(self) -> None:
        self._monitor.restart()
        self.wait = 0
        self.cooldown_counter = 0

    def check_setup(self) -> None:
        """Refuse a loop that has no rate to set."""
        fault = self.trainer.rate_fault()
        if fault is not None:
            raise ArgumentError(f"{type(self).__name__}: {fault}")

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Start afresh, so that one instance serves several trainings."""
        self._reset()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Report the rate, count the epoch if it brought no improvement, and reduce the rate after enough of them."""
        logs = {} if logs is None else logs
        rates = self.trainer.learning_rates()
        logs |= self.trainer.reported_rates()
        value = self._monitor.read(logs, self.trainer, epoch=epoch)
        if value is None:
            return
        if self.in_cooldown():
            self.cooldown_counter -= 1
        if self._monitor.improved(value):
            self.wait = 0
        elif not self.in_cooldown():
            self.wait += 1
            if self.wait >= self.patience and self._reduce(rates, epoch):
                self.cooldown_counter = self.cooldown
                self.wait = 0

    def countdown(self) -> Countdown | None:
        """Return when the rate is reduced, unless it is as low as it may be."""
        left = max(1, self.patience) - self.wait + max(0, self.cooldown_counter - 1)
        return Countdown("lr cut", left) if left > 0 and any(map(self._reducible, self.trainer.learning_rates())) else None

    def in_cooldown(self) -> bool:
        """Return whether epochs are not counted, because the rate was reduced a moment ago."""
        return self.cooldown_counter > 0

    def state_dict(self) -> dict[str, Any]:
        return {"wait": self.wait, "cooldown_counter": self.cooldown_counter, "best": self.best}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.wait = state["wait"]
        self.cooldown_counter = state["cooldown_counter"]
        self._monitor.best = state["best"]

    def _reducible(self, rate: float) -> bool:
        # Frameworks hold rates in single precision: one that was clamped to min_lr may read back a little above it.
        return bool(np.float32(rate) > np.float32(self.min_lr))

    def _reduce(self, rates: list[float], epoch: int) -> bool:
        reduced = [max(rate * self.factor, self.min_lr) if self._reducible(rate) else rate for rate in rates]
        if not any(map(self._reducible, rates)):
            return False
        self.trainer.set_learning_rates(reduced)
        self.run.record("rate", epoch=epoch, who=type(self).__name__, was=rates[0], value=reduced[0])
        if self.verbose > 0:
            shown = ", ".join(map(str, reduced))
            self.run.say(f"Epoch {epoch + 1}: {type(self).__name__} reducing learning rate to {shown}.")
        return True
