"""A training that goes on from a checkpoint of Lightning's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from jalon import Callback
from jalon.callbacks import CSVLogger, EarlyStopping, LambdaCallback
from jalon.errors import StateMismatch

TRAINING = Path(__file__).parent / "training.py"


class Fault(Callback):
    """Raises at the beginning of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            raise RuntimeError("power cut")


@pytest.fixture
def left_checkpoint(package, train):
    """Return the checkpoint of a training that was left as its third epoch began."""
    saving = package.callbacks.ModelCheckpoint(dirpath="saved", save_last=True)
    with pytest.raises(RuntimeError, match="power cut"):
        train(package, [EarlyStopping("loss", min_delta=100, patience=4), CSVLogger("log.csv"), Fault(2)], saving, max_epochs=9)
    return "saved/last.ckpt"


def test_state_and_history_come_back(package, train, left_checkpoint):
    """``ckpt_path`` gives callbacks their counts back; the history and the table have the epochs from before, once."""
    stopping = EarlyStopping("loss", min_delta=100, patience=4)

    conducted = train(package, [stopping, CSVLogger("log.csv"), Fault(99)], max_epochs=9, ckpt_path=left_checkpoint)

    assert [0, 1, 2, 3, 4] == conducted.history.epoch
    assert ["0", "1", "2", "3", "4"] == [line.split(",")[0] for line in Path("log.csv").read_text().splitlines()[1:]]
    assert "no improvement in loss for 4 epochs" == conducted.history.stop_reason


def test_other_callbacks_are_refused(package, train, left_checkpoint):
    """A list that the state does not fit is refused, and what differs is named."""
    with pytest.raises(StateMismatch, match="Saved, but not in the list: CSVLogger"):
        train(package, EarlyStopping("loss", min_delta=100, patience=4), max_epochs=9, ckpt_path=left_checkpoint)


def test_a_checkpoint_is_plain_data(left_checkpoint):
    """What stands in the checkpoint can be read without running code."""
    assert "jalon" in torch.load(left_checkpoint, weights_only=True)["callbacks"]


def test_a_checkpoint_from_before_jalon(package, train, make_module, make_trainer, loaders):
    """Where the checkpoint holds nothing of jalon's, callbacks begin anew, with the epoch at which Lightning goes on."""
    resumed = []
    without = package.callbacks.ModelCheckpoint(dirpath="saved", save_last=True)
    trainer, conducted = make_trainer(package, None, without, max_epochs=2)
    trainer.callbacks.remove(conducted)
    trainer.fit(make_module(package), *loaders)

    begins = LambdaCallback(on_train_begin=lambda logs: resumed.append(begins.run.resumed))
    conducted = train(package, begins, max_epochs=4, ckpt_path="saved/last.ckpt")

    assert [2, 3] == conducted.history.epoch
    assert [False] == resumed


def test_a_finished_training_has_its_history(package, train):
    """A training that is started again after its end has nothing left to train, and its history."""
    saving = package.callbacks.ModelCheckpoint(dirpath="saved", save_last=True)
    first = train(package, CSVLogger("log.csv"), saving)
    written = Path("log.csv").read_bytes()

    again = train(package, CSVLogger("log.csv"), ckpt_path="saved/last.ckpt")

    assert first.history.rows == again.history.rows
    assert written == Path("log.csv").read_bytes()


def test_a_second_fit_begins_anew(package, train):
    """The same callbacks in a second training start afresh."""
    stopping = EarlyStopping("loss", min_delta=100, patience=2)

    trainings = [train(package, stopping, max_epochs=9) for _ in range(2)]

    assert [[0, 1, 2]] * 2 == [one.history.epoch for one in trainings]


def test_going_on_in_the_middle_of_an_epoch(package, train):
    """From a checkpoint within an epoch, the epoch goes on: it is ended once, with the batches of both starts."""
    saving = package.callbacks.ModelCheckpoint(dirpath="saved", every_n_train_steps=8, save_top_k=-1)
    whole = train(package, None, saving, max_epochs=3)
    batches = []

    class Counts(Callback):
        def on_train_batch_end(self, batch, logs=None):
            batches.append((self.run.epoch, batch))

    conducted = train(package, Counts(), max_epochs=3, ckpt_path="saved/epoch=1-step=8.ckpt")

    assert whole.history.epoch == conducted.history.epoch
    assert whole.history.rows[0] == conducted.history.rows[0]
    assert (1, 2) == batches[0]
    assert 3 * 6 == conducted._session.run.step


@pytest.mark.slow
@pytest.mark.parametrize(
    "setting", ["scheduler", "steps", "several validations", "own checkpoints"], ids=lambda name: name.replace(" ", "-")
)
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
