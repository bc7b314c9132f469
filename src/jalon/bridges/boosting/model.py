"""BoosterModel: what callbacks get as ``self.model`` in a training by boosting, with Keras's names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jalon.core.run import Run
from jalon.core.trainer import TrainerAdapter
from jalon.errors import ArgumentError, NotReady
from jalon.store import atomic

if TYPE_CHECKING:
    from jalon.bridges.boosting.adapter import BoosterAdapter


class BoosterModel:
    """Is the booster in training, with Keras's names.

    Args:
        adapter: Answers for it.
        run: The training.

    Attributes:
        history: What the training reported so far.
    """

    def __init__(self, adapter: BoosterAdapter, run: Run) -> None:
        self._adapter = adapter
        self._run = run
        self.optimizer = Shrinkage(adapter)
        self.history: Any = None

    @property
    def booster(self) -> Any:
        """The library's own object: a ``Booster``, or what stands for the boosters of a cross-validation."""
        return self._adapter.booster

    @property
    def stop_training(self) -> bool:
        """Whether training should end after this round."""
        return self._run.stop_requested

    @stop_training.setter
    def stop_training(self, requested: bool) -> None:
        self._run.set_stop(requested)

    def trainer_adapter(self) -> TrainerAdapter:
        """Return what answers for this model."""
        return self._adapter

    def get_weights(self) -> list[Any]:
        """Return the model as it is: one array, of the bytes of its file."""
        return [self._adapter.model_as_array()]

    def set_weights(self, weights: list[Any]) -> None:
        """Put back what ``get_weights`` returned.

        Raises:
            NotReady: The library cannot exchange a booster in training.
        """
        self._adapter.put_back(bytes(weights[0]))

    def save(self, filepath: str | os.PathLike[str], overwrite: bool = True) -> None:
        """Write the model in its library's own format, whole or not at all.

        Args:
            filepath: Where to; its suffix names the format.
            overwrite: Whether a file may be there already. Defaults to True.

        Raises:
            ArgumentError: The suffix names no format that there is, or a file is in the way.
        """
        path = Path(filepath)
        fault = self._adapter.suffix_fault(str(path), weights_only=False)
        if fault is not None:
            raise ArgumentError(f"save: filepath {fault}. Received: {str(path)!r}.")
        if not overwrite and path.exists():
            raise ArgumentError(f"save: {path} is there already. Pass overwrite=True or another path.")
        atomic.make_folder(path.parent)
        self._adapter.freeze(path, weights_only=False, about={})()

    def save_weights(self, filepath: str | os.PathLike[str], overwrite: bool = True) -> None:
        """Write the model, as ``save`` does: trees have no structure apart from their weights."""
        self.save(filepath, overwrite)

    def load_weights(self, filepath: str | os.PathLike[str]) -> None:
        """Read back what ``save`` wrote.

        Raises:
            CheckpointError: The file is missing or damaged.
            NotReady: The library cannot exchange a booster in training.
        """
        self._adapter.put_back(self._adapter.read(Path(filepath)))

    def __getattr__(self, name: str) -> Any:
        if name not in _OF_KERAS:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        raise NotReady(
            f"The model in a training by {self._adapter.library} has no {name!r}. It has stop_training, "
            "optimizer.learning_rate, get_weights, set_weights, save, save_weights and load_weights, and model.booster is the "
            "library's own object."
        )


_OF_KERAS = {
    "compile",
    "evaluate",
    "fit",
    "layers",
    "predict",
    "summary",
    "trainable_variables",
    "train_step",
    "weights",
}


class Shrinkage:
    """Is where callbacks read and set the learning rate.

    Args:
        adapter: Answers for the booster.
    """

    def __init__(self, adapter: BoosterAdapter) -> None:
        self._adapter = adapter

    @property
    def learning_rate(self) -> float:
        """The rate in force; a change holds from the next round on."""
        return self._adapter.learning_rates()[0]

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        self._adapter.set_learning_rates([float(rate)])

    lr = learning_rate

    @property
    def iterations(self) -> int:
        """The rounds that the booster has."""
        return self._adapter.iterations
