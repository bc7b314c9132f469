"""Observers: what they do wrong ends no training and changes nothing."""

from __future__ import annotations

import warnings

import pytest

from jalon import Callback
from jalon.errors import CallbackDegraded
from jalon.testing import play

LOGS = [{"loss": 0.5}] * 3


class Faulty(Callback):
    """Observes, and fails in the hook it is given."""

    critical = False

    def __init__(self, hook="on_epoch_end", exc=None, name=None):
        self.name = name
        self.asked = 0
        self.exc = exc or OSError("no space left")
        setattr(self, hook, self.fail)

    def fail(self, *args):
        self.asked += 1
        raise self.exc


class Tampering(Callback):
    critical = False

    def on_epoch_end(self, epoch, logs=None):
        logs["loss"] = -1.0
        logs["extra"] = 1.0


@pytest.mark.parametrize("hook", ["on_train_begin", "on_epoch_end", "on_train_batch_end", "on_test_end", "on_train_end"])
def test_training_goes_on(hook):
    """An exception in an observer, in any hook, ends nothing."""
    with pytest.warns(CallbackDegraded):
        run = play(Faulty(hook), [{"loss": 0.5, "val_loss": 0.5}] * 3)

    assert [0.5] * 3 == run.history["loss"]


@pytest.mark.parametrize("hook", ["on_epoch_end", "on_train_batch_end"])
def test_it_is_warned_of_once_and_asked_again(hook):
    """One warning, by name, for all the failures of an observer, which is asked each time."""
    faulty = Faulty(hook, name="my log")

    with pytest.warns(CallbackDegraded) as caught:
        run = play(faulty, LOGS)

    assert [f"my log.{hook} failed: OSError: no space left. my log only observes: training goes on, and it is asked again."] == [
        str(warning.message) for warning in caught
    ]
    assert 3 == faulty.asked
    assert {"my log": "OSError: no space left"} == run.degraded


def test_two_of_one_class_are_told_apart():
    """Each failing observer has its own warning and its own entry."""
    with pytest.warns(CallbackDegraded) as caught:
        run = play([Faulty(), Faulty()], LOGS)

    assert 2 == len(caught)
    assert ["Faulty", "Faulty#2"] == sorted(run.degraded)


def test_it_has_logs_of_its_own():
    """What an observer writes into logs, neither other callbacks nor the history see."""
    run = play(Tampering(), LOGS)

    assert {"loss": [0.5, 0.5, 0.5]} == run.history


@pytest.mark.parametrize("hook", ["on_epoch_end", "on_train_batch_end"])
@pytest.mark.parametrize("exc", [KeyboardInterrupt, SystemExit])
def test_ctrl_c_in_an_observer_ends_training(hook, exc):
    """Ctrl-C is no failure of the observer in which it happens to strike."""
    with pytest.raises(exc):
        play(Faulty(hook, exc()), LOGS)


def test_nothing_degraded_is_nothing_said():
    """A training in which every observer does its work gives no warning and has an empty record."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = play(Tampering(), LOGS)

    assert {} == run.degraded
