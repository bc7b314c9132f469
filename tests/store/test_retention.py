"""Which of the saved files are kept."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from jalon.store.retention import Saved, best, newest, superfluous

FILES = [Saved(Path(name), value) for name, value in (("a", 0.5), ("b", 0.2), ("c", 0.9), ("d", 0.4))]


def named(files: list[Saved]) -> str:
    return "".join(str(file.path) for file in files)


def test_newest_are_the_last_written():
    """The newest are those at the list's end; where there are fewer, all."""
    assert "cd" == named(newest(FILES, 2))
    assert "abcd" == named(newest(FILES, 9))


@pytest.mark.parametrize(("direction", "expected"), [("min", "bd"), ("max", "ca")])
def test_best_by_direction(direction, expected):
    """The best come first, by the direction asked for."""
    assert expected == named(best(FILES, 2, direction=direction))


@pytest.mark.parametrize("direction", ["min", "max"])
def test_of_equals_the_older_is_better(direction):
    """A file that equals an older one does not push it out."""
    files = [Saved(Path("a"), 1.0), Saved(Path("b"), 1.0)]

    assert "a" == named(best(files, 1, direction=direction))


@pytest.mark.parametrize("value", [None, math.nan])
def test_without_a_value_no_file_is_good(value):
    """A file without a number is never among the best, even where there is room."""
    assert "a" == named(best([Saved(Path("x"), value), *FILES[:1]], 3, direction="max"))


@pytest.mark.parametrize(
    ("keep_last", "keep_best", "expected"),
    [(None, None, ""), (1, None, "abc"), (None, 1, "acd"), (1, 1, "ac"), (2, 2, "a"), (9, 1, "")],
)
def test_kept_for_either_reason(keep_last, keep_best, expected):
    """What is neither among the newest nor among the best is superfluous, in the order written."""
    assert expected == named(superfluous(FILES, keep_last=keep_last, keep_best=keep_best, direction="min"))
