"""EpochMetrics: the mean of an epoch's training losses, and what it logged and validated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from jalon.core.logs import BatchLogs, scalar

_TIMES = ("runtime", "samples_per_second", "steps_per_second", "model_preparation_time", "jit_compilation_time")
_OWN = ("loss", "grad_norm", "learning_rate", "epoch", "step", "total_flos", "num_input_tokens_seen")


def evaluated(metrics: Mapping[str, Any], prefix: str, *, put: str = "") -> dict[str, float]:
    """Return the metrics of an evaluation as floats, another prefix in place of theirs, without those that time it.

    Example:
        >>> evaluated({"eval_loss": 0.5, "eval_runtime": 0.1, "epoch": 1.0}, "eval_", put="val_")
        {'val_loss': 0.5}
    """
    told = {name.removeprefix(prefix): value for name, value in metrics.items() if name.startswith(prefix)}
    numbers = ((name, scalar(value)) for name, value in told.items() if not name.endswith(_TIMES))
    return {f"{put}{name}": number for name, number in numbers if number is not None}


class EpochMetrics:
    """Keeps what an epoch reports.

    The losses are summed on the device, and read when somebody asks.

    Attributes:
        batch_logs: A view of the metrics so far, for callbacks that are told of batches.
    """

    def __init__(self) -> None:
        self._steps = 0
        self.begin_epoch()
        self.batch_logs = BatchLogs(self.read, lambda: self._steps)

    def begin_epoch(self) -> None:
        """Forget the epoch before."""
        self._sum: Tensor | None = None
        self._count = 0
        self._logged: dict[str, float] = {}
        self._validated: dict[str, float] = {}

    def add(self, loss: Tensor) -> None:
        """Add the loss of a batch, its share in the loss of its optimizer step."""
        self._sum = loss.clone() if self._sum is None else self._sum + loss

    def end_step(self) -> None:
        """Count an optimizer step."""
        self._count += 1
        self._steps += 1

    def log(self, logs: Mapping[str, Any]) -> None:
        """Take what ``trainer.log`` was given, as far as it is not the trainer's own."""
        for name, value in logs.items():
            number = scalar(value)
            if number is not None and name not in _OWN and not name.startswith(("eval_", "train_")):
                self._logged[name] = number

    def validate(self, metrics: Mapping[str, Any]) -> None:
        """Take the metrics of an evaluation."""
        self._validated = evaluated(metrics, "eval_", put="val_")

    def read(self) -> dict[str, float]:
        """Return what the epoch has reported so far."""
        mean = self.mean()
        return ({} if mean is None else {"loss": float(mean)}) | self._logged | self._validated

    def mean(self) -> Tensor | None:
        """Return the mean loss of an optimizer step."""
        return None if self._sum is None else self._sum / max(1, self._count)

    @contextmanager
    def measuring(self, trainer: Any) -> Iterator[None]:
        """Add the loss of each batch that a trainer trains on, as long as the block lasts."""
        step, own = trainer.training_step, "training_step" in vars(trainer)

        def training_step(*args: Any, **kwargs: Any) -> Tensor:
            loss: Tensor = step(*args, **kwargs)
            self.add(loss)
            return loss

        trainer.training_step = training_step
        try:
            yield
        finally:
            if own:
                trainer.training_step = step
            else:
                del trainer.training_step

    def state_dict(self) -> dict[str, Any]:
        """Return what the epoch in hand has reported so far."""
        return {"sum": self._sum, "count": self._count, "logged": self._logged, "validated": self._validated}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Go on with an epoch that was left within."""
        self._sum = None if state["sum"] is None else state["sum"].to(device)
        self._count, self._logged, self._validated = state["count"], dict(state["logged"]), dict(state["validated"])
