"""ManualClock: time that stands still until it is moved."""

from __future__ import annotations

from jalon.errors import ArgumentError


class ManualClock:
    """Tell a time that stands still until it is moved.

    Args:
        now: The time at first, in seconds.

    Example:
        >>> clock = ManualClock()
        >>> clock.advance(90)
        >>> clock.monotonic()
        90.0
    """

    def __init__(self, now: float = 0.0) -> None:
        self.now = float(now)

    def monotonic(self) -> float:
        """Return the time in seconds."""
        return self.now

    def wall(self) -> float:
        """Return the time in seconds, the same as ``monotonic``."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Move the time on.

        Raises:
            ArgumentError: Time would go back.
        """
        if seconds < 0:
            raise ArgumentError(f"ManualClock.advance: time does not go back. Received: seconds={seconds!r}.")
        self.now += seconds
