"""Running sums and means on the device.

They are kept in float32 for a block of batches and then added to a float64 sum (float32 on MPS, which has no float64): as
fast as a float32 sum and, over a million batches, as exact as a batch's own value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from jalon.engines.torch.functions import like_values

State = dict[str, Tensor]

BLOCK = 32
"""Batches whose sum is kept in float32."""


class Sum:
    """Adds up tensors of one shape on their device."""

    __slots__ = ("_adds", "_placed", "_recent", "_total")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._adds = 0
        self._placed = False
        self._recent: Tensor | None = None
        self._total: Tensor | None = None

    def add(self, value: Tensor, times: float = 1) -> None:
        """Add a tensor, multiplied by a number."""
        recent = self._recent if self._placed else self._place(value)
        recent.add_(value.detach() if value.requires_grad else value, alpha=times)  # type: ignore[union-attr]
        self._adds += 1
        if self._adds == BLOCK:
            self._fold()

    def result(self) -> Tensor | None:
        """Return the sum, or ``None`` where nothing was added."""
        return None if self._total is None or self._recent is None else self._total + self._recent

    def state(self) -> State:
        """Return the sum as it stands inside a block, so that adding goes on bit for bit."""
        if self._total is None or self._recent is None:
            return {}
        return {"total": self._total.clone(), "recent": self._recent.clone(), "adds": torch.tensor(self._adds)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what ``state`` returned, onto the device of what is added next."""
        self.reset()
        if state:
            self._total, self._recent = state["total"].clone(), state["recent"].clone()
            self._adds = int(state["adds"])

    def _place(self, value: Tensor) -> Tensor:
        device = value.device
        if self._total is None or self._recent is None:
            kind = torch.promote_types(value.dtype, torch.float32) if value.is_floating_point() else torch.int64
            wide = torch.float32 if device.type == "mps" else torch.float64
            self._recent = torch.zeros(value.shape, dtype=kind, device=device)
            self._total = torch.zeros(value.shape, dtype=wide, device=device)
        self._recent, self._total = self._recent.to(device), self._total.to(device)
        self._placed = True
        return self._recent

    def _fold(self) -> None:
        self._total.add_(self._recent)  # type: ignore[union-attr, arg-type]
        self._recent.zero_()  # type: ignore[union-attr]
        self._adds = 0


class Mean:
    """Is a weighted running mean, kept on the device.

    Example:
        >>> mean = Mean()
        >>> mean.add(torch.tensor(1.0), 3)
        >>> mean.add(torch.tensor(5.0), 1)
        >>> mean.result().item()
        2.0
    """

    def __init__(self) -> None:
        self._total = Sum()
        self._weights = Sum()
        self._count: float = 0

    @property
    def count(self) -> float:
        """The weights added up."""
        weights = self._weights.result()
        return self._count if weights is None else self._count + weights.item()

    def reset(self) -> None:
        """Forget everything."""
        self._total.reset()
        self._weights.reset()
        self._count = 0

    def add(self, value: Tensor, weight: float | Tensor = 1) -> None:
        """Add a 0-d value that counts ``weight`` times."""
        if not value.is_floating_point():
            value = value.to(torch.float32)
        if isinstance(weight, Tensor):
            self._total.add(value * weight)
            self._weights.add(weight)
        else:
            self._total.add(value, weight)
            self._count += weight

    def add_sum(self, total: Tensor, count: float) -> None:
        """Add the 0-d sum of so many values."""
        self._total.add(total)
        self._count += count

    def add_each(self, values: Tensor, weights: Tensor | None = None, *, who: str) -> None:
        """Add a value per sample.

        Args:
            values: ``(B,)``, or ``(B, ...)``: then a sample's value is the mean of its own.
            weights: One weight per sample ``(B,)``, or more ``(B, ...)``.
            who: What was measured, for messages.
        """
        values = values if values.is_floating_point() else values.to(torch.float32)
        if weights is None:
            self.add_sum(_samples(values).sum(), values.shape[0])
            return
        fitted = like_values(weights, values, who)
        self._total.add(_samples(values * fitted).sum())
        self._weights.add(_samples(fitted.expand_as(values)).sum())

    def result(self) -> Tensor:
        """Return the mean, 0-d and on the device; NaN where nothing was added."""
        total, weights = self._total.result(), self._weights.result()
        if total is None:
            return torch.tensor(math.nan)
        return total / (self._count if weights is None else self._count + weights)

    def state(self) -> State:
        """Return everything that was added, to go on from bit for bit."""
        state = prefixed("total", self._total.state()) | prefixed("weights", self._weights.state())
        return state | {"count": torch.tensor(self._count, dtype=torch.float64)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what ``state`` returned."""
        self._total.load_state(under("total", state))
        self._weights.load_state(under("weights", state))
        count = float(state["count"])
        self._count = int(count) if count.is_integer() else count


def prefixed(name: str, state: State) -> State:
    """Return a state under a name, to be put beside others."""
    return {f"{name}.{key}": value for key, value in state.items()}


def under(name: str, state: Mapping[str, Tensor]) -> State:
    """Return what ``prefixed`` put under a name."""
    return {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}


def _samples(values: Tensor) -> Tensor:
    return values if values.ndim < 2 else values.flatten(1).mean(1)
