"""``jalon demo``, as someone runs it who has just installed it."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest


def jalon(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line without a terminal and with nothing to read."""
    command = [sys.executable, "-W", "error", "-m", "jalon", *arguments]
    wide = os.environ | {"COLUMNS": "200"}
    return subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=wide, check=False)


def test_the_demo_shows_what_each_callback_did(tmp_path: Path) -> None:
    """It trains, leaves a model, a table and events, and the file read back is as good as what was measured."""
    ended = jalon("demo", "--epochs", "3", "--folder", "shown", cwd=tmp_path)

    assert (0, "") == (ended.returncode, ended.stderr)
    assert "ModelCheckpoint" in ended.stdout
    assert "the same" in ended.stdout
    assert "\r" not in ended.stdout
    rows = list(csv.DictReader((tmp_path / "shown" / "training.csv").read_text().splitlines()))
    assert ["0", "1", "2"] == [row["epoch"] for row in rows]
    assert (tmp_path / "shown" / "model.safetensors").stat().st_size > 0
    assert {"train", "validation"} <= {path.name for path in (tmp_path / "shown" / "logs").iterdir()}


def test_a_refusal_is_one_line(tmp_path: Path) -> None:
    """What jalon refuses is told without a traceback, and the command fails."""
    (tmp_path / "taken").write_text("a file where a folder should be")

    ended = jalon("demo", "--folder", "taken", cwd=tmp_path)

    assert 0 != ended.returncode
    assert "Traceback" not in ended.stderr
    assert 1 == len(ended.stderr.splitlines())
    assert "taken" in ended.stderr


@pytest.mark.parametrize("epochs", ["0", "-1", "many"])
def test_a_wrong_number_of_epochs_is_refused(epochs: str, tmp_path: Path) -> None:
    """A number of epochs that cannot be is refused before anything is trained."""
    ended = jalon("demo", f"--epochs={epochs}", cwd=tmp_path)

    assert 0 != ended.returncode
    assert [] == list(tmp_path.iterdir())


def test_help_names_the_commands(tmp_path: Path) -> None:
    """``jalon`` by itself says what there is."""
    assert "demo" in jalon(cwd=tmp_path).stdout
