"""Where batches come from: arrays in memory, loaders, generators."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from itertools import islice
from typing import Any, cast

import torch
from torch import Tensor

from jalon.core.transform import Batch
from jalon.engines.torch import randomness, workers
from jalon.engines.torch.structures import as_plain, from_plain, leaves, map_leaves, rows_of
from jalon.errors import DataError

CHUNK_BYTES = 64 * 2**20
"""How much of shuffled data is gathered at once: one gather per batch is slow, one of everything doubles the memory."""


class Source(ABC):
    """Is where one phase's batches come from.

    Attributes:
        steps: Batches in an epoch, ``None`` where that is not known beforehand.
        rows: Samples in the data, ``None`` where that is not known.
        batch_size: Samples in a batch, ``None`` where that is not known.
    """

    steps: int | None = None
    rows: int | None = None
    batch_size: int | None = None

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

    @property
    @abstractmethod
    def done(self) -> int:
        """How many batches of the pass under way have been handed out; 0 between two passes."""

    @abstractmethod
    def state_dict(self, *, abandoned: bool = False) -> dict[str, Any]:
        """Return where the reading stands, as plain data.

        Args:
            abandoned: Whether the pass under way is not going to be read on.
        """

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> int:
        """Go on reading where ``state_dict`` was asked, and return how many batches had to be read again to get there.

        The random numbers of the process are not what they were afterwards: put them back after this.
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
        self.batch_size: int = batch_size
        self.generator = generator
        self.device = device
        self.rows: int = rows_of(arrays[0])
        self.steps = math.ceil(self.rows / batch_size)
        self._leaves: list[Tensor] = leaves(arrays)
        self._is_flat = all(isinstance(part, Tensor) for part in arrays)
        row_bytes = sum(leaf[:1].nbytes for leaf in self._leaves)
        self._chunk = batch_size * max(1, CHUNK_BYTES // max(1, row_bytes * batch_size))
        self._done = 0
        self._begun_at: Tensor | None = None

    def epoch(self) -> Iterator[Batch]:
        order = None
        if self.generator is not None:
            self._begun_at = self.generator.get_state()
            order = torch.randperm(self.rows, generator=self.generator)
        try:
            for batch in self._batches(order, self._done * self.batch_size):
                self._done += 1
                yield batch
        finally:
            self._done = 0

    def first(self) -> Batch:
        return cast(Batch, map_leaves(lambda leaf: leaf[: self.batch_size].to(self.device), self.arrays))

    def plain_pass(self) -> Iterator[Batch]:
        return self._batches(None)

    @property
    def done(self) -> int:
        return self._done

    def state_dict(self, *, abandoned: bool = False) -> dict[str, Any]:
        """Return the batches done, and what the order of their pass was, or that of the next one will be, drawn from."""
        done = 0 if abandoned else self._done
        if self.generator is None:
            return {"done": done, "order": None}
        drawn_from = self._begun_at if done and self._begun_at is not None else self.generator.get_state()
        return {"done": done, "order": drawn_from.numpy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> int:
        self._done = state["done"]
        if self.generator is not None:
            self.generator.set_state(torch.from_numpy(state["order"]))
        return 0

    def _batches(self, order: Tensor | None, first: int = 0) -> Iterator[Batch]:
        for start in range(first, self.rows, self._chunk):
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
        self._begun_at: dict[str, Any] = {}
        self._done = 0
        self._read = 0
        self.steps, self.rows = _length(batches), _length(getattr(batches, "dataset", None))
        size = getattr(batches, "batch_size", None)
        self.batch_size = size if isinstance(size, int) else None

    def first(self) -> Batch:
        if not self._peeked:
            self._opened = self._open()
            self._peek(self._opened)
        if not self._peeked:
            raise DataError("The data is empty: there is no first batch.")
        return self._peeked[0]

    def epoch(self) -> Iterator[Batch]:
        opened, self._opened = self._opened, None
        peeked, self._peeked = self._peeked, []
        try:
            for batch in peeked:
                yield self._counted(batch)
            for item in self._open() if opened is None else opened:
                yield self._counted(self._convert(item))
        finally:
            self._done = 0

    def plain_pass(self) -> Iterator[Batch]:
        if isinstance(self._batches, Iterator):
            raise DataError(
                "A transform wants to learn from the data, which is a generator and can be read only once. "
                "Pass arrays, a Dataset or a DataLoader, or give the transform its statistics."
            )
        return map(self._convert, self._batches)

    @property
    def done(self) -> int:
        return self._done

    def state_dict(self, *, abandoned: bool = False) -> dict[str, Any]:
        """Return the batches done, and what their pass draws its order from, or between two passes the next one."""
        under_way = not abandoned and bool(self._done or self._peeked)
        state = {
            "done": 0 if abandoned else self._done,
            "read": self._read,
            "own": randomness.own_state(self._batches),
            "pass": self._begun_at if under_way else None,
        }
        if under_way and self._done and _keeps_its_place(self._batches):
            state["loader"] = as_plain(cast(Any, self._batches).state_dict())
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> int:
        self._done = state["done"]
        if isinstance(self._batches, Iterator):
            return self._read_past(state["read"])
        self._opened, self._peeked, self._read = None, [], state["read"]
        read_again = 0 if state["pass"] is None else self._open_again(state["pass"], state.get("loader"))
        randomness.load_own_state(self._batches, state["own"])
        return read_again

    def _open_again(self, begun_at: Mapping[str, Any], place: Any) -> int:
        """Open a pass as it was opened before, go to its place, and return how many batches were read for that."""
        randomness.load_own_state(self._batches, begun_at["own"])
        randomness.load_random_state(begun_at["random"])
        if begun_at["starts workers"] and hasattr(self._batches, "_iterator"):
            self._batches._iterator = None  # persistent workers that have begun take no seed from a pass
        if place is not None:
            cast(Any, self._batches).load_state_dict(from_plain(place))
        self._opened = self._open()
        if not self._done:
            self._peek(self._opened)
        return 0 if place is not None else sum(1 for _ in islice(self._opened, self._done))

    def _read_past(self, read: int) -> int:
        """Leave aside what a generator yielded before; what was looked at counts."""
        opened = self._batches if self._opened is None else self._opened
        looked_at = self._peeked[:read]
        del self._peeked[:read]
        self._read = read
        return sum(1 for _ in islice(cast(Iterator[Any], opened), read - len(looked_at)))

    def _open(self) -> Iterator[Any]:
        self._begun_at = {
            "random": randomness.random_state(),
            "own": randomness.own_state(self._batches),
            "starts workers": getattr(self._batches, "_iterator", None) is None,
        }
        return workers.opened(self._batches)

    def _peek(self, opened: Iterator[Any]) -> None:
        self._peeked = [self._convert(item) for item in islice(opened, 1)]

    def _counted(self, batch: Batch) -> Batch:
        self._done += 1
        self._read += 1
        return batch


class CappedSource(Source):
    """Takes so many batches for an epoch, going on where the last epoch ended and starting over at the data's end.

    Args:
        source: Where the batches come from.
        steps: Batches in an epoch.
    """

    def __init__(self, source: Source, steps: int) -> None:
        self.source = source
        self.steps: int = steps
        self.rows, self.batch_size = source.rows, source.batch_size
        self._done = 0
        self._endless = self._across_epochs()

    def first(self) -> Batch:
        return self.source.first()

    def epoch(self) -> Iterator[Batch]:
        try:
            for batch in islice(self._endless, self.steps - self._done):
                self._done += 1
                yield batch
        finally:
            self._done = 0

    def plain_pass(self) -> Iterator[Batch]:
        return self.source.plain_pass()

    @property
    def done(self) -> int:
        return self._done

    def state_dict(self, *, abandoned: bool = False) -> dict[str, Any]:
        """Return the batches done of the epoch, and where the reading of the data stands."""
        return {"done": 0 if abandoned else self._done, "source": self.source.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> int:
        self._done = state["done"]
        return self.source.load_state_dict(state["source"])

    def _across_epochs(self) -> Iterator[Batch]:
        ended = False
        while not ended:
            ended = self.source.done == 0  # a pass that is gone on with may have no batch left
            for batch in self.source.epoch():
                ended = False
                yield batch


def _keeps_its_place(batches: Any) -> bool:
    """Return whether a loader tells and takes its place, as torchdata's ``StatefulDataLoader`` does."""
    return hasattr(batches, "state_dict") and hasattr(batches, "load_state_dict")


def _length(batches: object) -> int | None:
    if not isinstance(batches, Sized):
        return None
    try:
        return len(batches)
    except TypeError:
        return None
