"""What ``fit``, ``evaluate`` and ``predict`` take as data, checked and turned into sources of batches."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sized
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from jalon.core.transform import Batch
from jalon.engines.torch.sources import ArraySource, CappedSource, LoaderSource, Source
from jalon.engines.torch.structures import as_tensors, describe, leaves, map_leaves, rows_of
from jalon.errors import ArgumentError, DataError


class DataReader:
    """Turns the data arguments of ``fit``, ``evaluate`` and ``predict`` into a source of batches.

    Args:
        device: Where batches go.
        dtype: The model's floating type.
        where: The method that was called, for messages.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype, *, where: str) -> None:
        self.device = device
        self.dtype = dtype
        self.where = where

    def arrays(self, x: Any, y: Any = None, sample_weight: Any = None) -> Batch | None:
        """Return in-memory data as checked tensors, or ``None`` where ``x`` yields batches itself.

        Raises:
            DataError: No rows, or lengths that differ.
        """
        if isinstance(x, TensorDataset):
            parts: Batch = tuple(x.tensors)
            if len(parts) > 3:
                raise DataError(
                    f"{self.where}: a TensorDataset must hold x, (x, y) or (x, y, sample_weight). Received: {len(parts)} tensors."
                )
            self._refuse_beside(x, y, sample_weight)
        elif is_stream(x):
            self._refuse_beside(x, y, sample_weight)
            return None
        else:
            parts = _without_none(x, y, sample_weight, where=self.where)
        named = zip(("x", "y", "sample_weight"), parts, strict=False)
        tensors = tuple(as_tensors(part, self.dtype, what=f"{self.where}: {name}") for name, part in named)
        self._check_rows(tensors)
        return tensors

    def in_memory(
        self, arrays: Batch, *, batch_size: int | None, steps: int | None, generator: torch.Generator | None = None
    ) -> Source:
        """Return a source over checked tensors."""
        source = ArraySource(arrays, batch_size=self.batch_size(batch_size), generator=generator, device=self.device)
        return self._capped(source, steps)

    def source(self, x: Any, y: Any = None, sample_weight: Any = None, *, batch_size: int | None, steps: int | None) -> Source:
        """Return a source over anything that data may be, in the order given."""
        arrays = self.arrays(x, y, sample_weight)
        if arrays is None:
            return self.stream(x, batch_size=batch_size, steps=steps)
        return self.in_memory(arrays, batch_size=batch_size, steps=steps)

    def stream(
        self,
        x: Any,
        *,
        batch_size: int | None,
        steps: int | None,
        generator: torch.Generator | None = None,
        weigh: ClassWeights | None = None,
    ) -> Source:
        """Return a source over a ``Dataset``, a ``DataLoader``, a generator or any iterable of batches.

        Raises:
            DataError: A dataset with no samples.
            ArgumentError: A batch size beside data that comes in batches.
        """
        batches = x
        if isinstance(x, Dataset):
            one_way = isinstance(x, IterableDataset)
            if not one_way and len(cast(Sized, x)) == 0:
                raise DataError(f"{self.where}: the dataset is empty.")
            order = None if one_way else generator
            batches = DataLoader(x, self.batch_size(batch_size), shuffle=order is not None, generator=order)
        elif batch_size is not None:
            raise ArgumentError(
                f"{self.where}: batch_size does not go with a {type(x).__name__}, which yields batches itself. "
                f"Received: batch_size={batch_size}. Leave it out."
            )
        convert = self.convert if weigh is None else lambda item: weigh(self.convert(item))
        return self._capped(LoaderSource(batches, convert=convert), steps)

    def convert(self, item: Any) -> Batch:
        """Turn what a loader yields into a batch on the model's device."""
        parts = tuple(item) if isinstance(item, (tuple, list)) else (item,)
        if not 1 <= len(parts) <= 3:
            raise DataError(
                f"{self.where}: a batch must be x, (x, y) or (x, y, sample_weight). Received: {len(parts)} parts. "
                "Several inputs go into one tuple or dict: ((a, b), y)."
            )
        while len(parts) > 1 and parts[-1] is None:
            parts = parts[:-1]
        tensors = as_tensors(parts, self.dtype, what=f"{self.where}: a batch")
        return cast(Batch, map_leaves(lambda leaf: leaf.to(self.device, non_blocking=True), tensors))

    def batch_size(self, given: int | None) -> int:
        """Return the batch size, 32 where none is given, as in Keras."""
        return 32 if given is None else self._whole("batch_size", given)

    def _capped(self, source: Source, steps: int | None) -> Source:
        return source if steps is None else CappedSource(source, self._whole("the number of steps", steps))

    def _whole(self, name: str, given: Any) -> int:
        if isinstance(given, bool) or not isinstance(given, (int, np.integer)) or given < 1:
            raise ArgumentError(f"{self.where}: {name} must be a positive whole number. Received: {given!r}.")
        return int(given)

    def _refuse_beside(self, x: Any, y: Any, sample_weight: Any) -> None:
        given = [name for name, value in (("y", y), ("sample_weight", sample_weight)) if value is not None]
        if given:
            raise ArgumentError(
                f"{self.where}: {' and '.join(given)} cannot be given beside a {type(x).__name__}, which yields (x, y) itself."
            )

    def _check_rows(self, parts: Batch) -> None:
        lengths: dict[str, int] = {}
        for name, part in zip(("x", "y", "sample_weight"), parts, strict=False):
            for number, leaf in enumerate(leaves(part)):
                if leaf.ndim == 0:
                    raise DataError(f"{self.where}: {name} must hold samples along its first axis. Received: a single number.")
                lengths[name if number == 0 else f"{name}[{number}]"] = leaf.shape[0]
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"{name} has {rows}" for name, rows in lengths.items())
            raise DataError(f"{self.where}: all arrays must have the same number of samples. Received: {told}.")
        if 0 in lengths.values():
            raise DataError(f"{self.where}: the data is empty. Received: {describe(parts[0])} for x.")


def is_stream(x: Any) -> bool:
    """Return whether data yields batches or samples itself, as opposed to arrays in memory."""
    if isinstance(x, (Dataset, DataLoader)):
        return True
    return not isinstance(x, (Tensor, np.ndarray, Mapping, tuple, list)) and not hasattr(x, "shape") and isinstance(x, Iterable)


def split_validation(arrays: Batch, fraction: float, *, where: str) -> tuple[Batch, Batch]:
    """Return the data without its last part, and that part, as Keras does it: before any shuffling.

    Raises:
        ArgumentError: A fraction outside 0 to 1, or one that leaves a part empty.
    """
    if not 0 < fraction < 1:
        raise ArgumentError(f"{where}: validation_split must lie between 0 and 1. Received: {fraction!r}.")
    rows = rows_of(arrays[0])
    at = math.floor(rows * (1 - fraction))
    if at in (0, rows):
        raise ArgumentError(f"{where}: validation_split={fraction} of {rows} samples leaves a part empty.")
    return (
        cast(Batch, map_leaves(lambda leaf: leaf[:at], arrays)),
        cast(Batch, map_leaves(lambda leaf: leaf[at:], arrays)),
    )


class ClassWeights:
    """Weighs samples by their class.

    Args:
        weights: A weight for each class, by its number. A class that is not named weighs 1.
        where: The method that was called, for messages.
    """

    def __init__(self, weights: Mapping[int, float], *, where: str) -> None:
        numbers = all(isinstance(key, (int, np.integer)) and key >= 0 for key in weights)
        if not weights or not numbers:
            raise ArgumentError(f"{where}: class_weight must map class numbers from 0 to weights. Received: {weights!r}.")
        table = torch.ones(int(max(weights)) + 1)
        for key, value in weights.items():
            table[int(key)] = float(value)
        self._table = table
        self.where = where

    def __call__(self, data: Batch) -> Batch:
        """Return the batch with each sample's weight multiplied by that of its class."""
        if len(data) < 2 or not isinstance(data[1], Tensor):
            raise DataError(f"{self.where}: class_weight needs y to be one array of class numbers or one-hot rows.")
        x, y, *given = data
        weights = self.of(y)
        return (x, y, weights * given[0] if given else weights)

    def of(self, y: Tensor) -> Tensor:
        """Return each sample's weight: ``y`` holds class numbers ``(B,)`` or ``(B, 1)``, or one-hot rows ``(B, C)``."""
        classes = y.argmax(-1) if y.ndim > 1 and y.shape[-1] > 1 else y.reshape(len(y))
        table = self._table.to(y.device)
        classes = classes.long()
        known = classes.clamp(0, len(table) - 1)
        return torch.where(classes == known, table[known], torch.ones((), device=y.device))


def _without_none(x: Any, y: Any, sample_weight: Any, *, where: str) -> Batch:
    if x is None:
        raise ArgumentError(f"{where}: x is missing.")
    if y is None and sample_weight is not None:
        raise ArgumentError(f"{where}: sample_weight was given without y.")
    return tuple(part for part in (x, y, sample_weight) if part is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class FitData:
    """Holds the data arguments of ``fit`` as they were given; ``Model.fit`` describes them."""

    x: Any
    y: Any
    sample_weight: Any
    class_weight: Mapping[int, float] | None
    batch_size: int | None
    shuffle: bool
    steps_per_epoch: int | None
    validation_split: float
    validation_data: Any
    validation_steps: int | None
    validation_batch_size: int | None

    def sources(self, reader: DataReader) -> tuple[Source, Source | None]:
        """Return where training and validation batches come from."""
        arrays = reader.arrays(self.x, self.y, self.sample_weight)
        generator = _order_generator() if self.shuffle else None
        weigh = None if self.class_weight is None else ClassWeights(self.class_weight, where=reader.where)
        sizes = {"batch_size": self.batch_size, "steps": self.steps_per_epoch}
        if arrays is None:
            if self.validation_split and self.validation_data is None:
                raise ArgumentError(
                    f"{reader.where}: validation_split needs arrays. Received: a {type(self.x).__name__}. Pass validation_data."
                )
            return reader.stream(self.x, generator=generator, weigh=weigh, **sizes), self._validation(reader)
        held_out = None
        if self.validation_split and self.validation_data is None:
            arrays, held_out = split_validation(arrays, self.validation_split, where=reader.where)
        weighed = arrays if weigh is None else weigh(arrays)
        return reader.in_memory(weighed, generator=generator, **sizes), self._validation(reader, held_out)

    def _validation(self, reader: DataReader, held_out: Batch | None = None) -> Source | None:
        data = self.validation_data
        if held_out is None and data is None:
            return None
        size = self.validation_batch_size
        if held_out is not None:
            return reader.in_memory(held_out, batch_size=size or self.batch_size, steps=self.validation_steps)
        parts = tuple(data) if isinstance(data, (tuple, list)) else (data,)
        if not 1 <= len(parts) <= 3:
            raise ArgumentError(f"{reader.where}: validation_data must be (x, y), (x, y, sample_weight), or yield them.")
        given = size if is_stream(parts[0]) and not isinstance(parts[0], Dataset) else size or self.batch_size
        return reader.source(*parts, batch_size=given, steps=self.validation_steps)


def _order_generator() -> torch.Generator:
    """Return a generator for the order of epochs, seeded from torch's own random numbers."""
    return torch.Generator().manual_seed(int(torch.randint(2**63 - 1, ())))
