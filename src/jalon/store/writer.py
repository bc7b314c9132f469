"""The background writer: what was copied is written by another thread, and errors come back."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

Outcome = Future[None]
"""Is what became of a write: ``result()`` waits for its end and raises what went wrong."""


class BackgroundWriter:
    """Do writes one after another in a thread of its own.

    The thread starts with the first write; a process that was forked starts its own. Everything that was submitted is done
    before the process ends by itself.

    Example:
        >>> writer = BackgroundWriter()
        >>> writer.submit(lambda: None).result()
        >>> writer.pending()
        []
    """

    def __init__(self) -> None:
        self._forget()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._thread: ThreadPoolExecutor | None = None
        self._submitted: list[Outcome] = []

    def submit(self, write: Callable[[], None]) -> Outcome:
        """Write as soon as what was submitted before is written.

        Args:
            write: Writes something of its own; what it reads must not change meanwhile.
        """
        if self._thread is None:
            self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="jalon-writer")
        outcome = self._thread.submit(write)
        self._submitted = [*self.pending(), outcome]
        return outcome

    def pending(self) -> list[Outcome]:
        """Return what was submitted and is not done, in order."""
        return [outcome for outcome in self._submitted if not outcome.done()]


WRITER = BackgroundWriter()
"""The one of this process: whatever is saved is written in the order in which it was saved."""
