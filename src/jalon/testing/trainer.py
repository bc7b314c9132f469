"""FakeTrainer and FakeModel: something to train that trains nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jalon.core.run import Run
from jalon.core.trainer import Direction, TrainerAdapter, Write
from jalon.store import atomic

Weights = dict[str, NDArray[Any]]


class FakeTrainer(TrainerAdapter):
    """Answer callbacks with weights held in memory.

    Each training step adds one to every weight, so that the weights tell which step they come from.

    Args:
        weights: The weights by name; by default a ``kernel`` of 2 × 3 and a ``bias`` of 3, all zero.
        learning_rates: The rate of each parameter group.
        metrics: What the loop reports, each with its direction, ``None`` where nobody said. By default what is reported
            cannot be known beforehand. Less ``loss`` is always better.
        validates: Whether the loop reports ``val_`` metrics; by default whether ``metrics`` names one.

    Example:
        >>> trainer = FakeTrainer({"w": [0.0, 1.0]}, metrics={"loss": "min", "accuracy": "max", "val_accuracy": "max"})
        >>> trainer.step()
        >>> trainer.weights["w"].tolist()
        [1.0, 2.0]
        >>> trainer.metric_direction("accuracy"), trainer.validates
        ('max', True)
    """

    def __init__(
        self,
        weights: Mapping[str, ArrayLike] | None = None,
        *,
        learning_rates: Sequence[float] = (0.001,),
        metrics: Mapping[str, Direction | None] | None = None,
        validates: bool | None = None,
    ) -> None:
        given = {"kernel": np.zeros((2, 3)), "bias": np.zeros(3)} if weights is None else weights
        self.weights: Weights = {name: np.array(value, dtype=np.float32) for name, value in given.items()}
        self._rates = [float(rate) for rate in learning_rates]
        self._metrics = metrics
        self._validates = any(name.startswith("val_") for name in metrics or ()) if validates is None else validates
        self._iterations = 0

    @property
    def suffixes(self) -> tuple[str, ...]:
        return (".json",)

    @property
    def iterations(self) -> int:
        return self._iterations

    @property
    def validates(self) -> bool:
        return self._validates

    resumes_within_epochs = True

    def fingerprint(self) -> dict[str, Any]:
        return {f"weight {name}": f"{value.shape} {value.dtype}" for name, value in self.weights.items()}

    def step(self) -> None:
        """Train on one batch: add one to every weight."""
        for value in self.weights.values():
            value += 1
        self._iterations += 1

    def metric_names(self) -> frozenset[str] | None:
        return None if self._metrics is None else frozenset(self._metrics)

    def metric_direction(self, metric: str) -> Direction | None:
        """Return the direction given; less ``loss`` is always better."""
        return "min" if metric.removeprefix("val_") == "loss" else (self._metrics or {}).get(metric)

    def learning_rates(self) -> list[float]:
        return list(self._rates)

    def set_learning_rates(self, rates: Sequence[float]) -> None:
        self._rates = [float(rate) for rate in rates]

    def snapshot_weights(self, into: Weights | None = None) -> Weights:
        """Return a copy of the weights, in the memory given."""
        if into is None:
            return {name: value.copy() for name, value in self.weights.items()}
        for name, value in self.weights.items():
            np.copyto(into[name], value)
        return into

    def restore_weights(self, snapshot: Mapping[str, ArrayLike]) -> None:
        for name, value in self.weights.items():
            np.copyto(value, np.asarray(snapshot[name]))

    def freeze(self, path: Path, *, weights_only: bool, about: Mapping[str, Any], exposed: bool = True) -> Write:
        """Copy weights and ``about``, and unless ``weights_only`` the rates and the iterations; written as one JSON object."""
        content: dict[str, Any] = {
            "weights": {name: value.tolist() for name, value in self.named_weights()},
            "about": dict(about),
        }
        if not weights_only:
            content |= {"learning_rates": list(self._rates), "iterations": self._iterations}
        return partial(atomic.write_bytes, path, [json.dumps(content).encode()])

    def load(self, path: Path) -> None:
        content = json.loads(path.read_bytes())
        self.restore_weights(content["weights"])
        self._rates = content.get("learning_rates", self._rates)
        self._iterations = content.get("iterations", self._iterations)

    def weight_bytes(self) -> int:
        return sum(value.nbytes for value in self.weights.values())

    def named_weights(self) -> Iterator[tuple[str, NDArray[Any]]]:
        yield from self.weights.items()


class FakeOptimizer:
    """Has the one attribute of Keras's optimizers that callbacks of users set.

    Args:
        trainer: Whose rate it is.
    """

    def __init__(self, trainer: TrainerAdapter) -> None:
        self._trainer = trainer

    @property
    def learning_rate(self) -> float:
        """The first parameter group's rate; setting it sets that of all."""
        return self._trainer.learning_rates()[0]

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        self._trainer.set_learning_rates([rate] * len(self._trainer.learning_rates()))


class FakeModel:
    """Is what callbacks get as ``self.model`` in a scripted run, with Keras's names.

    Args:
        trainer: Holds the weights and rates.
        run: The run it is trained in.
    """

    def __init__(self, trainer: FakeTrainer, run: Run) -> None:
        self.optimizer = FakeOptimizer(trainer)
        self._trainer = trainer
        self._run = run

    def trainer_adapter(self) -> FakeTrainer:
        """Return what answers callbacks."""
        return self._trainer

    @property
    def stop_training(self) -> bool:
        """Whether training should end; callbacks may set it."""
        return self._run.stop_requested

    @stop_training.setter
    def stop_training(self, requested: bool) -> None:
        self._run.set_stop(requested)

    def get_weights(self) -> list[NDArray[Any]]:
        """Return a copy of each weight, in order."""
        return [value.copy() for value in self._trainer.weights.values()]

    def set_weights(self, weights: Sequence[ArrayLike]) -> None:
        """Set each weight, in order."""
        self._trainer.restore_weights(dict(zip(self._trainer.weights, weights, strict=True)))
