"""Where batches come from: arrays in memory, loaders, generators."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sized
from itertools import islice
from typing import Any, cast

import torch
from torch import Tensor

from jalon.core.transform import Batch
from jalon.engines.torch.structures import leaves, map_leaves, rows_of
from jalon.errors import DataError

CHUNK_BYTES = 64 * 2**20
"""How much of shuffled data is gathered at once: one gather per batch is slow, one of everything doubles the memory."""


class Source(ABC):
    """Is where one phase's batches come from.

    Attributes:
        steps: Batches in an epoch, ``None`` where that is not known beforehand.
    """

    steps: int | None = None

    @abstractmethod
    def epoch(self) -> Iterator[Batch]:
        """Return the batches of the next epoch, on the model's device."""

    @abstractmethod
    def first(self) -> Batch:
        """Return the first batch without using it up."""

    @abstractmethod
    def plain_pass(self) -> Iterator[Batch]:
        """Return one unshuffled pass over the data, for what learns from it before training.

        Raises:
            DataError: The data can be read only once.
        """


class ArraySource(Source):
    """Holds data in memory and slices it, without a ``DataLoader``.

    Args:
        arrays: ``(x,)``, ``(x, y)`` or ``(x, y, sample_weight)`` of tensors or structures of tensors.
        batch_size: Rows in a batch; the last one of an epoch may have fewer.
        generator: Draws the order of an epoch; without it the order is as given.
        device: Where batches go.
    """

    def __init__(self, arrays: Batch, *, batch_size: int, generator: torch.Generator | None, device: torch.device) -> None:
        self.arrays = arrays
        self.batch_size = batch_size
        self.generator = generator
        self.device = device
        self.rows = rows_of(arrays[0])
        self.steps = math.ceil(self.rows / batch_size)
        self._leaves: list[Tensor] = leaves(arrays)
        self._is_flat = all(isinstance(part, Tensor) for part in arrays)
        row_bytes = sum(leaf[:1].nbytes for leaf in self._leaves)
        self._chunk = batch_size * max(1, CHUNK_BYTES // max(1, row_bytes * batch_size))

    def epoch(self) -> Iterator[Batch]:
        order = None if self.generator is None else torch.randperm(self.rows, generator=self.generator)
        return self._batches(order)

    def first(self) -> Batch:
        return cast(Batch, map_leaves(lambda leaf: leaf[: self.batch_size].to(self.device), self.arrays))

    def plain_pass(self) -> Iterator[Batch]:
        return self._batches(None)

    def _batches(self, order: Tensor | None) -> Iterator[Batch]:
        for start in range(0, self.rows, self._chunk):
            index = None if order is None else order[start : start + self._chunk]
            parts = [torch.split(self._gather(leaf, start, index), self.batch_size) for leaf in self._leaves]
            if self._is_flat:
                yield from zip(*parts, strict=True)
            else:
                for group in zip(*parts, strict=True):
                    yield self._rebuilt(group)

    def _rebuilt(self, group: tuple[Tensor, ...]) -> Batch:
        remaining = iter(group)
        return cast(Batch, map_leaves(lambda _: next(remaining), self.arrays))

    def _gather(self, leaf: Tensor, start: int, index: Tensor | None) -> Tensor:
        chunk = leaf[start : start + self._chunk] if index is None else leaf.index_select(0, index.to(leaf.device))
        return chunk.to(self.device, non_blocking=True)


class LoaderSource(Source):
    """Reads batches from a loader, a generator or any iterable of them; an epoch is one pass.

    Args:
        batches: Yields ``x``, ``(x, y)`` or ``(x, y, sample_weight)``.
        convert: Turns what is yielded into a batch on the model's device.
    """

    def __init__(self, batches: Iterable[Any], *, convert: Callable[[Any], Batch]) -> None:
        self._batches = batches
        self._convert = convert
        self._opened: Iterator[Any] | None = None
        self._peeked: list[Batch] = []
        self.steps = _length(batches)

    def first(self) -> Batch:
        if not self._peeked:
            self._opened = iter(self._batches)
            self._peeked = [self._convert(item) for item in islice(self._opened, 1)]
        if not self._peeked:
            raise DataError("The data is empty: there is no first batch.")
        return self._peeked[0]

    def epoch(self) -> Iterator[Batch]:
        opened, self._opened = self._opened, None
        peeked, self._peeked = self._peeked, []
        yield from peeked
        for item in iter(self._batches) if opened is None else opened:
            yield self._convert(item)

    def plain_pass(self) -> Iterator[Batch]:
        if isinstance(self._batches, Iterator):
            raise DataError(
                "A transform wants to learn from the data, which is a generator and can be read only once. "
                "Pass arrays, a Dataset or a DataLoader, or give the transform its statistics."
            )
        return map(self._convert, self._batches)


class CappedSource(Source):
    """Takes so many batches for an epoch, going on where the last epoch ended and starting over at the data's end.

    Args:
        source: Where the batches come from.
        steps: Batches in an epoch.
    """

    def __init__(self, source: Source, steps: int) -> None:
        self.source = source
        self.steps = steps
        self._endless = self._across_epochs()

    def first(self) -> Batch:
        return self.source.first()

    def epoch(self) -> Iterator[Batch]:
        return islice(self._endless, self.steps)

    def plain_pass(self) -> Iterator[Batch]:
        return self.source.plain_pass()

    def _across_epochs(self) -> Iterator[Batch]:
        ended = False
        while not ended:
            ended = True
            for batch in self.source.epoch():
                ended = False
                yield batch


def _length(batches: Iterable[Any]) -> int | None:
    if not isinstance(batches, Sized):
        return None
    try:
        return len(batches)
    except TypeError:
        return None
