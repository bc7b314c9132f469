"""Preparation: what transforms make of the batches that a loop hands out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

from jalon.core.trainer import TrainerAdapter
from jalon.core.transform import Transform, TransformPhase
from jalon.errors import ArgumentError


class Preparation:
    """Prepares batches, which stay what they were: a tuple, a list or ``x`` alone.

    Args:
        transforms: What prepares them, in order.
        trainer: Saves what they have learned with the model.

    Attributes:
        is_learned: Whether they have learned what there is to learn.

    Raises:
        ArgumentError: There are transforms, and nothing that could save what they have learned.
    """

    def __init__(self, transforms: list[Transform], trainer: TrainerAdapter) -> None:
        self._transforms = transforms
        self.is_learned = False
        if not transforms:
            return
        host = getattr(trainer, "host", trainer)
        if not hasattr(host, "transforms"):
            raise ArgumentError(
                f"callbacks: {type(transforms[0]).__name__} prepares batches, and what it has learned is saved with the model. "
                "Pass model= to jalon.Loop."
            )
        host.transforms = list(transforms)

    def learn(self, plain_pass: Callable[[], Iterator[Any]], steps: int | None) -> None:
        """Let each learn from a pass over the training data as those before it prepare it, unless that is done."""
        if self.is_learned:
            return
        self.is_learned = True
        for place, transform in enumerate(self._transforms):
            batches = (_as_tuple(batch) for batch in islice(plain_pass(), steps))
            transform.fit_transform_begin(self._prepared(batch, "train", place) for batch in batches)

    def function(self, phase: TransformPhase) -> Callable[[Any], Any] | None:
        """Return what prepares a batch, or ``None`` where nothing is to be done."""
        if not self._transforms:
            return None
        return lambda batch: _as(batch, self._prepared(_as_tuple(batch), phase, len(self._transforms)))

    def _prepared(self, data: tuple[Any, ...], phase: TransformPhase, count: int) -> tuple[Any, ...]:
        for transform in self._transforms[:count]:
            data = transform.transform_batch(data, phase)
        return data


def rows_of(batch: Any) -> int:
    """Return how many samples a batch holds; 1 where that cannot be told.

    Example:
        >>> import numpy as np
        >>> rows_of((np.zeros((32, 4)), np.zeros(32))), rows_of({"x": np.zeros((8, 2))}), rows_of(7)
        (32, 8, 1)
    """
    while isinstance(batch, (tuple, list, Mapping)):
        batch = next(iter(batch.values() if isinstance(batch, Mapping) else batch), None)
    shape: Any = getattr(batch, "shape", ())
    return int(shape[0]) if len(shape) else 1


def _as_tuple(batch: Any) -> tuple[Any, ...]:
    return tuple(batch) if isinstance(batch, (tuple, list)) else (batch,)


def _as(like: Any, data: tuple[Any, ...]) -> Any:
    if isinstance(like, (tuple, list)):
        return data if isinstance(like, tuple) else list(data)
    return data[0]
