"""A training that goes on from a checkpoint of transformers' Trainer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from jalon import Callback
from jalon.callbacks import CSVLogger, EarlyStopping, LambdaCallback
from jalon.errors import JalonWarning, StateMismatch

TRAINING = Path(__file__).parent / "training.py"


class Fault(Callback):
    """Raises at the beginning of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            raise RuntimeError("power cut")


def stopping():
    return EarlyStopping("loss", min_delta=100, patience=4)


@pytest.fixture
def left(train):
    """Leave a training as its third epoch begins."""
    with pytest.raises(RuntimeError, match="power cut"):
        train([stopping(), CSVLogger("log.csv"), Fault(2)], num_train_epochs=9, save_strategy="epoch")


@pytest.mark.parametrize("restores", [False, True])
def test_state_and_history_come_back(left, train, restores):
    """``resume_from_checkpoint`` gives callbacks their counts back, whether the trainer restores callbacks itself or not."""
    callbacks = [stopping(), CSVLogger("log.csv"), Fault(99)]

    conducted = train(callbacks, resume=True, num_train_epochs=9, restore_callback_states_from_checkpoint=restores)

    assert [0, 1, 2, 3, 4] == conducted.history.epoch
    assert ["0", "1", "2", "3", "4"] == [line.split(",")[0] for line in Path("log.csv").read_text().splitlines()[1:]]
    assert "no improvement in loss for 4 epochs" == conducted.history.stop_reason


def test_other_callbacks_are_refused(left, train):
    """A list that the state does not fit is refused, and what differs is named."""
    with pytest.raises(StateMismatch, match="Saved, but not in the list: CSVLogger"):
        train(stopping(), resume=True, num_train_epochs=9)


def test_a_checkpoint_from_before_jalon(make_trainer, train):
    """Where the checkpoint holds nothing of jalon's, callbacks begin anew, with the epoch at which the trainer goes on."""
    resumed = []
    trainer, conducted = make_trainer(None, num_train_epochs=2, save_strategy="epoch")
    trainer.remove_callback(conducted)
    trainer.train()

    begins = LambdaCallback(on_train_begin=lambda logs: resumed.append(begins.run.resumed))
    conducted = train(begins, resume=True, num_train_epochs=4)

    assert [2, 3] == conducted.history.epoch
    assert [False] == resumed


def test_a_half_written_checkpoint_is_passed_over(left, train):
    """A checkpoint that the trainer was killed in is passed over, and that is said."""
    Path("out/checkpoint-12/trainer_state.json").unlink()

    with pytest.warns(JalonWarning, match=r"checkpoint-12 was not written to its end\. Training goes on from .*checkpoint-6"):
        conducted = train([stopping(), CSVLogger("log.csv"), Fault(99)], resume=True, num_train_epochs=9)
    assert [0, 1, 2, 3, 4] == conducted.history.epoch


def test_a_finished_training_has_its_history(train):
    """A training that is started again after its end has nothing left to train, and its history."""
    first = train(CSVLogger("log.csv"), save_strategy="epoch")
    written = Path("log.csv").read_bytes()

    again = train(CSVLogger("log.csv"), resume=True)

    assert first.history.rows == again.history.rows
    assert written == Path("log.csv").read_bytes()


def test_a_stopped_training_is_trained_no_more(train, model):
    """A training that had stopped is left as it was when it is started again, though the trainer would take a step."""
    first = train(stopping(), num_train_epochs=9, save_strategy="epoch")
    weight = model.net[0].weight.detach().clone()

    again = train(stopping(), resume=True, num_train_epochs=9)

    assert first.history.rows == again.history.rows
    assert weight.equal(model.net[0].weight)
    assert "no improvement in loss for 4 epochs" == again.history.stop_reason


def test_a_second_training_begins_anew(train):
    """The same callbacks in a second training start afresh."""
    callback = EarlyStopping("loss", min_delta=100, patience=2)

    assert [[0, 1, 2]] * 2 == [train(callback, num_train_epochs=9).history.epoch for _ in range(2)]


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["epochs", "steps", "evaluation by epochs, saving by steps", "accumulation"])
def test_killed_trainings_end_as_one_that_was_not(tmp_path, setting):
    """A training that is killed and started again has, bit for bit, the weights, files, events and history of one that was not.

    It is killed at a batch of the first epoch, at one in the middle, between the callbacks of an epoch's end, and after the
    last epoch.
    """
    output = subprocess.run(
        [sys.executable, TRAINING, tmp_path, setting], check=True, capture_output=True, text=True, timeout=600
    )

    whole, *killed = json.loads(output.stdout.splitlines()[-1])
    assert 4 == len(killed)
    assert [whole] * 4 == killed
