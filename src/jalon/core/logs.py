"""Batch logs read on demand, and metric values as floats."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any


class BatchLogs(Mapping[str, float]):
    """Is a view of the running metrics that reads the device only when asked.

    One view serves a whole phase; what it read is kept until the stamp moves on, so that several readers of one batch
    cost one read.

    Args:
        read: Reads every metric as a float.
        stamp: Returns a number that changes when the metrics have.
    """

    __slots__ = ("_read", "_seen", "_stamp", "_values")

    def __init__(self, read: Callable[[], dict[str, float]], stamp: Callable[[], int]) -> None:
        self._read = read
        self._stamp = stamp
        self._seen: int | None = None
        self._values: dict[str, float] = {}

    def snapshot(self) -> dict[str, float]:
        """Return the values as a plain dict of the caller's own."""
        now = self._stamp()
        if now != self._seen:
            self._values = self._read()
            self._seen = now
        return dict(self._values)

    def __getitem__(self, name: str) -> float:
        return self.snapshot()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.snapshot())

    def __len__(self) -> int:
        return len(self.snapshot())

    def __repr__(self) -> str:
        return repr(self.snapshot())


def scalar(value: Any) -> float | None:
    """Return a metric's value as a float, or ``None`` where it is not a single number.

    Takes Python numbers and 0-d or one-element arrays and tensors of any framework.
    """
    if isinstance(value, float):
        return value
    if isinstance(value, (str, bytes)) or value is None:
        return None
    try:
        return float(value.item() if hasattr(value, "item") else value)
    except (TypeError, ValueError, RuntimeError):
        return None


def numbers_of(logs: Mapping[str, Any]) -> dict[str, float]:
    """Return those of the metrics that are single numbers, as floats."""
    found = {name: scalar(value) for name, value in logs.items()}
    return {name: number for name, number in found.items() if number is not None}
