"""Transform: what prepares a batch before the model sees it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

TransformPhase = Literal["train", "validation", "test", "predict"]
Batch = tuple[Any, ...]
"""``(x,)``, ``(x, y)`` or ``(x, y, sample_weight)``."""


class Transform:
    """Prepare every batch, in training, validation and predict alike.

    Derive a callback from it too, and put it into the list given to ``fit``: the loop collects it, and its state is
    saved with the model.

    Example:
        >>> from jalon.callbacks import Callback
        >>> class Halve(Callback, Transform):
        ...     def transform_batch(self, data, phase):
        ...         x, *rest = data
        ...         return (x / 2, *rest)
    """

    def fit_transform_begin(self, batches: Iterable[Batch]) -> None:
        """Learn from the training data, once, before the first batch of a new training.

        Args:
            batches: One pass over the training data, unshuffled and unprepared by this transform.
        """

    def transform_batch(self, data: Batch, phase: TransformPhase) -> Batch:
        """Return the batch as the model shall see it.

        Args:
            data: ``(x,)``, ``(x, y)`` or ``(x, y, sample_weight)``.
            phase: What the batch is for.
        """
        return data

    def transform_state(self) -> dict[str, Any]:
        """Return what was learned as plain data, to be saved with the model."""
        return {}

    def load_transform_state(self, state: Mapping[str, Any]) -> None:
        """Take back what ``transform_state`` returned."""
