"""TerminateOnNaN ends training where Keras's ends it."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest
import torch

import jalon
from jalon import Callback
from jalon.callbacks.terminate_on_nan import TerminateOnNaN
from jalon.testing import play

INVALID = [math.nan, math.inf, -math.inf, np.float32("nan"), np.array(math.inf), torch.tensor(math.nan)]
SCRIPT = [{"loss": 0.5}] * 3


class Witness(Callback):
    """Notes which ends are reached."""

    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(batch)

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append("epoch end")

    def on_train_end(self, logs=None):
        self.seen.append("train end")

    def close(self):
        self.seen.append("close")


def turning(bad, *, at):
    """Return batch logs whose loss is ``bad`` from one batch of the first epoch on."""
    return lambda epoch, batch: {"loss": 0.5 if batch < at else bad}


def test_the_arguments_are_keras_s():
    """The argument and its default are Keras's, and it is an attribute."""
    parameters = inspect.signature(TerminateOnNaN).parameters.values()

    assert [("raise_error", False)] == [(parameter.name, parameter.default) for parameter in parameters]
    assert TerminateOnNaN(True).raise_error


@pytest.mark.parametrize("bad", INVALID)
def test_an_invalid_loss_ends_training(bad, capsys):
    """After a batch whose loss is NaN or infinite no other is trained; the ends are reached as after any stop."""
    witness = Witness()
    run = play([TerminateOnNaN(), witness], SCRIPT, batches=5, batch_logs=turning(bad, at=2))

    assert [0, 1, 2, "epoch end", "train end", "close"] == witness.seen
    assert f"loss is {float(bad)} at batch 2" == run.stop_reason
    assert "Batch 2: Invalid loss, terminating training\n" == capsys.readouterr().out


@pytest.mark.parametrize("bad", INVALID)
def test_an_invalid_loss_is_an_error_if_wanted(bad, capsys):
    """With raise_error an invalid loss is a RuntimeError in Keras's words; what was opened is closed all the same."""
    witness = Witness()
    expected = f"^NaN or Inf loss encountered at batch 1. Loss value: {float(bad)}. Terminating training immediately."

    with pytest.raises(RuntimeError, match=expected):
        play([witness, TerminateOnNaN(raise_error=True)], SCRIPT, batches=5, batch_logs=turning(bad, at=1))
    assert [0, 1, "close"] == witness.seen
    assert "" == capsys.readouterr().out


@pytest.mark.parametrize("raise_error", [False, True])
@pytest.mark.parametrize("logs", [{"loss": 1e300}, {"loss": 0.0}, {"loss": -1.0}, {"accuracy": math.nan}, {}])
def test_a_valid_loss_changes_nothing(logs, raise_error):
    """A finite loss, other metrics, and batches without a loss are let alone."""
    run = play(TerminateOnNaN(raise_error), SCRIPT, batch_logs=lambda epoch, batch: logs)

    assert {"loss": [0.5] * 3} == run.history
    assert run.stop_reason is None


def test_validation_is_let_alone():
    """An invalid loss of the validation ends nothing."""
    run = play(TerminateOnNaN(raise_error=True), [{"loss": 0.5, "val_loss": math.nan}] * 2)

    assert [0.5, 0.5] == run.history["loss"]


def test_hooks_without_logs():
    """A batch may come without logs."""
    TerminateOnNaN(raise_error=True).on_train_batch_end(0)


def test_a_torch_training():
    """Under jalon.Model a training that diverges ends in its first epoch."""
    network = torch.nn.Linear(2, 1)
    model = jalon.Model(network).compile(torch.optim.SGD(network.parameters(), lr=1e30), "mse")
    x, y = np.ones((32, 2), "float32"), np.full((32, 1), 5, "float32")
    history = model.fit(x, y, batch_size=2, epochs=5, verbose=0, callbacks=[TerminateOnNaN()])

    assert 1 == len(history.history["loss"])
    assert not math.isfinite(history.history["loss"][0])
