"""Found: what was found at a path, and whether it is whole."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from jalon.errors import CheckpointError, MissingPackage

State = Literal["whole", "damaged", "not finished", "not checked"]


@dataclass(frozen=True, slots=True)
class Array:
    """Is an array in a file.

    Args:
        name: Its name there.
        shape: How long it is in each dimension.
        dtype: The type of its values.
        bytes: Its size.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    bytes: int

    @property
    def parameters(self) -> int:
        """How many values it has."""
        return math.prod(self.shape)


@dataclass(slots=True)
class Found:
    """Is a file, or a folder that is one thing, as it was found.

    Args:
        path: Where.
        kind: What it is, in words.
        state: ``"whole"``; ``"damaged"``; ``"not finished"``, what a writer that died has left and nobody reads;
            ``"not checked"``, where what reads it is missing or not allowed.
        reason: Why it is not whole.
        remedy: What to do about it.
        note: What is to be known although it is whole.
        facts: What it says of itself, by name.
        arrays: The weights in it.
        optimizer: What is known of the optimizer's state, if it holds one.
        resumes: Whether a resume goes on from it.
    """

    path: Path
    kind: str
    state: State = "whole"
    reason: str | None = None
    remedy: str | None = None
    note: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    arrays: list[Array] = field(default_factory=list)
    optimizer: dict[str, Any] | None = None
    resumes: bool = False

    def damaged(self, reason: str, remedy: str) -> Found:
        """Return itself, as damaged.

        Args:
            reason: What is wrong.
            remedy: What to do.
        """
        self.state, self.reason, self.remedy = "damaged", reason, remedy
        return self

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong: it is whole, or nobody reads it."""
        return self.state in ("whole", "not finished")


@contextmanager
def refusing() -> Iterator[None]:
    """Make whatever a library says of a file that it cannot read a ``CheckpointError`` with the first line of it.

    Raises:
        CheckpointError: The block failed.
        MissingPackage: It says so itself.
    """
    try:
        yield
    except (CheckpointError, MissingPackage):
        raise
    except Exception as exc:
        first_line = (str(exc).strip().splitlines() or [""])[0].rstrip(".")
        raise CheckpointError(f"cannot be read ({type(exc).__name__}{': ' * bool(first_line)}{first_line})") from exc
