"""PlainAdapter: answers for any model that has Keras's names, whoever trains it."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jalon.core.logs import scalar
from jalon.core.trainer import Direction, Snapshot, TrainerAdapter, Write
from jalon.errors import NotReady


class PlainAdapter(TrainerAdapter):
    """Answers callbacks by the names that Keras's models have, as far as a model has them.

    It holds the model weakly, since a run that belongs to a model must not keep it alive.

    Args:
        model: Has any of ``get_weights``, ``set_weights``, ``optimizer.learning_rate`` and ``stop_training``.
    """

    def __init__(self, model: Any) -> None:
        self._model = weakref.ref(model)

    @property
    def model(self) -> Any:
        """The model.

        Raises:
            NotReady: It is gone.
        """
        model = self._model()
        if model is None:
            raise NotReady("The model that this run belongs to is gone.")
        return model

    @property
    def suffixes(self) -> tuple[str, ...]:
        return ()

    @property
    def iterations(self) -> int:
        return int(scalar(getattr(self._optimizer, "iterations", 0)) or 0)

    @property
    def validates(self) -> bool:
        return True  # nobody said that it does not

    @property
    def _optimizer(self) -> Any:
        return getattr(self.model, "optimizer", None)

    def metric_names(self) -> frozenset[str] | None:
        return None

    def metric_direction(self, metric: str) -> Direction | None:
        """Return that less ``loss`` is better; of others nobody said."""
        return "min" if metric.removeprefix("val_") == "loss" else None

    def learning_rates(self) -> list[float]:
        rate = scalar(getattr(self._optimizer, "learning_rate", None))
        return [] if rate is None else [rate]

    def set_learning_rates(self, rates: Sequence[float]) -> None:
        self._optimizer.learning_rate = rates[0]

    def snapshot_weights(self, into: Snapshot | None = None) -> Snapshot:
        weights = self.model.get_weights()
        return {str(place): value for place, value in enumerate(weights)} if isinstance(weights, list) else {"weights": weights}

    def restore_weights(self, snapshot: Mapping[str, Any]) -> None:
        if "weights" in snapshot:
            self.model.set_weights(snapshot["weights"])
        else:  # a file may have sorted the names as texts
            self.model.set_weights([snapshot[place] for place in sorted(snapshot, key=int)])

    def freeze(self, path: Path, *, weights_only: bool, about: Mapping[str, Any], exposed: bool = True) -> Write:
        raise NotReady(f"jalon does not know how to save a {type(self.model).__qualname__}.")

    def load(self, path: Path) -> None:
        raise NotReady(f"jalon does not know how to load a {type(self.model).__qualname__}.")

    def named_weights(self) -> Iterator[tuple[str, Any]]:
        yield from self.snapshot_weights().items()

    def request_stop(self) -> None:
        self.model.stop_training = True
