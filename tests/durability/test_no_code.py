"""Reading a file never runs code from it, never looks elsewhere, and never takes more than its share of memory and time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import evil_files
import pytest
from harness import memory_folder

evil_files.know_all()
NAMES = [*(one.name for one in evil_files.FILES), *evil_files.BACKUPS]


@pytest.fixture(scope="module")
def told() -> dict[str, dict[str, Any]]:
    """Return what every reader made of every file, by the files' names."""
    with tempfile.TemporaryDirectory(dir=memory_folder()) as folder:
        script = [sys.executable, str(Path(__file__).with_name("read_evil.py")), folder]
        done = subprocess.run(script, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr[-2000:]
    return {one["name"]: one for one in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("name", NAMES)
def test_evil(name: str, told: dict[str, dict[str, Any]]) -> None:
    """Every reader refuses the file by name or leaves alone what is evil in it; nothing is run, opened or changed elsewhere."""
    one = told[name]

    assert ({}, False, False) == (one["wrong"], one["ran"], one["changed"])


def test_enough_files(told: dict[str, dict[str, Any]]) -> None:
    """There are more than forty of them, and each was given to several readers."""
    print(f"{len(NAMES)} evil files, {sum(len(told[name]['told']) for name in NAMES)} times read")

    assert len(NAMES) >= 40
    assert all(len(told[name]["told"]) >= 3 for name in NAMES)


@pytest.mark.parametrize(
    ("name", "readers"),
    [
        ("sound.pt2", {"load_weights", "from_checkpoint without a module", "program.load"}),
        ("sealed.pt2", {"load_weights", "from_checkpoint without a module", "program.load"}),
        ("sound.safetensors", {"load", "load_weights", "from_checkpoint", "read_checkpoint"}),
    ],
)
def test_sound_files_are_read(name: str, readers: set[str], told: dict[str, dict[str, Any]]) -> None:
    """The same readers, watched in the same way, do read what is sound."""
    read = {reader for reader, one in told[name]["told"].items() if one == "read"}

    assert readers <= read
    assert {} == told[name]["wrong"]


@pytest.mark.parametrize("reader", ["pickle.load", "torch.load", "torch.export.load"])
def test_files_are_evil(reader: str, told: dict[str, dict[str, Any]]) -> None:
    """Readers that unpickle do run the code, and are seen doing it."""
    assert told[reader]["ran"]
    assert any(done.startswith("does os.system") for done in told[reader]["wrong"])
    assert any(done.startswith("does pickle.find_class") for done in told[reader]["wrong"])
