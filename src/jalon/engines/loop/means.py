"""Means: the weighted means of what is logged, read only when somebody asks."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from jalon.core.logs import scalar
from jalon.errors import ArgumentError

_MOST_PENDING = 4096
"""So many values of a metric may wait on a device to be read; then the older half is."""


class Means:
    """Keeps the weighted mean of each metric of one phase.

    A value on a device is copied there and not waited for; a value in the host's memory is read at once. What was logged is
    added up in the order in which it was logged, in double precision, so that the mean does not depend on when it was read.

    Attributes:
        updates: How many times something was added.

    Example:
        >>> means = Means()
        >>> means.add("loss", 1.0, 3)
        >>> means.add("loss", 2.0, 1)
        >>> means.read()
        {'loss': 1.25}
    """

    __slots__ = ("_of", "updates")

    def __init__(self) -> None:
        self._of: dict[str, _Mean] = {}
        self.updates = 0

    def add(self, name: str, value: Any, weight: float) -> None:
        """Add a value.

        Args:
            name: The metric.
            value: A number, or an array or tensor of one element, of any framework.
            weight: How much it counts.

        Raises:
            ArgumentError: It is not a single number.
        """
        mean = self._of.get(name)
        if mean is None:
            mean = self._of[name] = _Mean()
        mean.add(value if type(value) is float else _kept(name, value), weight)
        self.updates += 1

    def read(self) -> dict[str, float]:
        """Return each metric's mean."""
        return {name: mean.read() for name, mean in self._of.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return sums and weights as plain data."""
        self.read()
        return {name: [mean.total, mean.weight] for name, mean in self._of.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what ``state_dict`` returned."""
        self._of = {name: _Mean(total, weight) for name, (total, weight) in state.items()}
        self.updates += 1


class _Mean:
    __slots__ = ("total", "values", "weight", "weights")

    def __init__(self, total: float = 0.0, weight: float = 0.0) -> None:
        self.total, self.weight = total, weight
        self.values: list[Any] = []
        self.weights: list[float] = []

    def add(self, value: Any, weight: float) -> None:
        if type(value) is float and not self.values:
            self.total += value * weight
            self.weight += weight
            return
        self.values.append(value)
        self.weights.append(weight)
        if len(self.values) > _MOST_PENDING:
            self.fold(_MOST_PENDING // 2)

    def read(self) -> float:
        self.fold(len(self.values))
        return self.total / self.weight if self.weight else float("nan")

    def fold(self, count: int) -> None:
        """Add up the oldest of what waits."""
        if not count:
            return
        for value, weight in zip(_read(self.values[:count]), self.weights[:count], strict=False):
            self.total += value * weight
            self.weight += weight
        del self.values[:count], self.weights[:count]


def _kept(name: str, value: Any) -> Any:
    """Return a value as it is now: a copy on its device of what may change, a number of what is on the host."""
    if hasattr(value, "detach"):
        if value.numel() != 1:
            raise _several(name, value)
        return float(value.item()) if value.is_cpu else value.detach().clone()
    if getattr(value, "size", 1) != 1 and hasattr(value, "shape"):
        raise _several(name, value)
    if type(value).__module__.startswith("jax"):  # cannot change, and may still be being computed
        return value
    number = scalar(value)
    if number is None:
        raise ArgumentError(f"Loop.log: {name!r} must be a single number. Received: {value!r:.80}.")
    return number


def _several(name: str, value: Any) -> ArgumentError:
    return ArgumentError(
        f"Loop.log: {name!r} must be a single number. Received: an array of shape {tuple(value.shape)}. Log its mean."
    )


def _read(values: list[Any]) -> list[float]:
    """Return values as floats, those of one device in one go."""
    first = values[0]
    if type(first) is float:
        if all(type(value) is float for value in values):
            return values
    elif hasattr(first, "detach"):
        torch: Any = sys.modules["torch"]
        if all(isinstance(value, torch.Tensor) and value.dtype == first.dtype for value in values):
            same = [value.reshape(()) for value in values]
            if all(value.device == first.device for value in same):
                read: list[float] = [float(value) for value in torch.stack(same).tolist()]
                return read
    elif "jax" in sys.modules:
        values = sys.modules["jax"].device_get(values)
    return [float(value.item() if hasattr(value, "item") else value) for value in values]
