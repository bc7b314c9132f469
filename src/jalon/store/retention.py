"""Which of the saved files to keep: pure lists in, lists out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jalon.core.trainer import Direction


@dataclass(frozen=True, slots=True)
class Saved:
    """Is a file that was written.

    Args:
        path: Where it is.
        value: The metric of that moment, if there was one.
    """

    path: Path
    value: float | None = None


def newest(saved: Sequence[Saved], n: int) -> list[Saved]:
    """Return the ``n`` files written last, the oldest first.

    Args:
        saved: The files, in the order in which they were written.
        n: How many, 1 or more.
    """
    return list(saved[-n:])


def best(saved: Sequence[Saved], k: int, *, direction: Direction) -> list[Saved]:
    """Return the ``k`` best files, the best first. Of equals the older one is better; without a value none is good.

    Args:
        saved: The files, in the order in which they were written.
        k: How many, 1 or more.
        direction: Whether less or more of the value is better.
    """
    sign = 1 if direction == "min" else -1
    valued = [(sign * file.value, file) for file in saved if file.value is not None and not math.isnan(file.value)]
    return [file for _, file in sorted(valued, key=lambda pair: pair[0])][:k]


def superfluous(
    saved: Sequence[Saved],
    *,
    keep_last: int | None = None,
    keep_best: int | None = None,
    direction: Direction = "min",
) -> list[Saved]:
    """Return the files to delete: those that are neither among the newest nor among the best.

    Args:
        saved: The files, in the order in which they were written.
        keep_last: How many of the newest are kept.
        keep_best: How many of the best are kept. With neither, all are kept.
        direction: Whether less or more of the value is better.

    Example:
        >>> files = [Saved(Path("1.pt"), 0.3), Saved(Path("2.pt"), 0.9), Saved(Path("3.pt"), 0.5)]
        >>> [str(file.path) for file in superfluous(files, keep_last=1, keep_best=1)]
        ['2.pt']
    """
    if keep_last is None and keep_best is None:
        return []
    kept = newest(saved, keep_last) if keep_last else []
    kept += best(saved, keep_best, direction=direction) if keep_best else []
    return [file for file in saved if file not in kept]
