"""R8: a damaged file is never silently wrong: it is refused by name, or the one before it is used, or nothing has changed."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from read_damaged import CASES

MUTANTS = dict.fromkeys(CASES, 4000) | {".pt": 2000, "resume": 60}
NOTICED = dict.fromkeys(CASES, 0.9) | {".pt": 0.6, "plain": 0.3}
"""Which share is refused at least, or falls back. A ``.pt`` file is padded; the checksum of plain data stands in the manifest."""

if not hasattr(os, "fork"):
    pytest.skip("damaged files are read by forked children", allow_module_level=True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", CASES)
def test_damage_is_never_silent(kind):
    """Flipped, cut, zeroed, shuffled and exchanged bytes, files and snapshots: none is read as something else, none ends the
    process."""
    found = read(kind, MUTANTS[kind], random.SystemRandom().randrange(10**6))

    assert [] == found["bad"]
    assert MUTANTS[kind] == sum(found["counts"].values())
    assert found["counts"]["refused"] + found["counts"]["fell back"] >= MUTANTS[kind] * NOTICED[kind]


def read(kind: str, number: int, seed: int) -> dict[str, Any]:
    """Damage and read in a process of its own, and return what came of it; it is printed too."""
    command = [sys.executable, str(Path(__file__).with_name("read_damaged.py")), kind, str(number), str(seed)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    print(done.stdout)
    return json.loads(done.stdout)
