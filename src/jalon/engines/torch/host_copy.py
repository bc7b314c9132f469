"""Copies of tensors in host memory that is used again, so that a save holds training up no longer than a copy takes."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

Tensors = Mapping[str, Tensor]
Entry = tuple[str, torch.dtype, torch.Size]

_FREE_KEPT = 2
_PASSED_OVER_KEPT = 64
"""So many saves in a row may have no use for a free copy before its memory is given up."""
_PLAIN_TYPES = (torch.float32, torch.int64, torch.float64)
"""Types whose numpy arrays give their bytes without a detour."""


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Says which tensors there are, and where their bytes are when they stand one after another.

    Those of the widest type come first, otherwise as in ``entries``: so each begins at a multiple of its type's size, with no
    gap before it. There is one layout for the same entries, which can be compared by ``is``.

    Args:
        entries: Name, type and shape of each.
        places: Where each begins and ends, in the order of the bytes.
        nbytes: How many bytes they are together.
    """

    entries: tuple[Entry, ...]
    places: Mapping[str, tuple[int, int]]
    nbytes: int


def layout_of(tensors: Tensors) -> Layout:
    """Return the layout of some tensors.

    Example:
        >>> layout_of({"count": torch.zeros((), dtype=torch.int8), "weight": torch.zeros(2)}).places
        {'weight': (0, 8), 'count': (8, 9)}
    """
    return _layout(tuple([(name, value.dtype, value.shape) for name, value in tensors.items()]))


@lru_cache(maxsize=32)
def _layout(entries: tuple[Entry, ...]) -> Layout:
    placed = sorted(entries, key=lambda entry: -entry[1].itemsize)
    ends = itertools.accumulate((dtype.itemsize * shape.numel() for _, dtype, shape in placed), initial=0)
    places = {name: place for (name, _, _), place in zip(placed, itertools.pairwise(ends), strict=True)}
    return Layout(entries, places, max((end for _, end in places.values()), default=0))


@dataclass(frozen=True, slots=True, eq=False)
class HostCopy:
    """Is tensors on the host, and their bytes.

    Args:
        layout: What they are.
        tensors: The tensors by name, each contiguous, in the order of the layout's entries.
        parts: The bytes of each, in the order of the layout's places.
        data: The bytes of all in that order, in as few pieces as they lie in.
    """

    layout: Layout
    tensors: dict[str, Tensor]
    parts: dict[str, memoryview]
    data: Sequence[memoryview]


class _Loan(AbstractContextManager[HostCopy]):
    """Lends a copy, which is free for the next one when it was used, or when nobody will use it any more."""

    def __init__(self, free: deque[tuple[HostCopy, int]], copy: HostCopy) -> None:
        self._free = free
        self._copy: HostCopy | None = copy

    def __enter__(self) -> HostCopy:
        if self._copy is None:
            raise RuntimeError("A copy is used once.")
        return self._copy

    def __exit__(self, *exc_info: object) -> None:
        copy, self._copy = self._copy, None
        if copy is not None:
            self._free.append((copy, 0))

    __del__ = __exit__


class HostCopies:
    """Makes copies one after another, in the memory of those that are no longer needed.

    Example:
        >>> copies, weights = HostCopies(), {"weight": torch.ones(2)}
        >>> with copies.of(weights) as copy:
        ...     _ = weights["weight"].zero_()
        ...     copy.tensors["weight"]
        tensor([1., 1.])
    """

    def __init__(self) -> None:
        # Whoever takes a copy out owns it: no lock is needed, which a process forked meanwhile would find held for ever.
        self._free: deque[tuple[HostCopy, int]] = deque(maxlen=_FREE_KEPT)

    @torch.no_grad()
    def of(self, tensors: Tensors) -> AbstractContextManager[HostCopy]:
        """Copy tensors from wherever they are. At the end of the ``with`` block, which another thread may enter once, the
        memory is free for the next copy.

        Args:
            tensors: Dense tensors by name.
        """
        layout = layout_of(tensors)
        copy = self._taken(layout) or _made(layout)
        if tensors:
            torch._foreach_copy_(list(copy.tensors.values()), list(tensors.values()))
        return _Loan(self._free, copy)

    def _taken(self, layout: Layout) -> HostCopy | None:
        for _ in range(len(self._free)):
            try:
                copy, passed_over = self._free.popleft()
            except IndexError:  # another thread took it
                break
            if copy.layout is layout:
                return copy
            if passed_over < _PASSED_OVER_KEPT:
                self._free.append((copy, passed_over + 1))
        return None


@torch.inference_mode(mode=False)  # what is made in that mode cannot be written to outside of it
def _made(layout: Layout) -> HostCopy:
    memory = torch.empty(layout.nbytes, dtype=torch.uint8).numpy()
    flat = memory.data
    parts = {name: flat[start:end] for name, (start, end) in layout.places.items()}
    tensors = {name: _shaped(parts[name], dtype, shape) for name, dtype, shape in layout.entries}
    return HostCopy(layout, tensors, parts, [flat])


def _shaped(memory: memoryview, dtype: torch.dtype, shape: torch.Size) -> Tensor:
    if not memory:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(memory, dtype=torch.uint8).view(dtype).reshape(shape)


def as_host_copy(tensors: Tensors) -> HostCopy:
    """Return tensors as they are, those that are on the host and contiguous without copying them.

    Args:
        tensors: Dense tensors by name.
    """
    layout = layout_of(tensors)
    host = {name: _on_host(value) for name, value in tensors.items()}
    parts = {name: _bytes_of(host[name]) for name in layout.places}
    return HostCopy(layout, host, parts, list(parts.values()))


def _on_host(value: Tensor) -> Tensor:
    if value.is_cpu and value.is_contiguous() and value.numel() != 1 and not (value.is_conj() or value.is_neg()):
        return value.detach() if value.requires_grad else value
    host = value.detach().resolve_conj().resolve_neg().cpu().contiguous()
    if host.numel() == 1:
        return host.reshape(()).reshape(host.shape)  # a single value is contiguous at any stride, and torch minds the stride
    return host


def _bytes_of(value: Tensor) -> memoryview:
    if value.ndim and value.dtype in _PLAIN_TYPES and value.numel():
        return value.numpy().data.cast("B")
    return value.reshape(-1).view(torch.uint8).numpy().data
