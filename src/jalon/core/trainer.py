"""TrainerAdapter: what a callback may ask of what is being trained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from jalon.errors import NotReady

Direction = Literal["min", "max"]
Write = Callable[[Path], None]
"""Writes what was frozen to a path, whose suffix names the format."""
Snapshot = Any
"""Weights kept for later by ``snapshot_weights``: a mapping of names to arrays or tensors of the framework."""


class TrainerAdapter(ABC):
    """Answers callbacks on behalf of one training loop, whatever its framework.

    One adapter stands for one model in training. Callbacks of jalon use it alone, so that the same instance takes the
    same decisions under any loop.
    """

    @property
    @abstractmethod
    def suffixes(self) -> tuple[str, ...]:
        """The file suffixes that ``save`` can write, the preferred one first."""

    @property
    @abstractmethod
    def iterations(self) -> int:
        """How many times the optimizer has changed the weights."""

    @property
    @abstractmethod
    def validates(self) -> bool:
        """Whether the loop reports ``val_`` metrics, at some epochs at least."""

    @abstractmethod
    def metric_names(self) -> frozenset[str] | None:
        """Return every metric that the loop will report at an epoch's end, or ``None`` where that cannot be known."""

    @abstractmethod
    def metric_direction(self, metric: str) -> Direction | None:
        """Return whether less or more of a metric is better, or ``None`` where nobody said."""

    @abstractmethod
    def learning_rates(self) -> list[float]:
        """Return the rate in force, one per parameter group."""

    @abstractmethod
    def set_learning_rates(self, rates: Sequence[float]) -> None:
        """Put rates in force, one per parameter group. They hold although a scheduler owns the rate."""

    @abstractmethod
    def snapshot_weights(self, into: Snapshot | None = None) -> Snapshot:
        """Return a copy of the weights, into the memory of an earlier copy where one is given."""

    @abstractmethod
    def restore_weights(self, snapshot: Snapshot) -> None:
        """Put a copy of the weights back.

        Args:
            snapshot: What ``snapshot_weights`` returned, or the same names with numpy arrays, as they come from a file.
        """

    @abstractmethod
    def freeze(self, *, weights_only: bool, about: Mapping[str, Any]) -> Write:
        """Copy the model as it is now, and return what writes the copy to a file that is either whole or not there.

        Training may go on before the copy is written, and another thread may write it.

        Args:
            weights_only: Leave out what only going on needs, as the optimizer's state.
            about: JSON values to store beside the weights, as the epoch and the metric.
        """

    @abstractmethod
    def named_weights(self) -> Iterator[tuple[str, Any]]:
        """Yield each weight's name and its values as a numpy array."""


def adapter_of(model: Any) -> TrainerAdapter:
    """Return the adapter that stands for a model.

    A model names its own by a method ``trainer_adapter()``.

    Raises:
        NotReady: The model has none.
    """
    make = getattr(model, "trainer_adapter", None)
    if make is None:
        raise NotReady(
            f"jalon does not know how to drive a {type(model).__module__}.{type(model).__qualname__}. "
            "Train it through jalon.Model, or give it a method trainer_adapter() that returns a TrainerAdapter."
        )
    adapter: TrainerAdapter = make()
    return adapter
