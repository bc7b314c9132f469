"""EpochMetrics: which of Lightning's metrics an epoch has reported, and the mean of its training losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from jalon.core.logs import BatchLogs, scalar


class EpochMetrics:
    """Reads what a module logs, as far as it belongs to the epoch in hand.

    Lightning keeps a metric until it is logged again: what an epoch without validation finds under ``val_loss`` is an earlier
    epoch's. Metrics keep the names under which the module logs them. ``loss`` is added where the module logs none: it is
    ``train_loss`` where there is that, else the mean over the batches of what ``training_step`` returns.

    Args:
        trainer: The Lightning trainer.

    Attributes:
        batch_logs: A view of the metrics so far, for callbacks that are told of batches.
    """

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._earlier: dict[str, Any] = {}
        self._sum: Tensor | None = None
        self._count = 0
        self._kept: dict[str, float] = {}
        self.batch_logs = BatchLogs(self.read, lambda: self._count)

    def begin_epoch(self) -> None:
        """Forget what belongs to earlier epochs."""
        self._earlier = dict(self._trainer.callback_metrics)
        self._sum, self._count = None, 0
        self._kept = {}

    def logged_since(self, earlier: Mapping[str, Any]) -> dict[str, float]:
        """Return what was logged since ``callback_metrics`` were these, as floats."""
        logged = {name: value for name, value in self._trainer.callback_metrics.items() if earlier.get(name) is not value}
        numbers = ((name, scalar(value)) for name, value in logged.items())
        return {name: number for name, number in numbers if number is not None}

    def add(self, outputs: Any) -> None:
        """Count a training batch, and its loss where the step returned one."""
        self._count += 1
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if isinstance(loss, Tensor):
            loss = loss.detach()
            self._sum = loss.clone() if self._sum is None else self._sum + loss

    def read(self) -> dict[str, float]:
        """Return what the epoch has reported so far, what it validated last."""
        logs = self._kept | self.logged_since(self._earlier)
        if "loss" not in logs:
            mean = logs.get("train_loss", self._mean())
            logs = ({} if mean is None else {"loss": mean}) | logs
        return dict(sorted(logs.items(), key=lambda item: item[0].startswith("val_")))

    def _mean(self) -> float | None:
        if self._sum is None:
            return None
        # Lightning hands out the loss as it is accumulated, divided by the batches of a step.
        batches = self._trainer.accumulate_grad_batches if self._trainer.lightning_module.automatic_optimization else 1
        return scalar(self._sum * batches / self._count)

    def state_dict(self) -> dict[str, Any]:
        """Return what the epoch in hand has reported so far."""
        logged = self._kept | self.logged_since(self._earlier)
        if self._trainer.validating:  # Lightning shows what the training steps have logged at the epoch's end alone
            steps = self._trainer.fit_loop.epoch_loop._results.metrics(on_step=False)["callback"]
            logged |= {name: number for name, value in steps.items() if (number := scalar(value)) is not None}
        return {"sum": self._sum, "count": self._count, "logged": logged}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with an epoch that was left within."""
        total = state["sum"]
        self._sum = None if total is None else torch.as_tensor(total, device=self._trainer.lightning_module.device)
        self._count, self._kept = state["count"], dict(state["logged"])
