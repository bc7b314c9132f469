"""StallWatch: notice, from a thread of its own, that a training does not get on."""

from __future__ import annotations

import threading
from collections.abc import Callable

from jalon.core.clock import Clock

MOST_SECONDS = 5.0
"""How long between two looks at most."""


class StallWatch(threading.Thread):
    """Tell once when a counter stands still for a time, and again when that happens after it has moved on.

    Args:
        seconds: For how long.
        count: Returns the counter; ``None`` where standing still is meant, as in a pause.
        tell: Is called, in this thread, with the seconds for which it has stood still.
        clock: Tells the time.
        every_seconds: How long between two looks.
    """

    def __init__(
        self,
        seconds: float,
        *,
        count: Callable[[], int | None],
        tell: Callable[[float], None],
        clock: Clock,
        every_seconds: float = MOST_SECONDS,
    ) -> None:
        super().__init__(name="jalon-stall-watch", daemon=True)
        self._seconds = seconds
        self._count = count
        self._tell = tell
        self._clock = clock
        self._every = min(every_seconds, seconds / 4)
        self._seen: int | None = None
        self._since = clock.monotonic()
        self._told = False
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(self._every):
            self.look()

    def look(self) -> None:
        """Compare the counter with what it was."""
        count, now = self._count(), self._clock.monotonic()
        if count is None or count != self._seen:
            self._seen, self._since, self._told = count, now, False
        elif not self._told and now - self._since >= self._seconds:
            self._told = True
            self._tell(now - self._since)
