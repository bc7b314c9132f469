"""The same callbacks, told the same recorded curve, decide the same under every loop.

A loop joins by a line in ``LOOPS`` and a file in ``loops/`` that trains under it.
"""

from __future__ import annotations

import importlib
import json
import re
import warnings
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from jalon.callbacks import Callback, CSVLogger, EarlyStopping, ModelCheckpoint, ProgbarLogger, ReduceLROnPlateau, TensorBoard
from jalon.core.hooks import HOOKS
from jalon.errors import HookNotReached
from jalon.testing import FakeTrainer, play

LOOPS = [  # the driver, and how its model's files end
    ("under_fit", ".safetensors"),
    ("under_torch_loop", ".safetensors"),
    ("under_nnx_loop", ".safetensors"),
    ("under_tree_loop", ".safetensors"),
    ("under_sklearn_loop", ".safetensors"),
    ("under_keras", ".keras"),
    ("under_lightning", ".safetensors"),
    ("under_transformers", ".safetensors"),
    ("under_xgboost", ".ubj"),
    ("under_lightgbm", ".txt"),
]

SINGLE = {"under_keras": "Keras holds the rate in single precision, and on TensorFlow the metrics too"}
"""Loops in which numbers are those of the curve up to that precision, and why; elsewhere they are the same to the last bit."""

ELSEWHERE = {name for name in HOOKS if "predict" in name} | {"on_exception"}
"""Hooks that a training which ends well does not reach: they belong to ``predict``, and to one that does not."""

CURVE = [
    {"loss": loss, "val_loss": val_loss}
    for loss, val_loss in [
        (0.9, 0.8),
        (0.7, 0.6),
        (0.6, 0.65),
        (0.5, 0.7),
        (0.45, 0.5),
        (0.4, 0.55),
        (0.35, 0.6),
        (0.3, 0.7),
        (0.2, 0.4),  # never reached
    ]
]


class Diary(Callback):
    """Is a callback of a user's: writes down what it is told at the end of each epoch, and adds to it."""

    def __init__(self):
        self.rows = []

    def on_epoch_end(self, epoch, logs=None):
        logs["gap"] = logs["val_loss"] - logs["loss"]
        self.rows.append((epoch, json.loads(json.dumps(logs))))


def listed(folder, suffix):
    """Return the callbacks, those of a user's first."""
    return [
        Diary(),
        ReduceLROnPlateau(factor=0.5, patience=2),
        ModelCheckpoint(folder / f"best-{{epoch:02d}}-{{val_loss:.2f}}{suffix}", save_best_only=True),
        ModelCheckpoint(folder / f"every-{{epoch:02d}}{suffix}"),
        EarlyStopping(patience=3, restore_best_weights=True),
        CSVLogger(folder / "training.log"),
        TensorBoard(folder / "events"),
        ProgbarLogger(),
    ]


def scalars(folder):
    """Return the points of each of TensorBoard's curves that an epoch has."""
    curves = {}
    for run in (folder / "events").iterdir():
        events = EventAccumulator(str(run), size_guidance={"scalars": 0}).Reload()
        for tag in events.Tags()["scalars"]:
            if tag.startswith("epoch_"):
                curves[f"{run.name}/{tag}"] = {one.step: one.value for one in events.Scalars(tag)}
    return curves


def files(folder):
    """Return what the callbacks wrote, without how a framework's files end."""
    return sorted(path.stem for path in folder.iterdir() if path.name.startswith(("best-", "every-")))


def table(folder):
    """Return the columns of the table, in order, and what they hold."""
    head, *lines = [line.split(",") for line in (folder / "training.log").read_text().splitlines()]
    return {name: [float(line[place]) for line in lines] for place, name in enumerate(head)}


def exact(values):
    """Return what has to be equal to the last bit, the order of its names too."""
    return values


def near(values):
    """Return what has to be equal in single precision."""
    return {name: near(one) if isinstance(one, dict) else pytest.approx(one, rel=1e-6) for name, one in values.items()}


def under_each(test):
    """Run a test under each loop, whatever others warn of."""
    for package in ("transformers", "accelerate", "keras"):
        test = pytest.mark.filterwarnings(f"ignore:::{package}")(test)
    return pytest.mark.parametrize(("loop", "suffix"), LOOPS, ids=[name for name, _ in LOOPS])(test)


@pytest.fixture
def train(monkeypatch):
    """Return a function that trains under a loop."""
    monkeypatch.syspath_prepend(Path(__file__).parent / "loops")
    return lambda loop, *arguments: importlib.import_module(loop).train(*arguments)


@pytest.fixture(scope="module")
def scripted(tmp_path_factory):
    """Return what the callbacks decide where a script tells the curve."""
    folder = tmp_path_factory.mktemp("scripted")
    callbacks = listed(folder, ".json")
    trainer = FakeTrainer(learning_rates=[0.1], metrics={"loss": "min", "val_loss": "min"})
    return play(callbacks, CURVE, trainer=trainer, verbose=0), callbacks[0].rows, folder


@under_each
def test_the_same_decisions(loop, suffix, scripted, train, tmp_path):
    """Stop and its reason, best epoch, rates, files, table, event scalars, history, and what a callback of the user's sees."""
    expected, rows, there = scripted
    callbacks = listed(tmp_path, suffix)

    history = train(loop, callbacks, CURVE, tmp_path)

    assert "no improvement in val_loss for 3 epochs" == expected.stop_reason == history.stop_reason
    assert expected.bests["val_loss"].epoch == history.best.epoch == 4
    same = near if loop in SINGLE else exact
    assert same(expected.history) == history.history
    assert [0.1] * 4 + [0.05] * 3 + [0.025] == pytest.approx(history.history["learning_rate"])
    assert files(there) == files(tmp_path)
    assert same(table(there)) == table(tmp_path)
    assert {"train/epoch_loss", "train/epoch_learning_rate", "validation/epoch_loss"} <= scalars(there).keys()
    assert same(scalars(there)) == scalars(tmp_path)
    assert same(dict(rows)) == dict(callbacks[0].rows)


def waiting():
    """Return a callback that waits for every hook, and the names of those that it was told."""
    told = set()
    hooks = {name: (lambda self, *given, name=name, **named: told.add(name)) for name in HOOKS}
    return type("Waiting", (Callback,), hooks)(), told


@under_each
def test_what_a_loop_never_reaches_is_said(loop, suffix, train, tmp_path):
    """Each hook is reached, or named at the start as one that is not; none is dropped in silence."""
    callback, told = waiting()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        train(loop, [callback], CURVE[:2], tmp_path)
    said = " ".join(str(one.message) for one in warned if issubclass(one.category, HookNotReached))
    named = {name for name in HOOKS if re.search(rf"\b{name}\b", said.partition("never reached")[0])}

    assert HOOKS.keys() - ELSEWHERE <= told | named
    assert not told & named
