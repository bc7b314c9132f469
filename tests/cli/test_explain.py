"""``jalon explain``: who is told what, in which order, at what cost."""

from __future__ import annotations

import pytest

PROGRAM = """
import jalon
from jalon.callbacks import CSVLogger, EarlyStopping

loop = jalon.Loop([EarlyStopping("loss", patience=9), CSVLogger("training.log")], epochs=3, verbose=0)
for epoch in loop:
    loop.log(loss=1 / (epoch + 1))
"""


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A program that trains, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "train.py"
    path.write_text(PROGRAM)
    return path


def test_the_order_is_shown_without_training(program, command):
    """Hook by hook; the program does not train."""
    done = command("explain", program)

    assert "on_epoch_end              EarlyStopping, CSVLogger, History" in done.stdout.splitlines()
    assert [program] == list(program.parent.iterdir())


def test_costs_are_shown_after_a_training(program, command):
    """With --measure the program runs to its end, and each callback's calls are counted."""
    lines = command("explain", program, "--measure").stdout.splitlines()

    at = lines.index("on_epoch_end")
    assert ["EarlyStopping", "3"] == lines[at + 1].split()[:2]
    assert (program.parent / "training.log").exists()


def test_a_program_that_is_not_there(tmp_path, command):
    """It is said in a line, and the exit code is that of a wrong command line."""
    done = command("explain", tmp_path / "train.py")

    assert 2 == done.returncode
    assert "is no file" in done.stderr
