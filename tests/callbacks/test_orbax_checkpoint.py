"""What OrbaxCheckpoint saves, when, and who reads it back."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

import jalon._optional
from jalon import Model
from jalon.callbacks.orbax_checkpoint import OrbaxCheckpoint
from jalon.core.cadence import every
from jalon.core.callback import Callback
from jalon.engines.torch.formats import Checkpoint
from jalon.engines.torch.orbax import checkpointables, holds_saves, read_checkpoint
from jalon.errors import (
    ArgumentError,
    CheckpointError,
    CheckpointMismatch,
    MissingMetric,
    MissingPackage,
    NotReady,
)
from jalon.testing import FakeTrainer, play

ocp = pytest.importorskip("orbax.checkpoint").v1

DIGITS, CLASSES = load_digits(return_X_y=True)
X, Y = torch.tensor(DIGITS[:320] / 16, dtype=torch.float32), torch.tensor(CLASSES[:320])
BATCHES = 10


def classifier(hidden: int = 16, **options: Any) -> Model:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.BatchNorm1d(hidden), nn.Linear(hidden, 10))
    return Model(module).compile("adam", loss="cross_entropy", metrics=["accuracy"], **options)


def fit(model: Model, callbacks: Any, epochs: int = 1, **options: Any) -> dict[str, list[float]]:
    return model.fit(X, Y, epochs=epochs, verbose=0, callbacks=callbacks, **options).history


def saves(folder: Path) -> list[int]:
    return sorted(int(save.name) for save in folder.iterdir())


def same(one: list[Any], other: list[Any]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


class Trainer(FakeTrainer):
    """Gives its weights to Orbax."""

    def checkpointables(self, *, weights_only: bool) -> dict[str, Any]:
        return {"pytree": dict(self.weights)}


class At(Callback):
    """Does something at the beginning of epochs."""

    def __init__(self, actions: dict[int, Callable[[], Any]]) -> None:
        self.actions = actions

    def on_epoch_begin(self, epoch, logs=None):
        self.actions.get(epoch, lambda: None)()


class TestArguments:
    def test_package_is_missing(self, tmp_path, monkeypatch):
        """Without Orbax the constructor says which command installs it."""
        monkeypatch.setattr(jalon._optional.importlib.util, "find_spec", lambda name: None)

        with pytest.raises(MissingPackage, match=r"OrbaxCheckpoint needs 'orbax'.*pip install 'jalon\[orbax\]'"):
            OrbaxCheckpoint(tmp_path)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"save_freq": "invalid"}, r"Unrecognized save_freq.*Received: save_freq='invalid'"),
            ({"save_freq": 0}, "Unrecognized save_freq"),
            ({"max_to_keep": 0}, "max_to_keep must be a whole number, 1 or more. Received: max_to_keep=0"),
            ({"directory": ""}, "directory must be the path of a folder. Received: ''"),
            ({"directory": 3}, "directory must be the path of a folder. Received: 3"),
            ({"mode": "least"}, "mode must be 'auto', 'min' or 'max'"),
            ({"initial_value_threshold": "low"}, "the value to beat must be a number"),
            ({"save_best_only": True, "save_freq": 5}, "'val_loss' is known at an epoch's end only. Received: save_freq=5"),
        ],
    )
    def test_wrong_argument(self, tmp_path, arguments, message):
        """What cannot be is refused in the constructor, with what was received."""
        with pytest.raises(ArgumentError, match=f"^OrbaxCheckpoint: {message}"):
            OrbaxCheckpoint(**{"directory": tmp_path, **arguments})

    def test_unknown_argument(self, tmp_path):
        """A misspelt argument is an error that names the nearest one."""
        with pytest.raises(TypeError, match="Did you mean 'max_to_keep'"):
            OrbaxCheckpoint(tmp_path, max_to_kep=3)


class TestSetup:
    def test_loop_without_checkpointables(self, tmp_path):
        """A loop that has nothing to give to Orbax is refused before the first step."""
        with pytest.raises(NotReady, match="cannot be saved by Orbax"):
            play(OrbaxCheckpoint(tmp_path), [{"loss": 1.0}])

    def test_unwritable(self, tmp_path):
        """A folder that cannot be made is refused before the first step."""
        (tmp_path / "file").touch()

        with pytest.raises(CheckpointError, match="is a file where a folder should be"):
            fit(classifier(), OrbaxCheckpoint(tmp_path / "file" / "saves"))

    def test_metric_that_nothing_reports(self, tmp_path):
        """With save_best_only a metric that nothing reports is an error before the first step; without, it does not matter."""
        with pytest.raises(MissingMetric, match="acuracy"):
            fit(classifier(), OrbaxCheckpoint(tmp_path, "acuracy", save_best_only=True, mode="max"))
        fit(classifier(), OrbaxCheckpoint(tmp_path, "acuracy"))

        assert [0] == saves(tmp_path)

    def test_relative_directory(self, tmp_path, monkeypatch):
        """A relative directory is taken from where the callback was made."""
        monkeypatch.chdir(tmp_path)
        saver = OrbaxCheckpoint("saves")
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        fit(classifier(), saver)

        assert "saves" == saver.directory
        assert [0] == saves(tmp_path / "saves")


class TestWhen:
    @pytest.mark.parametrize("background", [True, False])
    def test_epochs(self, tmp_path, background):
        """Each epoch is saved under its number, from 0, in the background or not."""
        fit(classifier(), OrbaxCheckpoint(tmp_path, max_to_keep=None, save_on_background=background), epochs=3)

        assert [0, 1, 2] == saves(tmp_path)

    def test_batches(self, tmp_path):
        """Batches are counted across epochs, and a save is called by how many there were in all."""
        model = classifier()
        fit(model, OrbaxCheckpoint(tmp_path, save_freq=4, max_to_keep=None), epochs=2)

        assert [4, 8, 12, 16, 20] == saves(tmp_path)

    def test_batches_of_a_model_that_was_trained(self, tmp_path):
        """The number of batches goes on from what the optimizer has counted."""
        model = classifier()
        fit(model, [])
        saver = OrbaxCheckpoint(tmp_path, save_freq=6)
        fit(model, saver)

        assert [BATCHES + 6] == saves(tmp_path)
        assert 2 * BATCHES == saver._total_batches_seen

    def test_several_batches_at_a_time(self, tmp_path):
        """Where one call stands for several batches, all are counted."""
        fit(classifier(steps_per_execution=4), OrbaxCheckpoint(tmp_path, save_freq=4, max_to_keep=None))

        assert [4, 8] == saves(tmp_path)

    def test_every_so_many_epochs(self, tmp_path):
        """Other cadences are taken too."""
        fit(classifier(), OrbaxCheckpoint(tmp_path, save_freq=every(epochs=2), max_to_keep=None), epochs=4)

        assert [1, 3] == saves(tmp_path)

    def test_a_second_training(self, tmp_path):
        """The same instance serves a second training, whose saves have higher numbers than those that are there."""
        model, saver = classifier(), OrbaxCheckpoint(tmp_path, max_to_keep=3)
        fit(model, saver, epochs=2)
        fit(model, saver, epochs=2)
        fresh = classifier()
        fresh.load(tmp_path)

        assert [1, 2, 3] == saves(tmp_path)
        assert same(model.get_weights(), fresh.get_weights())


class TestKeeping:
    def test_newest(self, tmp_path):
        """Of the saves in the folder the newest stay."""
        fit(classifier(), OrbaxCheckpoint(tmp_path, max_to_keep=2), epochs=4)

        assert [2, 3] == saves(tmp_path)

    def test_one_by_default(self, tmp_path):
        """By default only the newest save stays."""
        fit(classifier(), OrbaxCheckpoint(tmp_path), epochs=3)

        assert [2] == saves(tmp_path)

    def test_what_was_killed_is_cleared(self, tmp_path):
        """What a killed save has left in the folder is removed when the next training begins to save."""
        (tmp_path / "7.orbax-checkpoint-tmp").mkdir()
        fit(classifier(), OrbaxCheckpoint(tmp_path))

        assert [0] == saves(tmp_path)


class TestBestOnly:
    def saved(self, folder, values, name="val_loss", **arguments):
        saver = OrbaxCheckpoint(folder, name, save_best_only=True, max_to_keep=None, **arguments)
        trainer = Trainer(metrics={"loss": "min", "val_loss": "min", "val_accuracy": "max"})
        epochs = [{"loss": 0.1} if value is None else {"loss": 0.1, name: value} for value in values]
        return saver, play(saver, epochs, trainer=trainer)

    def test_improvements(self, tmp_path):
        """Only what beats the best so far is saved; NaN and an epoch without the metric never do."""
        saver, run = self.saved(tmp_path, [math.nan, 0.5, 0.7, None, 0.5, 0.4])

        assert [1, 5] == saves(tmp_path)
        assert 0.4 == saver.best
        assert (5, tmp_path / "5") == (run.bests["val_loss"].epoch, run.bests["val_loss"].path)
        assert tmp_path / "5" == run.files["OrbaxCheckpoint"]

    def test_direction(self, tmp_path):
        """The direction comes from the metric."""
        self.saved(tmp_path, [0.5, 0.4, 0.6], "val_accuracy")

        assert [0, 2] == saves(tmp_path)

    def test_threshold(self, tmp_path):
        """A value to beat from the start holds for the first save too; the folder is there all the same."""
        saver, _ = self.saved(tmp_path / "saves", [0.5, 0.4], initial_value_threshold=0.3)

        assert [] == saves(tmp_path / "saves")
        assert 0.3 == saver.best

    def test_batches(self, tmp_path):
        """Where batches are counted, their metrics are compared."""
        saver = OrbaxCheckpoint(tmp_path, "loss", save_best_only=True, save_freq=1, max_to_keep=None)
        losses = [3.0, 2.0, 2.5, 1.0]
        play(saver, [{"loss": 1.0}], batches=4, batch_logs=lambda epoch, batch: {"loss": losses[batch]}, trainer=Trainer())

        assert [1, 2, 4] == saves(tmp_path)

    def test_metric_that_batches_do_not_report(self, tmp_path):
        """A metric that comes at an epoch's end only cannot be compared after a batch."""
        saver = OrbaxCheckpoint(tmp_path, "f1", mode="max", save_best_only=True, save_freq=1)

        with pytest.raises(MissingMetric, match=r"'f1', which batch 1 does not report. Reported: loss"):
            play(saver, [{"loss": 1.0, "f1": 1.0}], batch_logs=lambda epoch, batch: {"loss": 1.0}, trainer=Trainer())

    def test_decisions_are_told(self, tmp_path, capsys):
        """With verbose=1 each decision is told, epochs counted from 1."""
        self.saved(tmp_path, [0.5, 0.7], verbose=1)

        assert (
            "Epoch 1: val_loss improved from None to 0.50000\n"
            f"Epoch 1: saving model to {tmp_path / '0'}\n"
            f"Epoch 1: finished saving model to {tmp_path / '0'}\n"
            "Epoch 2: val_loss did not improve from 0.50000\n"
        ) == capsys.readouterr().out

    def test_another_model(self, tmp_path):
        """A training of another model starts afresh; one of the same model goes on from the best."""
        model, saver = classifier(), OrbaxCheckpoint(tmp_path, "loss", mode="max", save_best_only=True)
        fit(model, saver)
        best = saver.best
        fit(model, saver)
        assert best == saver.best
        fit(classifier(), saver)

        assert [1] == saves(tmp_path)

    def test_resumed(self, tmp_path):
        """After a resume the best value and what was counted are those from before."""
        saver, run = self.saved(tmp_path, [0.5, 0.4])
        other = OrbaxCheckpoint(tmp_path, save_best_only=True, max_to_keep=None)
        resumed = play(
            other, [{"val_loss": 0.45}], trainer=Trainer(), first_epoch=2, state={"OrbaxCheckpoint": saver.state_dict()}
        )

        assert [0, 1] == saves(tmp_path)
        assert 0.4 == other.best
        assert run.bests == resumed.bests


class TestReading:
    @pytest.mark.parametrize("background", [True, False])
    def test_goes_on(self, tmp_path, background):
        """A model that is read back trains on as the saved one would have."""
        model, other = classifier(), classifier()
        fit(model, OrbaxCheckpoint(tmp_path, save_on_background=background), epochs=2)
        other.load(tmp_path)

        assert same(model.get_weights(), other.get_weights())
        assert model.optimizer.iterations == other.optimizer.iterations
        assert fit(model, [], seed=1) == fit(other, [], seed=1)
        assert same(model.get_weights(), other.get_weights())

    def test_holds_the_moment_of_the_save(self, tmp_path):
        """What is saved in the background is the model at that moment, although training goes on."""
        kept: list[Any] = []
        model = classifier(hidden=512)
        actions = {epoch: lambda: kept.append(model.get_weights()) for epoch in (1, 2, 3)}
        fit(model, [OrbaxCheckpoint(tmp_path, max_to_keep=None), At(actions)], epochs=4)
        for epoch, weights in enumerate(kept):
            model.load_weights(tmp_path / str(epoch))

            assert same(weights, model.get_weights())

    def test_weights_alone(self, tmp_path):
        """With save_weights_only the weights alone are there, to start from but not to go on."""
        model, other = classifier(), classifier()
        fit(model, OrbaxCheckpoint(tmp_path, save_weights_only=True))
        other.load_weights(tmp_path)

        assert same(model.get_weights(), other.get_weights())
        with pytest.raises(CheckpointError, match="holds weights alone"):
            other.load(tmp_path)

    def test_by_orbax(self, tmp_path):
        """Orbax itself gives the weights under their names."""
        model = classifier()
        fit(model, OrbaxCheckpoint(tmp_path))
        tree = ocp.load_checkpointables(tmp_path / "0")["pytree"]

        assert set(model.module.state_dict()) == set(tree["weights"])
        assert np.array_equal(tree["weights"]["0.bias"], model.module[0].bias.detach().numpy())

    def test_average_of_the_weights(self, tmp_path):
        """A moving average is saved with the optimizer."""
        model, other = classifier(use_ema=True), classifier(use_ema=True)
        fit(model, OrbaxCheckpoint(tmp_path))
        other.load(tmp_path)

        assert fit(model, [], seed=1).keys() == fit(other, [], seed=1).keys()
        with pytest.raises(CheckpointMismatch, match="holds an average"):
            classifier().load(tmp_path)

    @pytest.mark.parametrize(
        "value",
        [
            torch.tensor(3.5),
            torch.tensor([[1.5, -2.0]], dtype=torch.bfloat16),
            torch.tensor(2.0, dtype=torch.bfloat16),
            torch.tensor([1.0, 2.0]).to(torch.float8_e5m2),
            torch.empty(0, 3),
            torch.tensor([1 + 2j]).conj(),
            torch.arange(12).reshape(3, 4).T,
            torch.tensor([True, False]),
        ],
    )
    def test_every_kind_of_tensor(self, tmp_path, value):
        """Tensors of every type and shape come back as they were."""
        checkpoint = Checkpoint({"net.value": value}, {"state": {0: {"value": value}}, "betas": (0.9, math.inf)}, {"epoch": 3})
        ocp.save_checkpointables(tmp_path / "0", checkpointables(checkpoint))
        read = read_checkpoint(tmp_path)
        assert read.optimizer is not None
        for one in (read.weights["net.value"], read.optimizer["state"][0]["value"]):
            assert (value.dtype, value.shape) == (one.dtype, one.shape)
            assert value.tolist() == one.tolist()
        assert (0.9, math.inf) == read.optimizer["betas"]
        assert {"epoch": 3} == read.about

    def test_other_module(self, tmp_path):
        """A save of another module is refused, and the model stays as it is."""
        fit(classifier(), OrbaxCheckpoint(tmp_path))
        other = classifier(hidden=8)
        before = other.get_weights()

        with pytest.raises(CheckpointMismatch, match="belongs to another model"):
            other.load_weights(tmp_path)
        assert same(before, other.get_weights())

    def test_of_something_else(self, tmp_path):
        """A save of something else is refused."""
        ocp.save_checkpointables(tmp_path / "0", {"pytree": {"w": np.ones(3)}})

        with pytest.raises(CheckpointError, match="of something else than a jalon"):
            classifier().load_weights(tmp_path)

    def test_from_a_newer_jalon(self, tmp_path):
        """A save in a format that is not known yet is refused, and said to be newer."""
        ocp.save_checkpointables(tmp_path / "0", {"pytree": {"jalon": '{"format": 99}'}})

        with pytest.raises(CheckpointError, match="was written by a newer jalon"):
            read_checkpoint(tmp_path)

    def test_folder_without_saves(self, tmp_path):
        """A folder is one of saves only where it holds a whole one."""
        (tmp_path / "3").mkdir()

        assert not holds_saves(tmp_path)
        assert not holds_saves(tmp_path / "nowhere")


class TestFailure:
    @pytest.mark.parametrize("background", [True, False])
    def test_full_disk(self, tmp_path, background):
        """A save that the system refuses is one warning; the earlier one is intact, training goes on, later saves succeed."""
        pytest.importorskip("resource")
        assert "warned once, saved later\n" == in_another_process(FULL_DISK, str(tmp_path), str(int(background)))

    def test_of_another_kind(self, tmp_path):
        """What is no refusal of the system's ends training."""
        assert "ValueError: Cannot save arrays with zero size" in in_another_process(ODD_ARRAY, str(tmp_path))

    def test_exception_in_training(self, tmp_path):
        """What was begun when training fails is finished, and Orbax let go."""

        def fail() -> None:
            raise RuntimeError("no more")

        saver = OrbaxCheckpoint(tmp_path)
        with pytest.raises(RuntimeError, match="no more"):
            fit(classifier(), [saver, At({1: fail})], epochs=2)

        assert [0] == saves(tmp_path)
        assert saver._checkpointer is None


class TestProcesses:
    def test_alone(self, tmp_path):
        """A process that no other saves with is the first one."""
        saver = OrbaxCheckpoint(tmp_path)

        assert not saver.is_multihost_enabled()
        assert saver.is_primary_host()

    def test_waiting_with_nothing_to_wait_for(self, tmp_path):
        """Waiting and closing may be asked for at any time, and twice."""
        saver = OrbaxCheckpoint(tmp_path)
        saver.wait_until_finished()
        saver.close()
        saver.close()

        assert [] == saves(tmp_path)


# After a failed save Orbax leaves threads and coroutines behind, so these are processes of their own.
FULL_DISK = """
import resource
import sys
import warnings
from pathlib import Path
import torch
from jalon import Model
from jalon.callbacks import Callback
from jalon.callbacks.orbax_checkpoint import OrbaxCheckpoint
from jalon.errors import SaveFailed

folder, background = Path(sys.argv[1]), bool(int(sys.argv[2]))
limits = resource.getrlimit(resource.RLIMIT_FSIZE)
saver = OrbaxCheckpoint(folder, "loss", save_best_only=True, max_to_keep=1, save_on_background=background)

class FullInEpochs2And3(Callback):
    def on_epoch_begin(self, epoch, logs=None):
        saver.wait_until_finished()
        if epoch == 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        if epoch == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            self.best = saver.best
            model.load(folder / "0")
            assert [folder / "0"] == [path for path in folder.iterdir() if path.name.isdecimal()]

torch.manual_seed(0)
x = torch.randn(64, 64)
model = Model(torch.nn.Linear(64, 2048)).compile("adam", loss="mse")
full = FullInEpochs2And3()
with warnings.catch_warnings(record=True) as told:
    losses = model.fit(x, torch.zeros(64, 2048), epochs=4, verbose=0, callbacks=[full, saver]).history["loss"]
(warning,) = [one for one in told if one.category is SaveFailed]
assert "the model of epoch 2 was not saved to" in str(warning.message) and "File too large" in str(warning.message)
assert losses[2] < losses[1] < losses[0] == full.best and losses[3] == saver.best
assert [folder / "3"] == list(folder.iterdir())
print("warned once, saved later")
"""

ODD_ARRAY = """
import os
import sys
import numpy as np
from jalon.callbacks.orbax_checkpoint import OrbaxCheckpoint
from jalon.testing import FakeTrainer, play

class Odd(FakeTrainer):
    def checkpointables(self, *, weights_only):
        return {"pytree": {"w": np.empty(0)}}

try:
    play(OrbaxCheckpoint(sys.argv[1]), [{"loss": 1.0}], trainer=Odd())
except Exception as exc:
    print(f"{type(exc).__name__}: {exc}", flush=True)
os._exit(0)  # Orbax's own thread may wait long for a folder that is no longer made when a process ends
"""

UNDER_KERAS = """
import shutil
import sys
import warnings
import keras
import numpy as np
from sklearn.datasets import load_digits
from jalon.callbacks.orbax_checkpoint import OrbaxCheckpoint
from jalon.errors import JalonWarning, WithoutBridge

folder, vocabulary = sys.argv[1:]
x, y = load_digits(return_X_y=True)
x, y = (x[:320] / 16).astype("float32"), y[:320]

def build():
    inputs = keras.Input((64,))
    hidden = keras.layers.BatchNormalization(name="norm")(keras.layers.Dense(16, "relu", name="hidden")(inputs))
    model = keras.Model(inputs, keras.layers.Dense(10, "softmax", name="digits")(hidden))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model

def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))

class Keep(keras.callbacks.Callback):
    kept = []
    def on_epoch_end(self, epoch, logs=None):
        self.kept.append(self.model.get_weights())

warnings.filterwarnings("error", category=JalonWarning)
warnings.filterwarnings("ignore", category=WithoutBridge)
model, keep = build(), Keep()
model.fit(x, y, epochs=3, verbose=0, callbacks=[OrbaxCheckpoint(folder + "/all", max_to_keep=2), keep])
loaded = keras.saving.load_model(folder + "/all")
assert loaded.compiled and same(keep.kept[2], loaded.get_weights())
values = lambda model: [keras.ops.convert_to_numpy(variable) for variable in model.optimizer.variables]
assert same(values(model), values(loaded))
shutil.copytree(folder + "/all/1", folder + "/one/1")
model.load_weights(folder + "/one")
assert same(keep.kept[1], model.get_weights())

model = build()
saver = OrbaxCheckpoint(folder + "/weights", "accuracy", save_best_only=True, save_freq=4, save_weights_only=True)
model.fit(x, y, epochs=1, verbose=0, callbacks=[saver])
other = build()
other.load_weights(folder + "/weights")
assert 0 < saver.best <= 1
try:
    keras.saving.load_model(folder + "/weights")
except ValueError as exc:
    assert "model configuration" in str(exc)

inputs = keras.Input((1,), dtype="string")
words = keras.Model(inputs, keras.layers.StringLookup(vocabulary=vocabulary)(inputs))
words.compile("sgd", "mse")
saver = OrbaxCheckpoint(folder + "/words")
saver.set_model(words)
saver._save_checkpoint(step=0)
saver.checkpointer.close()
assert keras.saving.load_model(folder + "/words").layers[-1].get_vocabulary() == ["[UNK]", "cat", "dog"]

stack = keras.Sequential([keras.Input((64,)), keras.layers.Dense(10, "softmax")], name="stack")
stack.compile("adam", "sparse_categorical_crossentropy")
try:
    stack.fit(x, y, epochs=1, verbose=0, callbacks=[OrbaxCheckpoint(folder + "/stack")])
except JalonWarning as warning:
    assert "load_model cannot find the weights of the Sequential 'stack'" in str(warning)
    print("saved and loaded")
"""


def in_another_process(script: str, *arguments: str, **environment: str) -> str:
    """Return what a script prints."""
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
    assert 0 == done.returncode, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch", "tensorflow"])
def test_under_keras(tmp_path, backend):
    """Under Keras's fit, on every backend, Keras's own functions load what was saved: model, optimizer, weights, assets."""
    pytest.importorskip("keras")
    pytest.importorskip(backend)
    vocabulary = tmp_path / "vocabulary.txt"
    vocabulary.write_text("cat\ndog")

    assert "saved and loaded\n" == in_another_process(UNDER_KERAS, str(tmp_path), str(vocabulary), KERAS_BACKEND=backend)
