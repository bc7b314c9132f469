"""R18: two trainings never write to one folder; the second is refused, and after the first was killed another goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness import Lab, difference, environment
from kills import contents
from scenario import Plan

PLAN = Plan(".safetensors", backup=3, saves="background", epochs=3)
TRAIN = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import torch
from scenario import Plan, train
from jalon.callbacks import Callback

class Wait(Callback):
    def on_train_batch_end(self, batch, logs=None):
        if (self.run.epoch, batch) == (1, 2):
            print("is training", flush=True)
            sys.stdin.readline()

torch.set_num_threads(1)
train(Path(sys.argv[2]), Plan(".safetensors", backup=3, saves="background", epochs=3), Wait())
"""


@contextmanager
def training(lab: Lab, root: Path) -> Iterator[subprocess.Popen[str]]:
    """Train in a process that waits in the second epoch, with the folder its own."""
    command = [sys.executable, "-c", TRAIN, str(Path(__file__).parent), str(root)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True, env=environment(lab.shim)) as process:
        try:
            assert "is training\n" == process.stdout.readline()
            yield process
        finally:
            process.kill()


def files(root: Path) -> dict[str, bytes]:
    """Return all that is in a folder."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_the_second_is_refused_and_touches_nothing(lab):
    """The message names the process that trains there and what to do; not a byte of the first is changed."""
    with lab.folder() as root, training(lab, root) as first:
        before = files(root)
        second = lab.run(root, PLAN)
        after = files(root)

    assert second["fault"].startswith(f"FolderInUse: BackupAndRestore: process {first.pid} ")
    assert not second["begun"]
    assert before == after


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL")
def test_after_a_kill_the_next_one_goes_on(lab):
    """Nobody has to clean up: the same command ends as if nothing had happened."""
    with lab.folder() as root:
        with training(lab, root) as first:
            os.kill(first.pid, signal.SIGKILL)
            first.wait()
        again = lab.run(root, PLAN, look=True)

    assert difference(lab.reference(PLAN), again, ignore=["best file"]) is None
    assert again["disk"]["best file"] in contents(lab, PLAN)
