"""What jalon.testing offers to authors of callbacks."""

from __future__ import annotations

import json

import numpy as np
import pytest

from jalon import Callback, CallbackList
from jalon.callbacks import EarlyStopping, History
from jalon.errors import ArgumentError
from jalon.testing import FakeModel, FakeTrainer, ManualClock, play

LOSSES = [{"loss": value} for value in (3.0, 2.0, 4.0, 5.0, 1.0)]


class KeepsBatches(Callback):
    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(logs["loss"])


def test_the_history_is_the_script():
    """What the script reports is the run's history, with or without a History in the list."""
    history = History()

    assert {"loss": [3.0, 2.0, 4.0, 5.0, 1.0]} == play([], LOSSES).history == play(history, LOSSES).history == history.history


def test_batches_may_report_their_own():
    """A batch reports what it is told to, by epoch and batch."""
    callback = KeepsBatches()

    play(callback, LOSSES[:2], batches=2, batch_logs=lambda epoch, batch: {"loss": 10.0 * epoch + batch})

    assert [0.0, 1.0, 10.0, 11.0] == callback.seen


def test_epochs_may_be_numbered_from_later_on():
    """first_epoch numbers the epochs, and params and run know of the later end."""
    history = History()

    run = play(history, LOSSES[:2], first_epoch=5)

    assert ([5, 6], 7, 7) == (history.epoch, run.epochs, history.params["epochs"])


def test_an_empty_script_trains_nothing():
    """Without epochs, training begins and ends."""
    run = play(KeepsBatches(), [])

    assert ({}, 0) == (run.history, run.step)


def test_a_training_may_go_on():
    """With the state of an earlier training, callbacks decide as in one piece."""
    first, second = (EarlyStopping("loss", patience=3) for _ in range(2))
    play(first, LOSSES[:3])

    run = play(second, LOSSES[3:4], first_epoch=3, state=CallbackList(first).state_dict())

    assert (2, 2.0, 1) == (second.wait, second.best, second.best_epoch)
    assert [5.0] == run.history["loss"]


def test_steps_show_in_the_weights():
    """Each step adds one to every weight, so that the weights tell the step."""
    trainer = FakeTrainer({"w": [0.0, 10.0]})

    play([], LOSSES, batches=3, trainer=trainer)

    assert [15.0, 25.0] == trainer.weights["w"].tolist()
    assert 15 == trainer.iterations


def test_there_is_something_to_train_by_default():
    """Without weights given there are a kernel and a bias, all zero."""
    weights = FakeTrainer().snapshot_weights()

    assert {"kernel": (2, 3), "bias": (3,)} == {name: value.shape for name, value in weights.items()}
    assert not any(value.any() for value in weights.values())
    assert (".json",) == FakeTrainer().suffixes


def test_a_save_is_json(tmp_path):
    """A saved file holds weights, what it is about and, unless left out, the state of the training."""
    trainer = FakeTrainer({"w": [1.0]}, learning_rates=[0.5])
    trainer.step()

    trainer.freeze(tmp_path / "all.json", weights_only=False, about={"epoch": 3})()
    trainer.freeze(tmp_path / "weights.json", weights_only=True, about={})()

    about = {"weights": {"w": [2.0]}, "about": {"epoch": 3}}
    assert about | {"learning_rates": [0.5], "iterations": 1} == json.loads((tmp_path / "all.json").read_text())
    assert {"weights": {"w": [2.0]}, "about": {}} == json.loads((tmp_path / "weights.json").read_text())
    assert {"all.json", "weights.json"} == {path.name for path in tmp_path.iterdir()}


def test_weights_are_put_back_from_a_copy():
    """A snapshot is a copy, may be taken into the memory of an earlier one, and comes back as it was."""
    trainer = FakeTrainer({"w": [1.0]})
    snapshot = trainer.snapshot_weights()
    trainer.step()
    again = trainer.snapshot_weights(into=snapshot)
    trainer.step()
    trainer.restore_weights(again)

    assert again is snapshot
    assert [2.0] == trainer.weights["w"].tolist()


def test_the_model_has_keras_names():
    """The model of a scripted run reads and sets weights and rate as Keras's does."""
    trainer = FakeTrainer({"w": [1.0], "b": [2.0]}, learning_rates=[0.5, 0.25])
    model = FakeModel(trainer, play([], [], trainer=trainer))
    model.optimizer.learning_rate = 0.125
    model.set_weights([weights * 10 for weights in model.get_weights()])

    assert [0.125, 0.125] == trainer.learning_rates()
    np.testing.assert_equal([10.0], trainer.weights["w"])
    np.testing.assert_equal([20.0], trainer.weights["b"])


def test_a_clock_is_moved_by_hand():
    """The clock stands still until it is moved, and does not go back."""
    clock = ManualClock(5.0)
    clock.advance(2.5)

    assert (7.5, 7.5) == (clock.monotonic(), clock.wall())
    with pytest.raises(ArgumentError, match="does not go back"):
        clock.advance(-1)
