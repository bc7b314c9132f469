"""Lightning's training in several processes."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path


def test_two_processes_agree_and_one_writes(tmp_path):
    """A stop in one process ends all at the same step; all decide by the same metrics, and the first alone writes."""
    script = Path(__file__).parent / "processes.py"
    output = subprocess.run(
        [sys.executable, script, tmp_path],
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ).stdout

    told = sorted(ast.literal_eval(line.removeprefix("REPORT ")) for line in output.splitlines() if line.startswith("REPORT"))
    (_, steps, reason, *decided), (_, others_steps, others_reason, *others_decided) = told
    assert (2 * 6 + 2, 2 * 6 + 2) == (steps, others_steps)
    assert ("another process asked for it", "seen enough") == (reason, others_reason)
    assert decided == others_decided
    assert [0.1, 0.1, 0.05] == decided[1]
    assert ["1.safetensors", "2.safetensors", "3.safetensors", "events", "log.csv"] == sorted(
        path.name for path in tmp_path.iterdir()
    )
    assert 4 == len((tmp_path / "log.csv").read_text().splitlines())
    assert 1 == len(list((tmp_path / "events" / "train").iterdir()))
