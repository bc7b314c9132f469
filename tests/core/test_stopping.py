"""Stopping has a reason."""

from __future__ import annotations

import pytest

from jalon import Callback
from jalon.testing import FakeModel, FakeTrainer, play

LOGS = [{"loss": 0.5, "val_loss": 0.6}] * 4


class StopsIn(Callback):
    """Does what it is given in the hook it is given, once."""

    def __init__(self, hook, how, name=None):
        self.name = name
        self.hooks = []
        setattr(self, hook, lambda *args: how(self))

    def on_epoch_begin(self, epoch, logs=None):
        self.hooks.append(f"epoch {epoch} begins")

    def on_test_begin(self, logs=None):
        self.hooks.append("test begins")


class ObservesAndStops(Callback):
    critical = False

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = True

    def on_train_batch_end(self, batch, logs=None):
        pass


class ListensOnly(Callback):
    def on_train_batch_end(self, batch, logs=None):
        pass

    def on_epoch_end(self, epoch, logs=None):
        pass


def by_attribute(callback):
    callback.model.stop_training = True


def by_reason(callback):
    callback.run.stop("enough seen")


@pytest.mark.parametrize("hook", ["on_train_begin", "on_train_batch_begin", "on_train_batch_end", "on_test_end", "on_epoch_end"])
def test_a_stop_ends_the_epoch_in_full(hook):
    """A stop in any hook lets this batch, the validation and on_epoch_end run, and no further epoch."""
    callback = StopsIn(hook, by_reason)

    run = play(callback, LOGS, batches=5)

    assert ["epoch 0 begins", "test begins"] == callback.hooks
    assert {"loss": [0.5], "val_loss": [0.6]} == run.history
    assert (5 if hook in ("on_test_end", "on_epoch_end") else 1) == run.step


def test_the_reason_is_kept():
    """The words given to run.stop are the run's reason."""
    assert "enough seen" == play(StopsIn("on_epoch_end", by_reason), LOGS).stop_reason


@pytest.mark.parametrize("hook", ["on_train_begin", "on_train_batch_end", "on_test_batch_end", "on_epoch_end"])
def test_a_bare_stop_is_credited(hook):
    """model.stop_training = True is credited to the callback that set it, among others that take part too."""
    run = play([ListensOnly(), StopsIn(hook, by_attribute, name="mine"), ListensOnly()], LOGS)

    assert "mine set model.stop_training" == run.stop_reason


def test_an_observer_is_credited_too():
    """An observer that sets model.stop_training is named, not the callback after it."""
    run = play([ObservesAndStops(), ListensOnly()], LOGS)

    assert "ObservesAndStops set model.stop_training" == run.stop_reason


def test_a_stop_from_outside_is_not_credited_to_a_callback():
    """A stop that the training loop itself sets is not laid to a callback that happens to listen."""

    class StopsItself(FakeTrainer):
        def step(self):
            super().step()
            watcher.run.set_stop(True)

    watcher = ListensOnly()

    assert "the training loop set model.stop_training" == play(watcher, LOGS, trainer=StopsItself()).stop_reason


def test_the_first_reason_counts():
    """Who asks for a stop second does not change the reason."""
    first, second = StopsIn("on_train_batch_end", by_reason), StopsIn("on_epoch_end", lambda cb: cb.run.stop("later"))

    assert "enough seen" == play([first, second], LOGS).stop_reason


def test_a_stop_can_be_taken_back():
    """A callback after the one that stops may set model.stop_training = False, and training goes on."""
    callbacks = [
        StopsIn("on_epoch_end", by_attribute),
        StopsIn("on_epoch_end", lambda cb: setattr(cb.model, "stop_training", False)),
    ]

    run = play(callbacks, LOGS)

    assert 4 == len(run.history["loss"])
    assert run.stop_reason is None


def test_training_that_runs_to_its_end_has_no_reason():
    """Without a stop there is no reason, and model.stop_training is False."""
    run = play(ListensOnly(), LOGS)

    assert run.stop_reason is None
    assert FakeModel(FakeTrainer(), run).stop_training is False
