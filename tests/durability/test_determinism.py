"""R10: killed wherever, backed up however often, reading its data in whatever way, a training ends with the same bits."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from determinism import ITERATED, KILLS, READ_BY

if not hasattr(os, "fork"):
    pytest.skip("trainings are killed in forked children", allow_module_level=True)


@pytest.fixture(scope="module")
def found() -> Iterator[Callable[[str], list[Any]]]:
    """Return a function that has trainings killed, and returns what became of each."""
    seed = str(random.SystemRandom().randrange(10**6))
    command = [sys.executable, str(Path(__file__).with_name("determinism.py")), seed]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as process:

        def ask(read_by: str) -> list[Any]:
            print(f"seed {seed}")
            process.stdin.write(read_by + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield ask
        process.stdin.close()


@pytest.mark.slow
@pytest.mark.parametrize("read_by", [*READ_BY, *ITERATED])
def test_table(found, read_by):
    """SHA-256 of every weight, the optimizer's state, all random numbers and the history are those of a training never killed."""
    cases = found(read_by)

    assert len(KILLS) == len(cases)
    assert [] == [case for case in cases if case[-1]]
