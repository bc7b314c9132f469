"""Order, arguments and refusals of a list of callbacks."""

from __future__ import annotations

import pytest

from jalon import Callback, CallbackList
from jalon.callbacks import EarlyStopping
from jalon.core.hooks import HOOKS
from jalon.errors import ArgumentError, MissingMetric
from jalon.testing import FakeTrainer, play


class Recorder(Callback):
    """Records the hooks in which it is told something, and with what."""

    def __init__(self, label="", record=None):
        self.label = label
        self.record = [] if record is None else record


def _recording(name):
    def hook(self, *args):
        self.record.append((self.label, name, args) if self.label else (name, args))

    return hook


for _name in HOOKS:
    setattr(Recorder, _name, _recording(_name))


class First(Recorder):
    order = -1


class Last(Recorder):
    order = 10


class AddsMetric(Callback):
    def on_epoch_end(self, epoch, logs=None):
        logs["f1"] = 0.5


def named(record, hook):
    return [label for label, name, _ in record if name == hook]


def test_the_hooks_come_in_keras_order():
    """An epoch of two batches with validation reaches the hooks in Keras's order and with its arguments."""
    recorder = Recorder()

    play(recorder, [{"loss": 0.5, "val_loss": 0.6}], batches=2)

    assert [
        ("on_train_begin", ({},)),
        ("on_epoch_begin", (0, {})),
        ("on_train_batch_begin", (0, {})),
        ("on_before_optimizer_step", (0,)),
        ("on_train_batch_end", (0, {"loss": 0.5})),
        ("on_train_batch_begin", (1, {})),
        ("on_before_optimizer_step", (1,)),
        ("on_train_batch_end", (1, {"loss": 0.5})),
        ("on_test_begin", ({},)),
        ("on_test_batch_begin", (0, {})),
        ("on_test_batch_end", (0, {"loss": 0.6})),
        ("on_test_end", ({"loss": 0.6},)),
        ("on_epoch_end", (0, {"loss": 0.5, "val_loss": 0.6})),
        ("on_train_end", ({"loss": 0.5, "val_loss": 0.6},)),
    ] == recorder.record


def test_predict_has_its_hooks(begin):
    """Predict tells its beginning and its end; logs left out are an empty dict."""
    recorder = Recorder()
    told = begin(recorder)

    told.on_predict_begin()
    told.tell_batch("on_predict_batch_begin", 0, {})
    told.tell_batch("on_predict_batch_end", 0, {"outputs": [1]})
    told.on_predict_end()

    assert [
        ("on_predict_begin", ({},)),
        ("on_predict_batch_begin", (0, {})),
        ("on_predict_batch_end", (0, {"outputs": [1]})),
        ("on_predict_end", ({},)),
    ] == recorder.record


@pytest.mark.parametrize("hook", ["on_train_begin", "on_train_batch_end", "on_epoch_end", "on_train_end"])
def test_callbacks_run_by_order_then_as_listed(hook):
    """A lower order comes earlier; callbacks of one order come as listed, in every hook."""
    record = []
    listed = [Last("z", record), Recorder("b", record), First("y", record), Recorder("a", record), First("x", record)]

    play(listed, [{"loss": 0.5}])

    assert ["y", "x", "b", "a", "z"] == named(record, hook)


def test_lists_in_lists_are_taken_in():
    """A list may hold lists, tuples and lists of callbacks, and nothing at all."""
    a, b, c = Recorder("a"), Recorder("b"), Recorder("c")

    assert [a, b, c] == list(CallbackList([[a], (b, [None]), CallbackList(c)]))
    assert 0 == len(CallbackList(None))


def test_what_a_callback_adds_is_seen_by_those_after_it():
    """A key added to logs at an epoch's end reaches later callbacks and the history, and not those before."""
    record = []

    run = play([Recorder("before", record), AddsMetric(), Recorder("after", record)], [{"loss": 0.5}])

    seen = {label: sorted(args[1]) for label, name, args in record if name == "on_epoch_end" and label == "after"}
    assert {"after": ["f1", "loss"]} == seen
    assert {"loss": [0.5], "f1": [0.5]} == run.history


def test_an_added_key_does_not_reach_the_end_of_training():
    """on_train_end gets what the loop reported, without what callbacks added."""
    recorder = Recorder()

    play([AddsMetric(), recorder], [{"loss": 0.5}])

    assert ("on_train_end", ({"loss": 0.5},)) == recorder.record[-1]


def test_a_callback_need_not_call_super():
    """A subclass that doesn't call super().__init__() has model, params, run and trainer."""
    seen = {}

    class Bare(Callback):
        def __init__(self):
            pass

        def on_train_begin(self, logs=None):
            seen.update(params=self.params, rate=self.model.optimizer.learning_rate, rates=self.trainer.learning_rates())

    play(Bare(), [{"loss": 0.5}] * 3, batches=7, verbose=2)

    assert {"params": {"verbose": 2, "epochs": 3, "steps": 7}, "rate": 0.001, "rates": [0.001]} == seen


def test_a_class_is_refused():
    """A class in place of an instance is refused, with the remedy."""
    with pytest.raises(ArgumentError, match=r"pass an instance, as EarlyStopping\(\)"):
        CallbackList([EarlyStopping])


def test_something_else_is_refused():
    """What is no callback is refused, with what it lacks."""
    with pytest.raises(ArgumentError, match=r"it has no set_model and no set_params.*LambdaCallback"):
        CallbackList([print])


def test_nothing_is_told_before_begin():
    """Telling a list something before it has a run is an error, not a silence."""
    with pytest.raises(RuntimeError, match=r"begin.*comes first"):
        CallbackList([Recorder()]).on_train_begin()


def test_a_fault_names_its_callback_and_hook():
    """An exception in a callback goes up as it is, with a note that says whose it is."""

    class Broken(Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine") as caught:
        play(Broken(), [{"loss": 0.5}])

    assert ["raised in Broken.on_epoch_end"] == caught.value.__notes__


def test_a_fault_in_a_batch_hook_names_the_right_one():
    """Of several callbacks in a batch hook, the note names the one that raised."""

    class Broken(Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        play([Recorder("a"), Broken(), Recorder("b")], [{"loss": 0.5}])

    assert ["raised in Broken.on_train_batch_end"] == caught.value.__notes__


def test_a_wrong_monitor_is_refused_before_training():
    """Where the loop knows its metrics, a monitor that is none of them is refused before any hook."""
    recorder = Recorder()

    with pytest.raises(MissingMetric, match="Did you mean 'val_loss'"):
        play([EarlyStopping("val_los"), recorder], [{"loss": 0.5, "val_loss": 0.6}])

    assert [] == recorder.record


def test_a_metric_of_a_callback_before_it_may_be_monitored():
    """A callback may monitor what one before it adds, though the loop knows nothing of it."""
    stopper = EarlyStopping("f1", mode="max", patience=2)

    run = play([AddsMetric(), stopper], [{"loss": 0.5}] * 5)

    assert "no improvement in f1 for 2 epochs" == run.stop_reason


def test_a_metric_of_a_callback_after_it_is_refused():
    """A callback can't monitor what only one after it adds: that's known before training."""
    with pytest.raises(MissingMetric, match="monitors 'f1', which this training does not report"):
        play([EarlyStopping("f1", mode="max"), AddsMetric()], [{"loss": 0.5}])


def test_a_metric_that_nobody_adds_is_refused_at_the_first_epochs_end():
    """Where a callback might have added the metric and did not, the first epoch's end says so."""
    with pytest.raises(MissingMetric, match=r"which epoch 1 does not report. Reported: f1, loss"):
        play([AddsMetric(), EarlyStopping("f2", mode="max")], [{"loss": 0.5}] * 2)


def test_an_observer_adds_no_metric_that_hides_a_wrong_monitor():
    """A callback that says it adds no metrics leaves a wrong monitor after it to be known before training."""

    class Watches(Recorder):
        adds_metrics = False

    with pytest.raises(MissingMetric, match="this training"):
        play([Watches(), EarlyStopping("f1", mode="max")], [{"loss": 0.5}])


def test_a_callback_may_refuse_before_training():
    """What a callback's check_setup() raises ends it before any hook, with run and model in place."""
    recorder = Recorder()

    class Refuses(Callback):
        def check_setup(self):
            raise ArgumentError(f"{self.trainer.learning_rates()} will not do")

    with pytest.raises(ArgumentError, match=r"\[0.001\] will not do"):
        play([recorder, Refuses()], [{"loss": 0.5}])

    assert [] == recorder.record


class Lean:
    """Is no Callback, and says nothing of order, metrics or being critical."""

    def __init__(self, record):
        self.record = record

    def set_model(self, model): ...
    def set_params(self, params): ...

    def on_train_batch_end(self, batch, logs=None):
        self.record.append(("lean", type(logs).__name__, logs))

    def on_epoch_end(self, epoch, logs=None):
        self.record.append(("lean", "on_epoch_end", epoch))
        logs["f1"] = 0.5


def test_a_foreign_callback_runs_as_listed():
    """One that says nothing of its order runs where it stands in the list."""
    record = []

    play([Recorder("a", record), Lean(record), Recorder("b", record)], [{"loss": 0.5}])

    assert ["a", "lean", "b"] == named(record, "on_epoch_end")


def test_a_foreign_callback_is_taken_for_an_ordinary_one():
    """One that says nothing of itself gets plain logs, and may add a metric for those after it."""
    record = []

    run = play([Lean(record), EarlyStopping("f1", mode="max", patience=9)], [{"loss": 0.5}])

    assert ("lean", "dict", {"loss": 0.5}) == record[0]
    assert [0.5] == run.history["f1"]


def test_a_fault_in_a_foreign_callback_ends_training():
    """One that does not say it only observes decides, and what it raises goes up."""

    class Broken(Lean):
        def on_epoch_end(self, epoch, logs=None):
            raise ZeroDivisionError

        def close(self):
            raise OSError("disk")

    with pytest.raises(ZeroDivisionError) as caught:
        play(Broken([]), [{"loss": 0.5}])

    assert ["raised in Broken.on_epoch_end", "then Broken.close raised OSError: disk"] == caught.value.__notes__


def test_a_list_begins_again():
    """One list serves two runs, each with its own counters."""
    told = CallbackList(recorder := Recorder())

    first, second = (play(told, [{"loss": 0.5}]) for _ in range(2))

    assert first is not second
    assert recorder.run is second
    assert 2 == sum(name == "on_train_begin" for name, _ in recorder.record)


def test_a_direction_is_taken_from_the_metric():
    """mode="auto" takes the direction that the trainer knows."""
    trainer = FakeTrainer(metrics={"accuracy": "max"})
    stopper = EarlyStopping("accuracy", patience=2)

    play(stopper, [{"accuracy": 0.1}, {"accuracy": 0.9}, {"accuracy": 0.5}], trainer=trainer)

    assert 0.9 == stopper.best


def test_a_callback_may_keep_a_run_and_a_model_of_its_own():
    """A callback written elsewhere may assign self.run, self.model and self.trainer; it still runs, and is still credited."""

    class Elsewhere(Callback):
        def set_model(self, model):
            self.model = model

        def on_train_begin(self, logs=None):
            self.run, self.trainer = "a run of another service", None

        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = self.run == "a run of another service"

    assert "Elsewhere set model.stop_training" == play(Elsewhere(), [{"loss": 1.0}] * 3).stop_reason
