"""Where a loop's batches come from, and how reading goes on where it was left."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sized
from contextlib import suppress
from itertools import islice
from typing import Any, Protocol

from jalon.callbacks import _randomness
from jalon.errors import ArgumentError, DataError


class Source(Protocol):
    """Is where batches come from; those of :mod:`jalon.engines.torch.sources` are such."""

    @property
    def steps(self) -> int | None:
        """Batches in a pass, ``None`` where that is not known."""
        ...

    def epoch(self) -> Iterator[Any]:
        """Return the batches of the next pass."""
        ...

    def plain_pass(self) -> Iterator[Any]:
        """Return one pass over the data for what learns from it before training."""
        ...

    def state_dict(self, *, abandoned: bool = False) -> dict[str, Any]:
        """Return where the reading stands, as plain data."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> int:
        """Go on reading where ``state_dict`` was asked, and return how many batches had to be read again to get there."""
        ...


def source_of(data: Any, steps: int | None, others: Iterable[Source] = ()) -> Source:
    """Return what reads batches from an iterable.

    Args:
        data: Yields batches.
        others: Those that there are. Of something that can be read only once all count together how far it is read.
        steps: How many to take at a time, going on where the last time ended; all of them by default.

    Raises:
        ArgumentError: ``data`` cannot be iterated over, or ``steps`` is no number of batches.
    """
    if not isinstance(data, Iterable) and not hasattr(data, "__getitem__"):
        raise ArgumentError(f"Loop.batches: data must be an iterable of batches. Received: {data!r:.80}.")
    if steps is not None and (not isinstance(steps, int) or isinstance(steps, bool) or steps < 1):
        raise ArgumentError(f"Loop.batches: steps must be a positive whole number. Received: {steps!r}.")
    if isinstance(data, Iterator):
        same = (one.reader for one in others if isinstance(one, OnceSource) and one.reader.data is data)
        return OnceSource(next(same, None) or Reader(data), steps)
    if "torch" not in sys.modules:
        return IterableSource(data, steps)
    from jalon.engines.torch.sources import CappedSource, LoaderSource

    source: Any = LoaderSource(data, convert=lambda batch: batch)
    made: Source = source if steps is None else CappedSource(source, steps)
    return made


class IterableSource:
    """Reads batches from any iterable, where PyTorch is not loaded.

    Args:
        data: Yields batches.
        steps: How many to take at a time, going on where the last time ended and starting over at the data's end.
    """

    def __init__(self, data: Any, steps: int | None) -> None:
        self._data = data
        self._capped = steps is not None
        self.steps = _length(data) if steps is None else steps
        self._done = self._in_pass = 0
        self._under_way: Iterator[Any] | None = None
        self._begun_at: dict[str, Any] | None = None

    def epoch(self) -> Iterator[Any]:
        planned = self.steps if self._capped else None
        try:
            while planned is None or self._done < planned:
                for batch in self._one_pass():
                    self._done += 1
                    yield batch
                    if self._done == planned:
                        return
                if planned is None or not self._in_pass:
                    return
                self._under_way = None
        finally:
            self._done = 0
            if not self._capped:
                self._under_way = None

    def _one_pass(self) -> Iterator[Any]:
        if self._under_way is None:
            self._open()
        for batch in self._under_way or ():
            self._in_pass += 1
            yield batch

    def _open(self) -> None:
        self._begun_at = _randomness.random_state()
        self._under_way, self._in_pass = iter(self._data), 0

    def plain_pass(self) -> Iterator[Any]:
        return iter(self._data)

    def state_dict(self, *, abandoned: bool = False) -> dict[str, Any]:
        under_way = self._under_way is not None and not (abandoned and not self._capped)
        return {
            "done": 0 if abandoned else self._done,
            "pass": {"begun_at": self._begun_at, "done": self._in_pass} if under_way else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> int:
        self._done, under_way = state["done"], state["pass"]
        if under_way is None:
            return 0
        _randomness.load_random_state(under_way["begun_at"])
        self._open()
        self._in_pass = under_way["done"]
        return sum(1 for _ in islice(self._under_way or (), self._in_pass))


class Reader:
    """Counts how far something is read that can be read only once.

    Args:
        data: Yields batches.
    """

    def __init__(self, data: Iterator[Any]) -> None:
        self.data, self.read = data, 0

    def __iter__(self) -> Iterator[Any]:
        for batch in self.data:
            self.read += 1
            yield batch

    def read_past(self, read: int) -> int:
        """Leave aside what was read before, and return how much that was."""
        return sum(1 for _ in islice(self, max(0, read - self.read)))


class OnceSource:
    """Reads batches from a generator, or what else can be read only once; several may take turns at it.

    Args:
        reader: Counts for all of them.
        steps: How many to take at a time. Defaults to all that are left.
    """

    def __init__(self, reader: Reader, steps: int | None) -> None:
        self.reader, self.steps = reader, steps
        self._done = 0

    def epoch(self) -> Iterator[Any]:
        try:
            for batch in islice(self.reader, None if self.steps is None else self.steps - self._done):
                self._done += 1
                yield batch
        finally:
            self._done = 0

    def plain_pass(self) -> Iterator[Any]:
        raise DataError(
            "A transform wants to learn from the data, which is a generator and can be read only once. "
            "Pass a list or a loader, or give the transform its statistics."
        )

    def state_dict(self, *, abandoned: bool = False) -> dict[str, Any]:
        return {"done": 0 if abandoned else self._done, "read": self.reader.read}

    def load_state_dict(self, state: Mapping[str, Any]) -> int:
        self._done = state["done"]
        return self.reader.read_past(state["read"])


def _length(data: Any) -> int | None:
    with suppress(TypeError):
        return len(data) if isinstance(data, Sized) else None
    return None
