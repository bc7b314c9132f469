"""Profile: what a framework's profiler tells while it runs, for TensorBoard."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Profile:
    """Is a profile while it is taken.

    Args:
        mark: Returns a context that marks one batch in the profile, by its number.
        run_metadata: The graphs that ran, as a serialized ``RunMetadata``; known once the profile has ended, and only to
            frameworks that run graphs.
    """

    mark: Callable[[int], AbstractContextManager[Any]]
    run_metadata: bytes | None = None
