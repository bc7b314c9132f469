"""KerasFace: what callbacks get as ``self.model`` where no Keras model and no ``jalon.Model`` is trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jalon.core.run import Run
from jalon.core.trainer import TrainerAdapter
from jalon.errors import ArgumentError


class KerasFace:
    """Gives callbacks the names of Keras's models, whatever is trained.

    Args:
        run: The training.
        trained: What is trained; callbacks that know it may use it.

    Attributes:
        run: The training; another one when the same is trained again.
        optimizer: Has ``learning_rate`` and ``iterations``.
    """

    def __init__(self, run: Run, trained: Any) -> None:
        self.trained = trained
        self.run = run
        self.optimizer = OptimizerFace(lambda: self.run.trainer)

    def __repr__(self) -> str:
        return f"<KerasFace of {type(self.trained).__name__}>"

    def trainer_adapter(self) -> TrainerAdapter:
        """Return what answers callbacks."""
        return self.run.trainer

    @property
    def stop_training(self) -> bool:
        """Whether training should end; callbacks may set it."""
        return self.run.stop_requested

    @stop_training.setter
    def stop_training(self, requested: bool) -> None:
        self.run.set_stop(bool(requested))
        if requested:
            self.run.trainer.request_stop()

    def get_weights(self) -> list[Any]:
        """Return a copy of each weight as a numpy array, in order."""
        return [value.copy() for _, value in self.run.trainer.named_weights()]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Put weights in place, as ``get_weights`` returned them.

        Raises:
            ArgumentError: Another number of weights.
        """
        names = list(self.run.trainer.snapshot_weights())
        if len(names) != len(weights):
            raise ArgumentError(f"set_weights: there are {len(names)} weights. Received: {len(weights)} arrays.")
        self.run.trainer.restore_weights(dict(zip(names, weights, strict=True)))

    def save(self, filepath: str | Path, overwrite: bool = True) -> None:
        """Write what is trained, to go on from or to use; the suffix names the format."""
        self._write(Path(filepath), overwrite, weights_only=False)

    def save_weights(self, filepath: str | Path, overwrite: bool = True) -> None:
        """Write the weights, without what only going on needs."""
        self._write(Path(filepath), overwrite, weights_only=True)

    def load_weights(self, filepath: str | Path) -> None:
        """Read what ``save_weights`` wrote; from what ``save`` wrote, the optimizer's state too."""
        self.run.trainer.load(Path(filepath))

    def _write(self, path: Path, overwrite: bool, *, weights_only: bool) -> None:
        fault = self.run.trainer.suffix_fault(str(path), weights_only=weights_only)
        if fault is not None:
            raise ArgumentError(f"The path {fault}. Received: {str(path)!r}.")
        if path.exists() and not overwrite:
            raise ArgumentError(f"{path} exists. Received: overwrite=False.")
        self.run.trainer.freeze(path, weights_only=weights_only, about={})()


class OptimizerFace:
    """Gives callbacks the names of Keras's optimizers.

    Args:
        trainer: Returns what knows the rates.
    """

    def __init__(self, trainer: Callable[[], TrainerAdapter]) -> None:
        self._trainer = trainer

    @property
    def iterations(self) -> int:
        """How many times the weights have been changed."""
        return self._trainer().iterations

    @property
    def learning_rate(self) -> float:
        """The rate in force of the first parameter group. Setting it changes all groups, their ratios kept.

        Raises:
            AttributeError: The loop knows of no rate.
        """
        rates = self._trainer().learning_rates()
        if not rates:
            raise AttributeError("learning_rate: the loop was given no optimizer that has one.")
        return rates[0]

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        rates = self._trainer().learning_rates()
        first = rates[0] if rates else 0.0
        self._trainer().set_learning_rates([float(rate) * (one / first) if first else float(rate) for one in rates])

    lr = learning_rate
