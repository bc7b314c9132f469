"""Makes tests of the code in README.md, docs/ and docstrings."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from sybil import Sybil
from sybil.integration.pytest import SybilItem
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser
from sybil.parsers.rest import DocTestParser


def _enter_empty_folder(namespace: dict[str, Any]) -> None:
    """Let a document write its files where nobody minds."""
    folder = tempfile.TemporaryDirectory()
    namespace["_leave"] = (folder.cleanup, Path.cwd())
    os.chdir(folder.name)


def _leave_folder(namespace: dict[str, Any]) -> None:
    cleanup, home = namespace["_leave"]
    os.chdir(home)
    cleanup()


_around = {"setup": _enter_empty_folder, "teardown": _leave_folder}
_pages = Sybil(
    [PythonCodeBlockParser(), SkipParser()],
    patterns=["README.md", "docs/*.md", "docs/*/*.md"],
    excludes=["docs/_build/*"],
    **_around,
)
_docstrings = Sybil([DocTestParser()], path="src", pattern="*.py", **_around)

pytest_collect_file = (_pages + _docstrings).pytest()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the blocks of each document in order: pytest-randomly shuffles them, and they build on each other."""
    blocks = [item for item in items if isinstance(item, SybilItem)]
    blocks.sort(key=lambda item: (item.path, item.example.line))
    items[:] = [item for item in items if not isinstance(item, SybilItem)] + blocks
    for block in blocks:
        # The tutorial shows a rate that can never be reduced, and that jalon warns of it.
        block.add_marker(pytest.mark.filterwarnings("ignore::jalon.errors.IneffectiveCallback"))
