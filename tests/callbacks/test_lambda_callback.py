"""LambdaCallback: functions as hooks."""

from __future__ import annotations

import pytest

from jalon.callbacks import EarlyStopping, LambdaCallback
from jalon.core.hooks import HOOKS
from jalon.errors import ArgumentError, MissingMetric, UnknownName
from jalon.testing import play

SCRIPT = [{"loss": 0.5, "val_loss": 0.6}]
REACHED = [name for name in HOOKS if "predict" not in name and name != "on_exception"]


@pytest.mark.parametrize("name", REACHED)
def test_any_hook_may_be_given(name):
    """A function under the name of a hook is called in that hook, with its arguments by position."""
    calls = []

    play(LambdaCallback(**{name: lambda *args: calls.append(args)}), SCRIPT)

    assert [len(HOOKS[name].arguments)] == [len(args) for args in calls]


def test_a_fault_is_told_to_a_function_too():
    """on_exception may be a function."""
    seen = []

    def fail(epoch, logs):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        play([LambdaCallback(on_epoch_end=fail), LambdaCallback(on_exception=seen.append)], SCRIPT)

    assert [ZeroDivisionError] == list(map(type, seen))


def test_arguments_come_by_position():
    """A function may name its arguments as it likes."""
    seen = []

    play(
        LambdaCallback(
            on_train_batch_begin=lambda number, what: seen.append((number, what)),
            on_train_batch_end=lambda i, metrics: seen.append((i, metrics)),
            on_train_end=lambda last: seen.append(last),
        ),
        SCRIPT,
    )

    assert [(0, {}), (0, {"loss": 0.5}), {"loss": 0.5, "val_loss": 0.6}] == seen


def test_the_six_of_keras_by_position():
    """Keras's six arguments may be given by position."""
    seen = []
    names = ["on_epoch_begin", "on_epoch_end", "on_train_begin", "on_train_end", "on_train_batch_begin", "on_train_batch_end"]

    play(LambdaCallback(*[lambda *args, name=name: seen.append(name) for name in names]), SCRIPT)

    assert sorted(names) == sorted(seen)


@pytest.mark.parametrize("name", ["on_batch_begin", "on_batch_end"])
def test_older_names_are_known(name):
    """The older names of the batch hooks are reached once a batch."""
    calls = []

    play(LambdaCallback(**{name: lambda batch, logs: calls.append(batch)}), SCRIPT, batches=3)

    assert [0, 1, 2] == calls


def test_what_it_adds_is_seen():
    """A function may add a metric that a callback after it monitors."""
    add = LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(f1=1.0))

    run = play([add, EarlyStopping("f1", mode="max", patience=2)], SCRIPT * 5)

    assert "no improvement in f1 for 2 epochs" == run.stop_reason


def test_without_an_epoch_end_it_adds_nothing():
    """Where it has nothing to do at an epoch's end, a wrong monitor after it is known before training."""
    with pytest.raises(MissingMetric, match="this training"):
        play([LambdaCallback(on_train_begin=print), EarlyStopping("f1", mode="max")], SCRIPT)


def test_a_misspelt_hook_is_an_error():
    """A name that is no hook is refused, with the nearest that is."""
    with pytest.raises(UnknownName, match=r"^LambdaCallback: unknown hook 'on_epch_end'. Did you mean 'on_epoch_end'\?"):
        LambdaCallback(on_epch_end=print)


def test_a_misspelt_hook_set_to_nothing_is_an_error_too():
    """A wrong name is refused although its value is None."""
    with pytest.raises(UnknownName, match="on_start"):
        LambdaCallback(on_start=None)


@pytest.mark.parametrize("value", [3, "print", [print]])
def test_what_cannot_be_called_is_an_error(value):
    """A value that is no function is refused where it is given."""
    with pytest.raises(ArgumentError, match=r"^LambdaCallback: on_test_begin must be a function. Received: on_test_begin="):
        LambdaCallback(on_test_begin=value)


def test_one_hook_under_two_names_is_an_error():
    """Two functions for one hook are refused: only one would be called."""
    with pytest.raises(ArgumentError, match=r"on_batch_end is another name of on_train_batch_end. Pass one of the two"):
        LambdaCallback(on_batch_end=print, on_train_batch_end=print)
