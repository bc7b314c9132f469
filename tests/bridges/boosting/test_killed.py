"""Killed by SIGKILL and started again by the same command, a training by boosting ends as if nothing had happened."""

import json
import os
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("training.py")


def start(library, kind, folder, kill_at, signum=signal.SIGKILL):
    command = [sys.executable, PROGRAM, library, kind, folder, str(kill_at), signum.name]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "2"}, check=False)
    assert done.returncode in (0, -signal.SIGKILL, 143), done.stderr
    return done


def result(done):
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    @cache
    def reference(library, kind):
        return result(start(library, kind, tmp_path_factory.mktemp(kind), -1))

    return reference


PLANS = [
    *(("xgboost", "binary", at) for at in (1, 15, 22)),
    ("xgboost", "multiclass", 30),
    ("xgboost", "dart", 25),
    ("xgboost", "exact", 16),
    *(("lightgbm", "binary", at) for at in (1, 8, 11)),
    ("lightgbm", "multiclass", 21),
]


@pytest.mark.slow
@pytest.mark.parametrize(("library", "kind", "kill_at"), PLANS)
def test_killed(library, kind, kill_at, reference, tmp_path):
    """The model, the history, the files and what the library tells of itself are those of a training that nobody killed."""
    killed = start(library, kind, tmp_path, kill_at)
    again = start(library, kind, tmp_path, kill_at)

    assert -signal.SIGKILL == killed.returncode
    assert "Going on with epoch" in again.stdout
    assert reference(library, kind) == result(again)


@pytest.mark.slow
@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_preempted(library, reference, tmp_path):
    """Asked to end by SIGTERM, it ends its round, backs up and leaves, and goes on with the next round."""
    left = start(library, "binary", tmp_path, 8, signal.SIGTERM)
    again = start(library, "binary", tmp_path, 8, signal.SIGTERM)

    assert 143 == left.returncode
    assert "Going on with epoch 10" in again.stdout
    assert reference(library, "binary") == result(again)


@pytest.mark.slow
@pytest.mark.parametrize(("library", "kind"), sorted({(library, kind) for library, kind, _ in PLANS}))
def test_scenario(library, kind, reference):
    """The training has a state to lose: its rate is reduced, it is stopped, and the round it was killed at comes before that."""
    told = reference(library, kind)
    rounds = len(told["history"]["loss"])

    assert "no improvement in val_loss for 4 epochs" == told["stopped"]
    assert len(set(told["history"]["learning_rate"])) > 1
    assert all(at < rounds for library_, kind_, at in PLANS if (library_, kind_) == (library, kind))
