"""Under Keras's own fit, by the bridge, a training that was interrupted goes on after the last epoch, to the same end."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import keras
import pytest
from sklearn.datasets import load_digits

import jalon
from jalon.callbacks import (
    BackupAndRestore,
    Callback,
    CSVLogger,
    EarlyStopping,
    ModelCheckpoint,
    ReduceLROnPlateau,
)
from jalon.errors import CheckpointMismatch, JalonWarning

X, Y = load_digits(return_X_y=True)
X, Y = (X[:200] / 16).astype("float32"), Y[:200]


class Strikes(Callback):
    """Does something at one moment, in the words of the hooks."""

    def __init__(self, act, *at):
        self.act, self.at = act, at

    def on_epoch_begin(self, epoch, logs=None):
        self._strike("begin", epoch, 0)

    def on_train_batch_end(self, batch, logs=None):
        self._strike("train", self.run.epoch, batch)

    def on_test_batch_end(self, batch, logs=None):
        self._strike("validation", self.run.epoch, batch)

    def _strike(self, *at):
        if at == self.at:
            self.act()


def interrupt():
    raise InterruptedError


def train(folder, *more, epochs=5, units=16, patience=4, seed=3):
    """Train a network with dropout on shuffled digits, with the tutorial's callbacks and a backup."""
    keras.utils.clear_session()
    if seed is not None:
        keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.layers.Input((64,)),
            keras.layers.Dense(units, activation="relu"),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    callbacks = [
        ModelCheckpoint(folder / "best.weights.h5", save_best_only=True, save_weights_only=True),
        ReduceLROnPlateau(patience=0, min_delta=0.08),
        EarlyStopping(patience=patience, restore_best_weights=True, min_delta=0.08),
        CSVLogger(folder / "training.log"),
        BackupAndRestore(folder / "backup", delete_checkpoint=False),
        *more,
    ]
    history = model.fit(X, Y, epochs=epochs, validation_split=0.2, callbacks=jalon.bridges.keras(callbacks), verbose=0)
    return model, history


def end_of(folder, trained):
    """Return all that a training ends with."""
    model, history = trained
    best = keras.models.clone_model(model)
    best.load_weights(folder / "best.weights.h5")
    return {
        "weights": [value.tobytes() for value in model.get_weights()],
        "best": [value.tobytes() for value in best.get_weights()],
        "rate": float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)),
        "history": history.history,
        "stopped": history.stop_reason,
        "rows": (folder / "training.log").read_bytes(),
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What a training that is never interrupted ends with."""
    folder = tmp_path_factory.mktemp("whole")
    return end_of(folder, train(folder))


def test_interrupted_again_and_again_it_ends_as_if_nothing_had_happened(tmp_path, whole):
    """In the first epoch, at an epoch's begin, in its middle and in its validation: weights, best file, rows, all the same."""
    for at in [("train", 0, 3), ("begin", 1, 0), ("train", 1, 2), ("validation", 2, 1), ("begin", 3, 0)]:
        with pytest.raises(InterruptedError):
            train(tmp_path, Strikes(interrupt, *at))

    assert whole == end_of(tmp_path, train(tmp_path))


def in_a_process(folder, signum, *at):
    """Train in another process that gets a signal, and return how it ended."""
    child = (
        f"import os, sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); from pathlib import Path; import test_resume as t; "
        f"t.train(Path({str(folder)!r}), t.Strikes(lambda: os.kill(os.getpid(), {int(signum)}), *{at!r}))"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", child], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize("at", [("train", 2, 1), ("validation", 1, 0)])
def test_killed_it_ends_as_if_nothing_had_happened(tmp_path, whole, at):
    """A process killed by SIGKILL in an epoch or in a validation, started again, ends with the same."""
    code, said = in_a_process(tmp_path, signal.SIGKILL, *at)

    assert -signal.SIGKILL == code, said
    assert whole == end_of(tmp_path, train(tmp_path))


def test_preempted_it_leaves_with_the_signal_s_code(tmp_path, whole):
    """On SIGTERM it leaves after the batch with 143; started again, it goes on after the last epoch."""
    code, said = in_a_process(tmp_path, signal.SIGTERM, "train", 2, 1)

    assert 143 == code, said
    assert whole == end_of(tmp_path, train(tmp_path))


def test_a_finished_training_trains_nothing(tmp_path, whole):
    """Started again by the same program, it has the weights and the history, and no callback is told of an epoch."""
    train(tmp_path)

    assert whole == end_of(tmp_path, train(tmp_path, Strikes(interrupt, "begin", 4, 0), Strikes(interrupt, "begin", 0, 0)))


def test_more_epochs_go_on(tmp_path):
    """With more epochs it ends as a training of so many epochs would have."""
    longer, parts = tmp_path / "longer", tmp_path / "parts"
    train(parts, patience=9)

    assert end_of(longer, train(longer, epochs=7, patience=9)) == end_of(parts, train(parts, epochs=7, patience=9))


def test_a_stop_holds(tmp_path):
    """Stopped early and killed before the end of fit, it ends at once when it is started again."""

    class Dies(Callback):
        def on_train_end(self, logs=None):
            if not (tmp_path / "again").exists():
                interrupt()

    stopped = tmp_path / "stopped"
    expected = end_of(stopped, train(stopped, epochs=9, patience=1))
    assert expected["stopped"]
    with pytest.raises(InterruptedError):
        train(tmp_path, Dies(), epochs=9, patience=1)
    (tmp_path / "again").touch()

    assert expected == end_of(tmp_path, train(tmp_path, Dies(), epochs=9, patience=1))


def test_another_model_is_refused_by_name(tmp_path):
    """What differs from the training that is kept is named, and nothing is trained."""
    train(tmp_path, epochs=1)

    with pytest.raises(CheckpointMismatch, match=r"weight 0 kernel was \(64, 16\) float32, is \(64, 8\) float32"):
        train(tmp_path, units=8)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only tf.data keeps the order to itself")
def test_on_tensorflow_a_training_without_a_seed_is_warned_of(tmp_path):
    """The order of shuffled data lives inside tf.data: without Keras's seed it cannot be the same again."""
    keras.backend.clear_session()
    keras.src.backend.common.global_state.set_global_attribute("global_random_seed", None)
    with pytest.warns(JalonWarning, match="keras.utils.set_random_seed"):
        train(tmp_path, epochs=1, seed=None)
