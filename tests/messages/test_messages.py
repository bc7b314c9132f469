"""The words of the main errors and warnings: what, where, what was received, what to do."""

from __future__ import annotations

import pytest

import jalon._optional
from jalon import Callback, CallbackList, every
from jalon.callbacks import EarlyStopping, LambdaCallback, ReduceLROnPlateau, Standardize
from jalon.core.trainer import adapter_of
from jalon.errors import (
    ArgumentError,
    CallbackDegraded,
    DataError,
    IneffectiveCallback,
    JalonError,
    JalonWarning,
    MissingMetric,
    MissingPackage,
    NotReady,
    SaveFailed,
    StateMismatch,
    UnknownName,
    suggestion,
)
from jalon.testing import FakeTrainer, play

MESSAGES = {
    "a monitor before training": (
        lambda: play(EarlyStopping("val_los"), [{"loss": 1.0, "val_loss": 1.0}]),
        MissingMetric,
        "EarlyStopping monitors 'val_los', which this training does not report. "
        "Reported: loss, val_loss. Did you mean 'val_loss'?",
    ),
    "a monitor at an epoch's end": (
        lambda: play(EarlyStopping("val_loss"), [{"loss": 1.0}], trainer=FakeTrainer(), first_epoch=2),
        MissingMetric,
        "EarlyStopping monitors 'val_loss', which epoch 3 does not report. Reported: loss. Did you mean 'loss'?",
    ),
    "a monitor where nothing is reported": (
        lambda: play(EarlyStopping("loss"), [{}], trainer=FakeTrainer()),
        MissingMetric,
        "EarlyStopping monitors 'loss', which epoch 1 does not report. Reported: nothing.",
    ),
    "a mode": (
        lambda: ReduceLROnPlateau(mode="minimise"),
        ArgumentError,
        "ReduceLROnPlateau: mode must be 'auto', 'min' or 'max'. Received: mode='minimise'.",
    ),
    "a direction": (
        lambda: play(EarlyStopping("f1"), [{"f1": 1.0}]),
        ArgumentError,
        "EarlyStopping: whether less or more of 'f1' is better cannot be told from the metric. "
        "Received: mode='auto'. Pass mode='min' or mode='max'.",
    ),
    "a patience": (
        lambda: EarlyStopping(patience=-1),
        ArgumentError,
        "EarlyStopping: patience must be a whole number, 0 or more. Received: patience=-1.",
    ),
    "a hook": (
        lambda: LambdaCallback(on_epch_end=print),
        UnknownName,
        "LambdaCallback: unknown hook 'on_epch_end'. Did you mean 'on_epoch_end'? Known: "
        "on_batch_begin, on_batch_end, on_before_optimizer_step, on_epoch_begin, on_epoch_end, on_exception, "
        "on_predict_batch_begin, on_predict_batch_end, on_predict_begin, on_predict_end, on_test_batch_begin, "
        "on_test_batch_end, on_test_begin, on_test_end, on_train_batch_begin, on_train_batch_end, on_train_begin, on_train_end.",
    ),
    "a class": (
        lambda: CallbackList(EarlyStopping),
        ArgumentError,
        "callbacks: EarlyStopping is a class. Received the class itself; pass an instance, as EarlyStopping().",
    ),
    "no callback": (
        lambda: CallbackList([5]),
        ArgumentError,
        "callbacks: 5 is not a callback; it has no set_model and no set_params. "
        "Derive its class from jalon.callbacks.Callback, or wrap a function in LambdaCallback(on_epoch_end=...).",
    ),
    "other callbacks on resume": (
        lambda: CallbackList(EarlyStopping()).load_state_dict({"ReduceLROnPlateau": {}}),
        StateMismatch,
        "The saved state belongs to other callbacks. Without a saved state: EarlyStopping. "
        "Saved, but not in the list: ReduceLROnPlateau. "
        "Resume with the callbacks of the first start, or give the changed ones a name of their own.",
    ),
    "a cadence": (
        lambda: every(epochs=1, steps=2),
        ArgumentError,
        "every: give one of epochs=, steps= or seconds=. Received: {'epochs': 1, 'steps': 2}.",
    ),
    "a cadence that never comes": (
        lambda: every(steps=0),
        ArgumentError,
        "every: steps must be a positive whole number. Received: 0.",
    ),
    "a model of another kind": (
        lambda: adapter_of(object()),
        NotReady,
        "jalon does not know how to drive a builtins.object. Train it through jalon.Model, "
        "or give it a method trainer_adapter() that returns a TrainerAdapter.",
    ),
    "a transform without data": (
        lambda: Standardize().fit_transform_begin([]),
        DataError,
        "Standardize: the training data holds no numbers. Pass some, or leave Standardize out.",
    ),
    "a package": (
        lambda: jalon._optional.require("no_such_package", extra="torch", who="jalon.Model"),
        MissingPackage,
        "jalon.Model needs 'no_such_package', which is not installed. Install it with: pip install 'jalon[torch]'",
    ),
}


@pytest.mark.parametrize("case", MESSAGES)
def test_an_error_says_all_four(case):
    """The error says what is wrong, where, what was received and what to do, in these words."""
    provoke, kind, message = MESSAGES[case]

    with pytest.raises(kind) as caught:
        provoke()

    assert message == str(caught.value)


def _every_class_below(base):
    for kind in base.__subclasses__():
        yield kind
        yield from _every_class_below(kind)


@pytest.mark.parametrize("kind", sorted(_every_class_below(JalonError), key=str))
def test_an_error_is_also_one_of_python_s(kind):
    """Each error can be caught as Python's own kind, by code that knows nothing of jalon."""
    assert any(issubclass(kind, python) for python in (ValueError, KeyError, OSError, RuntimeError, ImportError))


def test_all_warnings_have_one_base():
    """Every warning can be silenced or raised by one class."""
    assert issubclass(JalonWarning, UserWarning)
    assert {CallbackDegraded, SaveFailed, IneffectiveCallback} <= set(_every_class_below(JalonWarning))


def test_an_error_keeps_what_it_is_about():
    """What an error is about can be had from it without reading its words."""
    unknown = UnknownName("loss", "mes", ["mse", "mae"], where="Model.compile")
    missing = MissingMetric("EarlyStopping", "acc", ["loss", "accuracy"], when="epoch 1")

    assert ("mes", ("mae", "mse")) == (unknown.name, unknown.known)
    assert ("acc", ("accuracy", "loss")) == (missing.monitor, missing.available)


@pytest.mark.parametrize(
    ("name", "near"), [("val_acuracy", "val_accuracy"), ("LOSS", "loss"), ("ADAM", "Adam"), ("xyz", None), ("", None)]
)
def test_only_a_near_name_is_suggested(name, near):
    """The nearest name is suggested, whatever its capitals; none where all are far."""
    assert (f" Did you mean {near!r}?" if near else "") == suggestion(name, ["loss", "val_accuracy", "Adam"])


def test_a_warning_points_at_who_can_help(recwarn):
    """A degraded observer is named in the warning, with its hook and its error."""

    class Watcher(Callback):
        critical = False

        def on_epoch_end(self, epoch, logs=None):
            raise OSError("no space left")

    play(Watcher(), [{"loss": 1.0}])

    assert (
        "Watcher.on_epoch_end failed: OSError: no space left. Watcher only observes: training goes on, and it is asked again."
        == str(recwarn.pop().message)
    )
