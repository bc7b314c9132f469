"""What the tests of durability share: fork servers, and a place in memory."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from harness import Lab, memory_folder, opened_lab, why_not


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Return what runs trainings in children that can be killed, in a folder in memory."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(dir=memory_folder()) as place, opened_lab(Path(place)) as opened:
        yield opened


@pytest.fixture(scope="session")
def disk_lab(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """Return the same on a disk, where saves take as long as they take."""
    return Lab(tmp_path_factory.mktemp("disk"), lab.servers, lab.shim)
