"""What is wrong with a program's training, and who is told of it, found by running it up to there in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

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
    content = _reported("check", program, arguments, asked=",".join(unsaid))
    return Findings((Finding(**finding) for finding in content["findings"]), looked_at=content["looked_at"])


def explain_script(program: Path, arguments: Sequence[str] = (), *, measure: bool = False) -> str:
    """Return who is told in each hook of a program's training, in order.

    Args:
        program: A Python file, which runs as in :func:`check_script`.
        arguments: What it is given on its command line.
        measure: Whether it runs to its end, to tell what each callback cost too.

    Raises:
        ArgumentError: There is no such file.
        NotReady: The program ended, or failed, before a training began.
    """
    return str(_reported("measure" if measure else "explain", program, arguments)["text"])


def _reported(mode: str, program: Path, arguments: Sequence[str], *, asked: str = "") -> dict[str, Any]:
    """Run a program in a process of its own, and return what that reports."""
    command = "explain" if mode == "measure" else mode
    if not program.is_file():
        raise ArgumentError(f"jalon {command}: {program} is no file. Name a program, as train.py.")
    with tempfile.TemporaryDirectory(prefix="jalon-check-") as folder:
        report = Path(folder, "report.json")
        line = [sys.executable, "-m", "jalon.check.child", mode, asked, str(program), str(report), *arguments]
        done = subprocess.run(line, stdout=2, check=False)  # what the program prints is not the report
        if not report.exists():
            how = "ended" if done.returncode == 0 else f"failed (exit code {done.returncode})"
            raise NotReady(
                f"jalon {command}: {program} {how} before a training with callbacks of jalon's began. "
                f"Name the program that calls fit, with the arguments with which it does: jalon {command} train.py -- --epochs 10"
            )
        content: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    return content
