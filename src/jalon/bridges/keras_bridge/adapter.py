"""KerasAdapter: answers callbacks on behalf of a Keras model, on any backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import keras

from jalon.bridges.keras_bridge import averages, graph, orbax, profiler, resuming, saving
from jalon.core.plain_model import PlainAdapter
from jalon.core.trainer import Averages, Direction, Embedding, Graph, Write


class KerasAdapter(PlainAdapter):
    """Answers callbacks on behalf of a Keras model, on any backend.

    Args:
        model: The model in training.
    """

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self._validates = True
        self._steps: int | None = None

    @property
    def model(self) -> Any:
        """The model, with its weights brought up to date where the backend keeps them elsewhere."""
        model = super().model
        bring_up_to_date = getattr(model, "jax_state_sync", None)
        if bring_up_to_date is not None:
            bring_up_to_date()
        return model

    @property
    def suffixes(self) -> tuple[str, ...]:
        return saving.SUFFIXES

    @property
    def iterations(self) -> int:
        return int(_number(getattr(self._optimizer, "iterations", 0)))

    @property
    def validates(self) -> bool:
        return self._validates

    def announce(self, *, validates: bool, steps: int | None) -> None:
        """Take from the loop whether it will validate, and how many batches an epoch has."""
        self._validates, self._steps = validates, steps

    def metric_direction(self, metric: str) -> Direction | None:
        """Return what the compiled metric of that name says; less ``loss`` is better."""
        name = metric.removeprefix("val_")
        direction: Direction | None = "min" if name == "loss" else None
        for one in self._compiled_metrics():
            if one.name == name and hasattr(one, "_direction"):
                direction = "max" if one._direction == "up" else "min"
        return direction

    def _compiled_metrics(self) -> Iterator[Any]:
        for group in getattr(self.model, "metrics", ()):
            yield from getattr(group, "metrics", ())

    def comparison(self, direction: Direction) -> Callable[[Any, Any], Any]:
        """Return Keras's own function, which its callbacks hold as ``monitor_op``."""
        compare: Callable[[Any, Any], Any] = keras.ops.less if direction == "min" else keras.ops.greater
        return compare

    def _optimizers(self) -> list[Any]:
        optimizer = self._optimizer
        several = getattr(optimizer, "optimizers", None)
        return list(several) if several is not None else [optimizer]

    rates_at_hand = False  # on JAX the optimizer's variables are elsewhere while an epoch runs

    def learning_rates(self) -> list[float]:
        return [_number(one.learning_rate) for one in self._optimizers() if hasattr(one, "learning_rate")]

    def set_learning_rates(self, rates: Sequence[float]) -> None:
        for optimizer, old, new in zip(self._optimizers(), self.learning_rates(), rates, strict=True):
            if new != old:
                optimizer.learning_rate = new

    def reported_rates(self) -> dict[str, float]:
        """Return ``learning_rate``, or ``learning_rate_<name>`` for each of several optimizers."""
        if not hasattr(self._optimizer, "optimizers"):
            return super().reported_rates()
        names = (f"learning_rate_{optimizer.name}" for optimizer in self._optimizers())
        return dict(zip(names, self.learning_rates(), strict=True))

    def named_weights(self) -> Iterator[tuple[str, Any]]:
        for layer in self.model.layers:
            for weight in layer.weights:
                yield weight.path, keras.ops.convert_to_numpy(weight.value)

    def suffix_fault(self, path: str, *, weights_only: bool) -> str | None:
        return saving.suffix_fault(path, weights_only=weights_only)

    def freeze(self, path: Path, *, weights_only: bool, about: Mapping[str, Any], exposed: bool = True) -> Write:
        """Have Keras write beside the final name; what is returned puts the file in its place. No format holds ``about``."""
        path.parent.mkdir(parents=True, exist_ok=True)
        if not exposed:  # the first of a run, from before Keras has built the optimizer
            saving.build_optimizer(self.model)
        return saving.freeze(self.model, path, weights_only=weights_only)

    def load(self, path: Path) -> None:
        saving.load(self.model, path)

    def fingerprint(self) -> dict[str, Any]:
        return resuming.fingerprint(self.model, self._steps)

    def loop_state(self) -> dict[str, Any]:
        return resuming.loop_state(self.model)

    def load_loop_state(self, state: Mapping[str, Any]) -> None:
        resuming.load_loop_state(self.model, state)

    def averages(self) -> Averages | None:
        return averages.averages(self.model)

    def graph(self) -> Graph | None:
        return graph.graph(self.model)

    def embeddings(self) -> Iterator[Embedding]:
        return graph.embeddings(self.model)

    def profiler(self, folder: Path) -> AbstractContextManager[Any]:
        return profiler.profiler(folder)

    def checkpointables(self, *, weights_only: bool) -> dict[str, Any]:
        return orbax.checkpointables(self.model, weights_only=weights_only)


def _number(value: Any) -> float:
    return float(keras.ops.convert_to_numpy(getattr(value, "value", value)))
