"""Courier: does one thing after another in a thread of its own, so that nobody waits for a service."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable


class Courier:
    """Do one thing after another in a thread, which is there only while there is something to do.

    The thread does not keep the process from ending.

    Args:
        name: The thread's name.
        most: How many errands may wait.

    Example:
        >>> done = []
        >>> courier = Courier("example", most=2)
        >>> courier.send(lambda: done.append("a")), courier.settle(10.0)
        (True, True)
        >>> done
        ['a']
    """

    def __init__(self, name: str, *, most: int) -> None:
        self._name = name
        self._most = most
        self._waiting: deque[Callable[[], object]] = deque()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def send(self, errand: Callable[[], object]) -> bool:
        """Hand in an errand, from any thread; return whether it is taken, and not too many wait.

        Args:
            errand: Is called in the courier's thread, and raises nothing.
        """
        with self._lock:
            if len(self._waiting) >= self._most:
                return False
            self._waiting.append(errand)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()
            return True

    def settle(self, seconds: float) -> bool:
        """Wait until all is done, but not longer than so many seconds; return whether it is."""
        thread = self._thread
        if thread is None:
            return True
        thread.join(seconds)
        return not thread.is_alive()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                errand = self._waiting.popleft()
            errand()
