"""``jalon replay``: callbacks over recorded trainings, from the command line."""

from __future__ import annotations

import json

import pytest

from jalon.errors import ArgumentError, UnknownName

CURVE = [0.9, 0.6, 0.5, 0.55, 0.56, 0.4, 0.41, 0.42, 0.43, 0.44]


@pytest.fixture
def log(tmp_path):
    """Return the table of a training."""
    path = tmp_path / "training.log"
    path.write_text("epoch,loss,val_loss\n" + "".join(f"{epoch},{value / 2},{value}\n" for epoch, value in enumerate(CURVE)))
    return path


def test_one_record(log, call):
    """What the callbacks would have done is told, and nothing is written beside the record."""
    code, lines = call(
        "replay", log, "--callback", "EarlyStopping(patience=2)", "--callback", 'ModelCheckpoint("m.pt", save_best_only=True)'
    )
    told = dict(line.split(maxsplit=1) for line in lines)

    assert 0 == code
    assert "stopped after epoch 5: no improvement in val_loss for 2 epochs" == told["ends"]
    assert "3: epochs 1 to 3" == told["saves"]
    assert "5 epochs (50%)" == told["spared"]
    assert any(line.startswith("best kept   val_loss 0.5, of epoch 3") for line in lines)
    assert [log] == list(log.parent.iterdir())


def test_several_records(log, call):
    """Several records are told one after the other."""
    lines = call("replay", log, log, "--callback", "TerminateOnNaN")[1]

    assert 2 == sum(line.startswith("record") for line in lines)


def test_a_grid(log, call, tmp_path):
    """With --grid the front, how a run does on which nothing was tuned, and the choice are told, and the picture is made."""
    code, lines = call(
        "replay", log, log, "--grid", "--plot", tmp_path / "grid.png",
        "--callback", "EarlyStopping(patience=range(1, 5), restore_best_weights=True)",
    )  # fmt: skip
    text = "\n".join(lines)

    assert 0 == code
    assert "4 policies over 2 runs, by val_loss (less is better)" in text
    assert ["patience=1", "40.0%", "20.00%"] in [line.split() for line in lines]
    assert "run left out" in text
    assert "choose patience=3: 90.0% of the epochs, 0.00% of the improvement lost" in text
    assert (tmp_path / "grid.png").read_bytes().startswith(b"\x89PNG")


def test_json(log, call):
    """With --json all is told as data, epochs from 0."""
    stop = "EarlyStopping(patience=2, restore_best_weights=True)"
    (one,) = json.loads("\n".join(call("replay", log, "--callback", stop, "--json")[1]))
    grid = json.loads("\n".join(call("replay", log, "--grid", "--callback", "EarlyStopping(patience=[1, 3])", "--json")[1]))

    assert (4, 2, 5) == (one["stop"]["epoch"], one["kept"]["epoch"], one["epochs_saved"])
    assert {"EarlyStopping": {"patience": 3}} == grid["choice"]["policy"]


def test_in_a_process_of_its_own(log, command):
    """The command runs without warnings; what it refuses is one line, and a wrong command line ends with 2."""
    good = command("replay", log, "--callback", "EarlyStopping(patience=2)")
    bad = command("replay", log, "--callback", "EarlyStopping(patience=__import__('os').getpid())")

    assert (0, "") == (good.returncode, good.stderr)
    assert 2 == bad.returncode
    assert 1 == len(bad.stderr.splitlines())
    assert "__import__('os').getpid() in" in bad.stderr


def test_what_is_refused(log, call):
    """A command line that lacks something, or names what there is not, is refused with the way out."""
    for arguments, told in (
        ((), "Name a file"),
        ((log,), "Give one, as --callback"),
        ((log, "--callback", "TerminateOnNaN", "--sample", "5"), "Add --grid"),
        ((log.parent / "a.csv", "--callback", "TerminateOnNaN"), "a.csv is not there"),
    ):
        with pytest.raises(ArgumentError, match=told):
            call("replay", *arguments)
    with pytest.raises(UnknownName, match="Did you mean 'EarlyStopping'"):
        call("replay", log, "--callback", "EarlyStoping")
