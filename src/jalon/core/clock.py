"""The only file that reads the time."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Is what tells the time; tests pass one that they move by hand."""

    def monotonic(self) -> float:
        """Return seconds that never go back, for durations."""
        ...

    def wall(self) -> float:
        """Return seconds since 1970, for what people read."""
        ...


class SystemClock:
    """Tells the machine's time."""

    monotonic = staticmethod(time.monotonic)
    wall = staticmethod(time.time)


SYSTEM_CLOCK = SystemClock()
