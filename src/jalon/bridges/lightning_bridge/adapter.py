"""LightningAdapter: answers callbacks on behalf of a module that a Lightning ``Trainer`` trains."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from jalon.bridges.lightning_bridge.metrics import EpochMetrics
from jalon.callbacks.model_checkpoint import ModelCheckpoint
from jalon.core.trainer import Write
from jalon.engines.torch.module_adapter import ModuleAdapter
from jalon.engines.torch.randomness import load_random_state, random_state
from jalon.engines.torch.scheduled_rates import ScheduledRates
from jalon.store import atomic

_CHECKPOINT = ".ckpt"


class LightningAdapter(ModuleAdapter):
    """Answers callbacks on behalf of a module that a Lightning ``Trainer`` trains.

    Args:
        trainer: The trainer.
        module: The module.

    Attributes:
        metrics: What the module logs.
    """

    def __init__(self, trainer: Any, module: Any) -> None:
        super().__init__(module, [_bare(optimizer) for optimizer in trainer.optimizers], iterations=lambda: trainer.global_step)
        self._trainer = trainer
        scheduled = {id(_bare(config.scheduler.optimizer)) for config in trainer.lr_scheduler_configs}
        self._rates = ScheduledRates(list(self.optimizers.values()), lambda optimizer: id(optimizer) in scheduled)
        self._steps_epochs = any(config.interval == "epoch" for config in trainer.lr_scheduler_configs)
        self._random: Any = None
        self.metrics = EpochMetrics(trainer)

    @property
    def suffixes(self) -> tuple[str, ...]:
        return (*super().suffixes, _CHECKPOINT)

    def suffix_fault(self, path: str, *, weights_only: bool) -> str | None:
        if Path(path).suffix == _CHECKPOINT and self._trainer.world_size > 1:
            return (
                f"cannot end in {_CHECKPOINT} where several processes train, which have to write it together; "
                "pass lightning's own ModelCheckpoint to the Trainer for that"
            )
        return super().suffix_fault(path, weights_only=weights_only)

    @property
    def validates(self) -> bool:
        return bool(self._trainer.enable_validation)

    def request_stop(self) -> None:
        self._trainer.should_stop = True

    def learning_rates(self) -> list[float]:
        return self._rates.get()

    def set_learning_rates(self, rates: Sequence[float]) -> None:
        self._rates.set(rates)

    def reported_rates(self) -> dict[str, float]:
        """Return the rates that the epoch was trained with: Lightning has its schedulers step within the last batch."""
        return dict(zip(super().reported_rates(), self._rates.first(), strict=True))

    def begin_batch(self) -> None:
        """Note the rates of a batch."""
        if self._steps_epochs:
            self._rates.note()

    def release(self) -> None:
        """Leave the optimizers to the trainer alone."""
        self._rates.release()

    # ---- checkpoints of Lightning's ------------------------------------------------------------------------------------

    def saves_whole(self, callbacks: Iterable[Any]) -> bool:
        """Return whether a callback writes Lightning's checkpoints."""
        return any(isinstance(one, ModelCheckpoint) and Path(one.filepath).suffix == _CHECKPOINT for one in callbacks)

    def freeze(self, path: Path, *, weights_only: bool, about: Mapping[str, Any], exposed: bool = True) -> Write:
        """Copy the module as it is now, or have Lightning write its checkpoint beside the final name."""
        if path.suffix != _CHECKPOINT:
            return super().freeze(path, weights_only=weights_only, about=about, exposed=exposed)
        temp = atomic.temp_beside(path, ending=_CHECKPOINT)
        try:
            self._trainer.save_checkpoint(temp, weights_only=weights_only)
        except BaseException:
            temp.unlink(missing_ok=True)
            raise
        return partial(atomic.put_in_place, temp, path)

    # ---- what Lightning's checkpoints lack -----------------------------------------------------------------------------

    def loop_state(self) -> dict[str, Any]:
        return {"rates": self._rates.state_dict(), "metrics": self.metrics.state_dict(), "random": random_state()}

    def load_loop_state(self, state: Mapping[str, Any]) -> None:
        self._rates.load_state_dict(state["rates"])
        self.metrics.load_state_dict(state["metrics"])
        self._random = state["random"]

    def go_on_drawing(self) -> None:
        """Let random numbers go on where they stood, once the trainer is about to draw from them."""
        state, self._random = self._random, None
        if state is None or self._trainer.world_size > 1:  # one process wrote it, and each has its own
            return
        load_random_state(state)
        loop = self._trainer.fit_loop
        if loop.restarting or getattr(loop, "is_resuming", False):
            # Lightning has made the iterator of the first epoch already; at its beginning others draw a seed.
            iter(loop._data_fetcher)


def _bare(optimizer: Any) -> Any:
    """Return the torch optimizer that Lightning's wraps."""
    return getattr(optimizer, "optimizer", optimizer)
