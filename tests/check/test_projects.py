"""Small programs with mistakes that people have made: what ``jalon check`` says of them."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECTS = sorted((Path(__file__).parent / "projects").glob("*.py"))


def checked(program: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``jalon check`` on a program, in an empty folder."""
    command = [sys.executable, "-m", "jalon", "check", str(program), *arguments]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("program", PROJECTS, ids=lambda path: path.stem)
def test_the_mistakes_of_a_project_are_found(program, tmp_path):
    """What its docstring names is found and nothing else, and nothing is written."""
    told = ast.get_docstring(ast.parse(program.read_text()))

    done = checked(program, tmp_path, "--json")

    findings = json.loads(done.stdout)["findings"]
    assert re.findall(r"JAL\d+", told) == [finding["code"] for finding in findings]
    assert 1 == done.returncode
    assert [] == list(tmp_path.iterdir())


def test_there_are_seven_of_them():
    """The projects of which the others are tests are there."""
    assert 7 == len(PROJECTS)


def program(folder: Path, body: str) -> Path:
    """Write a program."""
    path = folder / "train.py"
    path.write_text(f"import sys\nimport jalon\nfrom jalon.callbacks import *\n{body}")
    return path


def test_nothing_of_the_program_runs_once_training_would_begin(tmp_path):
    """Neither the loop's body, nor what the program does at its end; what it printed before is on the standard error."""
    path = program(
        tmp_path,
        "print('before', sys.argv[1:])\n"
        "try:\n"
        "    for epoch in jalon.Loop(EarlyStopping('loss', patience=3, restore_best_weights=True), epochs=int(sys.argv[2])):\n"
        "        open('written', 'w')\n"
        "finally:\n"
        "    open('written', 'w')\n",
    )

    done = checked(path, tmp_path, "--", "--epochs", "30")

    assert "Nothing found in 3 callbacks.\n" == done.stdout
    assert "before ['--epochs', '30']" in done.stderr
    assert 0 == done.returncode
    assert [path] == list(tmp_path.iterdir())


@pytest.mark.parametrize(("body", "how"), [("pass", "ended"), ("raise RuntimeError('no data')", "failed (exit code 1)")])
def test_a_program_that_begins_no_training(tmp_path, body, how):
    """It is said that there was nothing to look at, and how the program went."""
    done = checked(program(tmp_path, body), tmp_path)

    assert 1 == done.returncode
    assert f"{how} before a training" in done.stderr
