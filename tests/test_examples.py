"""Each example runs as its docstring says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_the_example_runs(example, tmp_path):
    """It ends well in an empty folder, with no warnings."""
    command = [sys.executable, "-W", "error", str(example)] + ([str(tmp_path)] if example.stem == "show_off" else [])
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )

    assert 0 == done.returncode, done.stderr
