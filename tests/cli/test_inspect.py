"""``jalon inspect``: what is in a file, a snapshot, a folder."""

from __future__ import annotations

import json
import re

import pytest
import torch

import jalon
from jalon.callbacks import Standardize
from jalon.engines.torch import program
from jalon.engines.torch.demo import digits, network
from jalon.engines.torch.formats import Checkpoint, write_checkpoint
from jalon.errors import ArgumentError
from jalon.store.snapshot import Snapshots


def facts(lines):
    """Return what stands before the first empty line, by name."""
    end = lines.index("") if "" in lines else len(lines)
    return dict(re.split(r"\s{2,}", line, maxsplit=1) for line in lines[1:end])


def wide(folder, layers=30):
    """Write a checkpoint of many tensors."""
    path = folder / "wide.safetensors"
    write_checkpoint(path, Checkpoint({f"{at}.weight": torch.ones(2, 3) for at in range(layers)}))
    return path


def test_a_checkpoint(run, call):
    """Epoch from 1, metric, transforms, optimizer and every tensor of a checkpoint are shown."""
    code, lines = call("inspect", run / "best.safetensors")
    told = facts(lines)

    assert 0 == code
    assert str(run / "best.safetensors") == lines[0]
    assert ["checkpoint, .safetensors", "whole", "val_loss", "Standardize"] == [
        told[name] for name in ("what it is", "state", "monitor", "data prepared by")
    ]
    assert told["epoch"] in ("1", "2")
    assert 0 < float(told["value"])
    assert "4,810 parameters in 4 tensors, 19.2 kB" == told["weights"]
    assert f"step {int(told['epoch']) * 20}, learning rate 0.001, 12 tensors, 38.5 kB" == told["optimizer"]
    assert "name      shape  type     parameters     size" == lines[lines.index("") + 1]
    assert "0.weight  64×64  float32       4,096  16.4 kB" == lines[lines.index("") + 2]


def test_a_program(tmp_path, call):
    """Of a .pt2 file, which needs no code, the weights are shown; it holds no optimizer."""
    data = digits(seed=0)
    model = jalon.Model(network(seed=0)).compile("sgd", "cross_entropy")
    model.fit(data.x_train[:64], data.y_train[:64], epochs=1, verbose=0)
    program.freeze(model, tmp_path / "net.pt2", {"epoch": 0})()

    code, lines = call("inspect", tmp_path / "net.pt2")

    assert 0 == code
    assert "1" == facts(lines)["epoch"]
    assert "4,810 parameters in 4 tensors, 19.2 kB" == facts(lines)["weights"]
    assert "no" == facts(lines)["optimizer"]


def test_long_lists(tmp_path, call):
    """Of many tensors the first are shown, and all with --all."""
    _, short = call("inspect", wide(tmp_path))
    _, long = call("inspect", wide(tmp_path), "--all")

    assert "and 20 more: --all shows them" == short[-1]
    assert 10 == sum(".weight" in line for line in short)
    assert 30 == sum(".weight" in line for line in long)


def test_a_snapshot(run, call):
    """Where a snapshot goes on, what it knows, whose state it holds and what the model is are shown."""
    code, lines = call("inspect", run / "backup" / "00000003")
    told = facts(lines)

    assert 0 == code
    assert ["epoch 3", "no", "2 epochs"] == [told[name] for name in ("goes on with", "finished", "history")]
    assert re.fullmatch(rf"val_loss \S+ in epoch [12], {run}/best\.safetensors", told["best so far"])
    assert f"jalon {jalon.__version__}" in told["versions"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", told["written"])
    text = "\n".join(lines)
    assert re.search(r"callbacks with state  ModelCheckpoint, EarlyStopping, CSVLogger, TensorBoard\n", text)
    assert "4,810 parameters in 4 tensors" in text


def test_a_backup(run, call):
    """Of a backup everything is listed, and then the snapshot that a resume goes on from is shown in detail."""
    code, lines = call("inspect", run / "backup")
    head = lines[: lines.index("")]

    assert 0 == code
    assert f"whole  {run}/backup/00000003  snapshot; goes on with epoch 3; a resume goes on from here" == head[1]
    assert str(run / "backup" / "00000003") == lines[len(head) + 1]


def test_within_an_epoch(tmp_path, call):
    """A snapshot from the middle of an epoch says which batch comes next, and what nobody knows yet is shown by its name."""
    folder = Snapshots(tmp_path).begin()
    Snapshots(tmp_path).make(folder)
    (folder / "notes.bin").write_bytes(b"notes")
    about = {"epoch": 4, "batch": 7, "finished": False, "stop_reason": None, "moon": {"phase": 0.25, "full": False}}
    Snapshots(tmp_path).commit(folder, about)

    told = facts(call("inspect", folder)[1])

    assert "epoch 5, batch 8" == told["goes on with"]
    assert "phase: 0.25, full: no" == told["moon"]
    assert "notes.bin (5 B)" == told["files"]
    assert "why it stopped" not in told


def test_a_damaged_snapshot(run, call, flip):
    """What a damaged snapshot says of itself is shown all the same, with what is wrong."""
    flip(run / "backup" / "00000003" / "model.safetensors", 3000)

    code, lines = call("inspect", run / "backup" / "00000003")
    told = facts(lines)

    assert 1 == code
    assert ["damaged", "model.safetensors is damaged: it does not have its checksum"] == [told["state"], told["reason"]]
    assert "epoch 3" == told["goes on with"]


def test_event_files(run, call):
    """Of an event file the curves are shown, with their points."""
    path = next((run / "logs" / "train").iterdir())

    told = facts(call("inspect", path)[1])

    assert "epoch_loss (2 up to step 1)" in told["curves"]
    assert int(told["records"]) > 4


def test_json(run, command):
    """With --json, all stands in one list: epochs from 0, every tensor, and the files of a snapshot as its parts."""
    (said,) = json.loads(command("inspect", run / "backup" / "00000003", "--json").stdout)

    assert ("whole", 2, 0, False) == (said["state"], said["about"]["epoch"], said["about"]["batch"], said["about"]["finished"])
    model, state = said["parts"]
    assert {"name": "0.bias", "shape": [64], "dtype": "float32", "bytes": 256, "parameters": 64} == model["weights"][1]
    assert 40 == model["optimizer"]["step"]
    assert {"run", "callbacks"} <= state["about"].keys()


def test_numbers_that_json_does_not_have(tmp_path, call):
    """Infinite values are texts in JSON, which has no such numbers."""
    write_checkpoint(tmp_path / "net.pt", Checkpoint({"weight": torch.ones(1)}, about={"value": float("inf")}))

    text = "\n".join(call("inspect", tmp_path / "net.pt", "--json")[1])

    assert "inf" == json.loads(text, parse_constant=pytest.fail)[0]["about"]["value"]


def test_names_cannot_speak_to_the_terminal(tmp_path, call):
    """Signs in a tensor's name that a terminal would obey are shown as their codes."""
    write_checkpoint(tmp_path / "net.safetensors", Checkpoint({"\x1b[2J": torch.ones(1)}, about={"note": "a\x07b"}))

    text = "\n".join(call("inspect", tmp_path / "net.safetensors")[1])

    assert "\\x1b[2J" in text
    assert "a\\x07b" in text
    assert not {"\x1b", "\x07"} & set(text)


def test_a_narrow_terminal(run, command):
    """On a narrow terminal nothing is wider than it."""
    shown = command("inspect", run / "backup" / "00000003", FORCE_COLOR="1", COLUMNS="50").stdout

    assert max(map(len, re.sub(r"\x1b\[[\d;]*m", "", shown).splitlines())) <= 50


def test_a_save_of_orbax(tmp_path, call):
    """Of a save of Orbax's, what was told beside it and the weights are shown."""
    data = digits(seed=0)
    model = jalon.Model(network(seed=0)).compile("sgd", "cross_entropy")
    callbacks = [Standardize(), jalon.callbacks.OrbaxCheckpoint(tmp_path / "saves", monitor="loss")]
    model.fit(data.x_train[:64], data.y_train[:64], epochs=2, verbose=0, callbacks=callbacks)

    told = facts(call("inspect", tmp_path / "saves")[1])

    assert ["Orbax save", "2", "loss", "Standardize"] == [
        told[name] for name in ("what it is", "epoch", "monitor", "data prepared by")
    ]
    assert "4,810 parameters in 4 tensors, 19.2 kB" == told["weights"]
    assert "written" in told


def test_what_is_not_there(tmp_path, call):
    """A path that is not there is an error, and so is one where there is nothing to see."""
    with pytest.raises(ArgumentError, match="is not there"):
        call("inspect", tmp_path / "gone")
    with pytest.raises(ArgumentError, match="holds nothing that jalon writes"):
        call("inspect", tmp_path)
