"""A training by two processes is steered from its folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from xgboost.tracker import RabitTracker

from jalon.store.journal import records

PROGRAM = Path(__file__).with_name("steered.py")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def by_torch(kind, folder):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", PROGRAM, kind, "run"]
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder, env=ENVIRONMENT, timeout=300).stdout


def by_xgboost(kind, folder):
    tracker = RabitTracker(host_ip="127.0.0.1", n_workers=2)
    tracker.start()
    command = [sys.executable, PROGRAM, kind, "run", str(tracker.worker_args()["dmlc_tracker_port"])]
    pipe = subprocess.PIPE
    started = [subprocess.Popen(command, stdout=pipe, text=True, cwd=folder, env=ENVIRONMENT) for _ in range(2)]
    output = "".join(one.communicate(timeout=300)[0] for one in started)
    tracker.wait_for(60)
    tracker.free()
    return output


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "start"), [("lightning", by_torch), ("transformers", by_torch), ("xgboost", by_xgboost)])
def test_two_processes_are_steered_at_the_same_step(kind, start, tmp_path):
    """Paused and going on, at another rate and stopped: each does all of it at the same step, and the main one answers."""
    lines = [line.removeprefix("REPORT ") for line in start(kind, tmp_path).splitlines() if line.startswith("REPORT")]
    main, other = sorted(map(json.loads, lines), key=lambda report: report["rank"])
    commands = [record for record in records(tmp_path / "run" / "journal.jsonl") if record["kind"] == "command"]
    names = ["pause", "resume", "set", "note", "stop"]

    assert [[name, "done"] for name in names] == main["answers"]
    assert [] == other["answers"]
    assert names == [record["command"] for record in commands]
    assert "a command asked for it" == main["stopped"]
    assert 0.5 in main["rates"]
    for what in ("step", "epoch", "stopped", "rates"):
        assert main[what] == other[what]
