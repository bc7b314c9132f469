"""What is wrong with the training that a program begins, found by running it up to there in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path

from jalon.check.finding import Finding, Findings
from jalon.check.rule import silenced
from jalon.check.rules import load
from jalon.errors import ArgumentError, NotReady


def check_script(program: Path, arguments: Sequence[str] = (), *, ignore: Collection[str] = ()) -> Findings:
    """Run a program up to where its first training would begin, and say what is wrong there.

    It runs in a process of its own, which ends before a callback has opened or written anything: at the beginning of the first
    ``fit``, ``jalon.Loop`` or training of another trainer with callbacks of jalon's. What the program does before that, it
    does: load data, build a model. What it prints goes to the standard error.

    Args:
        program: A Python file.
        arguments: What it is given on its command line.
        ignore: Codes of warnings that are not to be said.

    Raises:
        ArgumentError: There is no such file.
        NotReady: The program ended, or failed, before a training began.
    """
    load()
    unsaid = silenced(ignore, where="jalon check")
    if not program.is_file():
        raise ArgumentError(f"jalon check: {program} is no file. Name a program, as train.py, or a configuration, as train.toml.")
    with tempfile.TemporaryDirectory(prefix="jalon-check-") as folder:
        report = Path(folder, "report.json")
        command = [sys.executable, "-m", "jalon.check.child", ",".join(unsaid), str(program), str(report), *arguments]
        done = subprocess.run(command, stdout=2, check=False)
        if not report.exists():
            how = "ended" if done.returncode == 0 else f"failed (exit code {done.returncode})"
            raise NotReady(
                f"jalon check: {program} {how} before a training with callbacks of jalon's began. "
                "Name the program that calls fit, with the arguments with which it does: jalon check train.py -- --epochs 10"
            )
        content = json.loads(report.read_text(encoding="utf-8"))
    return Findings((Finding(**finding) for finding in content["findings"]), looked_at=content["looked_at"])
