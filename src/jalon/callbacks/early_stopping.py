"""EarlyStopping: end training when a metric has stopped improving."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from jalon.callbacks._arguments import finite_number, whole_number
from jalon.callbacks._arrays import to_numpy
from jalon.callbacks.monitor_callback import MonitorCallback
from jalon.core.callback import Logs
from jalon.core.monitor import Countdown, Mode
from jalon.core.run import Best


class EarlyStopping(MonitorCallback):
    """End training when a metric has stopped improving.

    Training ends at the end of the epoch that is the ``patience``-th in a row without an improvement. A value improves
    where it beats the best so far by more than ``min_delta``; NaN never does. An epoch that does not report the metric,
    as one without validation, is not counted.

    Args:
        monitor: The metric to watch. Defaults to ``"val_loss"``.
        min_delta: The least change that counts as an improvement, as an absolute number. Defaults to 0.
        patience: How many epochs without an improvement end training. With 0, as with 1, the first such epoch does, the
            very first epoch of a training excepted. Defaults to 0.
        verbose: 1 to be told of the stop and of the weights put back. Defaults to 0.
        mode: ``"min"`` where less is better, ``"max"`` where more is, ``"auto"`` to take it from the metric. Defaults to
            ``"auto"``.
        baseline: A value that has to be beaten too: until one is better than it, improvements do not start the count
            anew. Defaults to none.
        restore_best_weights: Whether to put back the weights of the best epoch when training ends, whether stopped early
            or not, and although a ``baseline`` was never beaten. Defaults to False.
        start_from_epoch: The first epoch that is looked at, from 0. Defaults to 0.

    Raises:
        ArgumentError: An argument cannot be what it is.
        MissingMetric: Nothing reports ``monitor``; as early as that can be known.

    Example:
        >>> from jalon.testing import play
        >>> stopper = EarlyStopping(monitor="val_loss", patience=2)
        >>> run = play(stopper, [{"val_loss": 0.5}, {"val_loss": 0.4}, {"val_loss": 0.6}, {"val_loss": 0.4}, {"val_loss": 0.1}])
        >>> len(run.history["val_loss"]), stopper.best, stopper.best_epoch
        (4, 0.4, 1)

    After a resume: the count, the best value and the best weights are those from before.

    Source: Keras's class of this name.
    """

    steerable: ClassVar[Mapping[str, tuple[float, float]]] = {"patience": (0, math.inf)}
    adds_metrics = False

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: Mode = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta=min_delta)
        who = type(self).__name__
        self.patience = whole_number(patience, name="patience", who=who)
        self.verbose = verbose
        self.baseline = None if baseline is None else finite_number(baseline, name="baseline", who=who)
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = whole_number(start_from_epoch, name="start_from_epoch", who=who)
        self._reset()

    def _reset(self) -> None:
        self._monitor.restart()
        self.wait = 0
        self.best_epoch = 0
        self.stopped_epoch = 0
        self.best_weights: Mapping[str, Any] | None = None
        self._memory: Any = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Start afresh, so that one instance serves several trainings."""
        self._reset()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Count the epoch if it brought no improvement, and stop if there were enough of them."""
        value = self._monitor.read(logs or {}, self.trainer, epoch=epoch)
        if value is None or epoch < self.start_from_epoch:
            return
        self.wait += 1
        if self._monitor.improved(value):
            self._keep(epoch)
            if self.baseline is None or self._monitor.improves(value, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.run.stop(self._reason())
        if self.restore_best_weights and self.best_weights is None:
            self._keep(epoch)
        self._record()

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.stopped_epoch > 0:
            self._say(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.best_weights is not None:
            self._say(f"Restoring model weights from the end of the best epoch: {self.best_epoch + 1}.")
            self.trainer.restore_weights(self.best_weights)
            self.run.record("restore", epoch=self.best_epoch, monitor=self.monitor, value=self.best)

    def countdown(self) -> Countdown | None:
        left = max(1, self.patience) - self.wait
        return Countdown("stop", left) if left > 0 else None

    def state_dict(self) -> dict[str, Any]:
        """Return the count, the best value and, where they are kept, the best weights as named arrays."""
        state: dict[str, Any] = {
            "wait": self.wait,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "stopped_epoch": self.stopped_epoch,
        }
        if self.best_weights is not None:
            state["best_weights"] = {name: to_numpy(value) for name, value in self.best_weights.items()}
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.wait = state["wait"]
        self._monitor.best = state["best"]
        self.best_epoch = state["best_epoch"]
        self.stopped_epoch = state["stopped_epoch"]
        self.best_weights = state.get("best_weights")

    def _keep(self, epoch: int) -> None:
        self.best_epoch = epoch
        if self.restore_best_weights:
            self.best_weights = self._memory = self.trainer.snapshot_weights(into=self._memory)

    def _reason(self) -> str:
        span = f"{self.wait} epoch{'s' if self.wait != 1 else ''}"
        beaten = self.baseline is None or (self.best is not None and self._monitor.improves(self.best, self.baseline))
        return f"no improvement in {self.monitor} {'' if beaten else f'over the baseline {self.baseline:g} '}for {span}"

    def _record(self) -> None:
        known = self.run.bests.get(self.monitor)
        if self.best is not None and (known is None or known.path is None):
            self.run.bests[self.monitor] = Best(self.monitor, self.best, self.best_epoch)

    def _say(self, message: str) -> None:
        if self.verbose > 0:
            self.run.say(message)
