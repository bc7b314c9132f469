"""ARCHITECTURE.md shows the house as it stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TREE = re.compile(r"^src/jalon/.*\n(?: .+\n)+", re.MULTILINE)


def drawn(text: str) -> Iterator[str]:
    """Yield the paths of the drawn tree, folders with a slash at the end."""
    match = TREE.search(text)
    assert match is not None, "ARCHITECTURE.md draws no tree that begins with src/jalon/"
    folders: list[str] = []
    for line in match[0].splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        name = line.split()[0]
        yield "".join([*folders[:depth], name])
        folders[depth:] = [name]


def test_the_drawing_is_read_by_its_indentation() -> None:
    """A path is put together from the folders that stand above it, further to the left."""
    text = "```\nsrc/jalon/\n  errors.py  what\n  core/      why\n    run.py   where\n  cli/\n```\n"

    assert ["src/jalon/", "src/jalon/errors.py", "src/jalon/core/", "src/jalon/core/run.py", "src/jalon/cli/"] == list(
        drawn(text)
    )


def test_every_source_file_has_its_line() -> None:
    """The tree draws each file of the package and nothing else; a package's ``__init__`` is its folder's line."""
    files = (ROOT / "src/jalon").rglob("*.py")
    there = {path.relative_to(ROOT).as_posix().replace("__init__.py", "") for path in files}
    shown = list(drawn((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")))

    assert there == set(shown)
    assert len(shown) == len(set(shown))


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md", "changes/README.md"])
def test_named_paths_exist(page: str) -> None:
    """A path in backticks is there, seen from the root."""
    names = re.findall(r"`([\w.-]+/[\w./-]*|[\w-]+\.(?:md|toml|py))`", (ROOT / page).read_text(encoding="utf-8"))
    absent = [name for name in names if not (ROOT / name).exists()]

    assert [] == absent
