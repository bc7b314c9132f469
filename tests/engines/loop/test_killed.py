"""Killed by SIGKILL and started again by the same command, a loop in any framework ends as if nothing had happened."""

import json
import os
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("killed.py")
KINDS = ("nnx", "tree", "sklearn")
WITHIN, AT_THE_END = 21, 24
"""Steps; an epoch has eight, and every third is backed up."""
PLANS = [("nnx", WITHIN), ("tree", WITHIN), ("tree", AT_THE_END), ("sklearn", WITHIN), ("sklearn", AT_THE_END)]


def start(kind, folder, kill_at):
    command = [sys.executable, PROGRAM, kind, folder, str(kill_at)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done


def result(done):
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    @cache
    def reference(kind):
        return result(start(kind, tmp_path_factory.mktemp(kind), -1))

    return reference


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "kill_at"), PLANS)
def test_killed(kind, kill_at, reference, tmp_path):
    """The weights, the history, the stop and every file are those of a training that nobody killed."""
    killed = start(kind, tmp_path, kill_at)
    again = start(kind, tmp_path, kill_at)

    assert -signal.SIGKILL == killed.returncode
    assert "Going on with epoch" in again.stdout
    assert reference(kind) == result(again)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_scenario(kind, reference):
    """The training has a state to lose: its rate is reduced, and it is stopped, after the last batch at which it is killed."""
    told = reference(kind)

    assert told["stopped"].startswith("no improvement in val_loss")
    assert len(set(told["history"]["learning_rate"])) > 1
    assert AT_THE_END < 8 * len(told["history"]["loss"])
