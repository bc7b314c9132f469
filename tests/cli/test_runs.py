"""``jalon runs``, ``plot``, ``watch``, and commands to running trainings, from the command line."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree
from pathlib import Path

import pytest

from jalon.callbacks import Callback, EarlyStopping, Journal, ModelCheckpoint, Steering
from jalon.core.clock import SystemClock
from jalon.testing import play


def jalon(*words):
    """Run a command, and return its exit code and what it said."""
    done = subprocess.run([sys.executable, "-m", "jalon", *map(str, words)], capture_output=True, text=True, timeout=60)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


class UntilToldTo(Callback):
    """Takes a moment for a batch, so that a training lasts until it is stopped."""

    def on_train_batch_end(self, batch, logs=None):
        time.sleep(0.005)


@pytest.fixture
def run(tmp_path):
    """Return the folder of a training that is under way in this process, and lasts until it is stopped."""
    folder = tmp_path / "runs" / "a"
    callbacks = [UntilToldTo(), EarlyStopping("loss", patience=10**6), Journal(folder), Steering(folder)]
    script = ({"loss": 1.0} for _ in range(20_000))
    thread = threading.Thread(target=lambda: play(callbacks, script, clock=SystemClock()))
    thread.start()
    while not (folder / "journal.jsonl").exists() or not (folder / "journal.jsonl").read_bytes():
        time.sleep(0.01)
    yield folder
    if thread.is_alive():
        jalon("stop", folder)
    thread.join(60)


def test_steered(run):
    """Commands to a running training are answered in a line; what cannot be done is told, with exit code 1."""
    assert (0, "EarlyStopping.patience was 1e+06 and is 999999, after step") == _start(
        jalon("set", run, "EarlyStopping.patience", "999999")
    )
    assert (0, "Noted.") == _start(jalon("note", run, "a second thought"))
    assert (0, "Paused in epoch") == _start(jalon("pause", run))
    assert (0, "Going on in epoch") == _start(jalon("resume", run))
    assert (1, "set: unknown number 'rate'.") == _start(jalon("set", run, "rate", "7"))
    assert (1, "Nothing keeps this training") == _start(jalon("save", run))
    assert (0, "Stopped in epoch") == _start(jalon("stop", run))


def _start(said):
    known = (
        "EarlyStopping.patience was 1e+06 and is 999999, after step",
        "Paused in epoch",
        "Going on in epoch",
        "Stopped in epoch",
    )
    known += ("Noted.", "set: unknown number 'rate'.", "Nothing keeps this training")
    return said[0], next((start for start in known if said[1].startswith(start)), said[1])


@pytest.fixture
def ended(tmp_path):
    """Return the folder of a training that has ended."""
    play([EarlyStopping("loss", patience=2), Journal(tmp_path / "a<b>")], [{"loss": 0.5, "val_loss": 0.75}] * 9)
    return tmp_path / "a<b>"


def test_listed(ended):
    """Runs are listed with how they are, how far, and why they ended; as JSON too."""
    code, said = jalon("runs", ended.parent)
    found = json.loads(
        subprocess.run([sys.executable, "-m", "jalon", "runs", ended.parent, "--json"], capture_output=True).stdout
    )

    assert 0 == code
    assert "stopped a<b> 3 of 9 epochs, best loss 0.5 in epoch 1, no improvement in loss for 2 epochs" == said
    assert ["a<b>"] == [one["id"] for one in found]


def test_the_best_of_the_last_epoch_is_listed(tmp_path):
    """Also where it is known only when its file is written, in the background, after the epoch's end."""
    saves = ModelCheckpoint(tmp_path / "best.json", monitor="loss", save_best_only=True)
    play([saves, Journal(tmp_path / "runs" / "a")], [{"loss": 0.5}, {"loss": 0.25}])

    assert (0, "finished a 2 of 2 epochs, best loss 0.25 in epoch 2") == jalon("runs", tmp_path / "runs")


@pytest.mark.parametrize("suffix", [".png", ".svg", ".html"])
def test_plotted(ended, tmp_path, suffix):
    """A run's curves are drawn into a picture or a page that needs nothing else."""
    output = tmp_path / f"x{suffix}"
    assert (0, "") == jalon("plot", ended, "-o", output)
    content = output.read_bytes()
    if suffix == ".png":
        assert content.startswith(b"\x89PNG")
    elif suffix == ".svg":
        assert xml.etree.ElementTree.fromstring(content).tag.endswith("svg")
    else:
        assert b"<h1>a&lt;b&gt;</h1>" in content
        assert b"<td>3</td><td>0.001</td><td>0.5</td><td>0.75</td>" in content


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["stop", "{ended}"], 1, "has ended: no improvement in loss for 2 epochs."),
        (["stop", "{folder}"], 2, "is no run: it has no journal.jsonl. Name the folder given as run_dir."),
        (["runs", "{folder}/nowhere"], 2, "is no folder."),
        (["plot", "{ended}", "-o", "x.bmp"], 2, "must end in one of .png, .svg, .html. Received: x.bmp."),
        (["plot", "{folder}/nowhere", "-o", "x.png"], 2, "is not there."),
        (["watch", "{folder}/nowhere"], 2, "is no folder."),
        (["watch", "{folder}", "--host", "0.0.0.0"], 2, "would let other machines in. Add --let-others-in if that is meant"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_refused(ended, words, code, told):
    """What cannot be done is told in a line, with what to do."""
    said = jalon(*(word.format(ended=ended, folder=ended.parent) for word in words))

    assert code == said[0]
    assert told in said[1]


def test_the_process_is_gone(ended):
    """A command to a run whose process is gone is refused."""
    journal = Path(ended) / "journal.jsonl"
    kept = [line for line in journal.read_text().splitlines() if '"kind":"end"' not in line]
    begin = json.loads(kept[0])
    begin["process"]["started"] = 1
    journal.write_text("\n".join([json.dumps(begin), *kept[1:], ""]))

    assert (1, True) == (lambda code, said: (code, "the process that trained in" in said))(*jalon("pause", ended))
