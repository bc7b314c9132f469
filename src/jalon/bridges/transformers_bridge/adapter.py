"""TransformersAdapter: answers callbacks on behalf of a model that a ``Trainer`` of transformers trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jalon.bridges.transformers_bridge.metrics import EpochMetrics
from jalon.engines.torch.module_adapter import ModuleAdapter
from jalon.engines.torch.scheduled_rates import ScheduledRates


class TransformersAdapter(ModuleAdapter):
    """Answers callbacks on behalf of a model that a ``Trainer`` of transformers trains.

    Args:
        trainer: The trainer.

    Attributes:
        metrics: What the epoch in hand reports.
    """

    def __init__(self, trainer: Any) -> None:
        optimizer = getattr(trainer.optimizer, "optimizer", trainer.optimizer)  # accelerate wraps it
        super().__init__(trainer.model, optimizer, iterations=lambda: trainer.state.global_step)
        self._trainer = trainer
        self._rates = ScheduledRates(list(self.optimizers.values()), lambda _: trainer.lr_scheduler is not None)
        self.metrics = EpochMetrics()

    @property
    def validates(self) -> bool:
        return str(getattr(self._trainer.args.eval_strategy, "value", self._trainer.args.eval_strategy)) != "no"

    def request_stop(self) -> None:
        self._trainer.control.should_training_stop = True

    def learning_rates(self) -> list[float]:
        return self._rates.get()

    def set_learning_rates(self, rates: Sequence[float]) -> None:
        self._rates.set(rates)

    def reported_rates(self) -> dict[str, float]:
        return dict(zip(super().reported_rates(), self._rates.first(), strict=True))

    def release(self) -> None:
        """Leave the optimizer to the trainer alone."""
        self._rates.release()

    def loop_state(self) -> dict[str, Any]:
        """Return the rates that were set and what the epoch has reported; the trainer keeps the random numbers."""
        return {"rates": self._rates.state_dict(), "metrics": self.metrics.state_dict()}

    def load_loop_state(self, state: Mapping[str, Any]) -> None:
        self._rates.load_state_dict(state["rates"])
        self.metrics.load_state_dict(state["metrics"], self._trainer.args.device)
