"""The background writer: what was copied is written by another thread, and errors come back."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

Outcome = Future[None]
"""Is what became of a write: ``result()`` waits for its end and raises what went wrong."""


class BackgroundWriter:
    """Do writes one after another in a thread of its own.

    The thread starts with the first write. Everything that was submitted is done before the process ends by itself.

    Example:
        >>> writer = BackgroundWriter()
        >>> writer.submit(lambda: None).result()
        >>> writer.close()
    """

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None

    def submit(self, write: Callable[[], None]) -> Outcome:
        """Write as soon as what was submitted before is written.

        Args:
            write: Writes something of its own; what it reads must not change meanwhile.
        """
        if self._thread is None:
            self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="jalon-writer")
        return self._thread.submit(write)

    def close(self) -> None:
        """Wait for what was submitted and end the thread. May run twice."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.shutdown(wait=True)
