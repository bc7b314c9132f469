"""BatchProfiler: some batches of a training, profiled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from jalon.sinks.profile import Profile


class BatchProfiler:
    """Takes one profile per training, of the batches from one number to another.

    Args:
        first: The number of the first batch, from 1; 0 for no profile.
        last: The number of the last one.
        start: Starts the framework's profiler, and returns what ends it.
    """

    def __init__(self, first: int, last: int, start: Callable[[], AbstractContextManager[Any]]) -> None:
        self.first = first
        self.last = last
        self._start = start
        self._session = ExitStack()
        self._mark = ExitStack()
        self._profile: Any = None
        self.running = False
        self.rewind()

    def rewind(self) -> None:
        """Begin again, with the next batch as number 1."""
        self.number = 0
        self._due = self.first > 0

    def state_dict(self) -> dict[str, Any]:
        """Return how many batches there were, and whether the profile is still to be taken."""
        return {"number": self.number, "due": self._due or self.running}  # a profile that runs is lost with its process

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what ``state_dict`` returned."""
        self.number, self._due = state["number"], state["due"]

    def begin_batch(self) -> None:
        """Take note of a batch about to begin; start the profiler if it is the first one wanted."""
        self.number += 1
        if self._due and self.number >= self.first:
            self._due = False  # first, so that a profiler that cannot start is not tried again at each batch
            self._profile = self._session.enter_context(self._start())
            self.running = True
        if self.running and isinstance(self._profile, Profile):
            self._mark.enter_context(self._profile.mark(self.number))

    def end_batch(self) -> bytes | None:
        """Take note of a batch that ended; after the last one wanted, stop, and return what :meth:`stop` does."""
        self._mark.close()
        return self.stop() if self.number >= self.last else None

    def stop(self) -> bytes | None:
        """Stop the profiler if it runs, which writes the profile. Return the graphs that ran, where it knows them."""
        profile, self._profile, self.running = self._profile, None, False
        try:
            self._mark.close()
        finally:
            self._session.close()
        return profile.run_metadata if isinstance(profile, Profile) else None
