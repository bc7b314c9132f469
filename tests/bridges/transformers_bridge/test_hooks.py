"""Which hooks are reached in the loops of transformers' Trainer, and when."""

from __future__ import annotations

from collections import Counter

import pytest
from transformers import EarlyStoppingCallback, Trainer

import jalon
from jalon import Callback
from jalon.callbacks import BackupAndRestore, EarlyStopping, Standardize, TimeLimit
from jalon.core.hooks import HOOKS
from jalon.errors import ArgumentError, HookNotReached, MissingMetric

STEPS = 6


class Diary(Callback):
    """Notes which hooks are reached, and what they are told."""

    optional_hooks = frozenset({"on_test_batch_begin", "on_predict_batch_begin"})

    def __init__(self):
        self.lines = []
        self.logs = []

    def told(self, name):
        return [entry[1:] for entry in self.logs if entry[0] == name]


def _note(name):
    def hook(self, *args):
        self.lines.append(name)
        self.logs.append((name, *args))

    return hook


for _name in HOOKS:
    setattr(Diary, _name, _note(_name))
Diary.close = lambda self: self.lines.append("close")

EPOCH = [
    "on_epoch_begin",
    *["on_train_batch_begin", "on_before_optimizer_step", "on_train_batch_end"] * STEPS,
    "on_test_begin",
    *["on_test_batch_end"] * 2,
    "on_test_end",
    "on_epoch_end",
]


class Failing(Trainer):
    """Fails at its third step."""

    fault: BaseException = RuntimeError("the data are odd")

    def training_step(self, *args, **kwargs):
        if self.state.global_step == 2:
            raise self.fault
        return super().training_step(*args, **kwargs)


def test_hooks_come_in_the_order_of_the_contract(train):
    """A training reaches every hook in its order, and closes at the end; the epoch ends after its evaluation."""
    diary = Diary()

    train(diary, num_train_epochs=2)

    assert ["on_train_begin", *EPOCH, *EPOCH, "on_train_end", "close"] == diary.lines


def test_batches_are_optimizer_steps(train):
    """The batches of one optimizer step count as one batch, numbered from 0 in each epoch."""
    diary = Diary()

    conducted = train(diary, num_train_epochs=2, gradient_accumulation_steps=4)

    assert [0, 1, 0, 1] == [batch for batch, _ in diary.told("on_train_batch_end")]
    assert [0, 1, 2, 3] == [step for (step,) in diary.told("on_before_optimizer_step")]
    assert {"verbose": 1, "epochs": 2, "steps": 2} == diary.params
    assert 4 == conducted._session.run.step
    assert 4 * 64 == conducted._session.run.batch_size


def test_evaluation_by_steps(train):
    """Evaluations by steps are told of as they come; the epoch ends with the metrics of its last one."""
    diary = Diary()

    train(diary, num_train_epochs=1, eval_strategy="steps", eval_steps=2)

    validated = [logs["loss"] for (logs,) in diary.told("on_test_end")]
    assert 3 == len(set(validated))
    assert [validated[-1]] == [logs["val_loss"] for _, logs in diary.told("on_epoch_end")]


def test_no_evaluation(train):
    """Without evaluation the epoch ends where the trainer says so, and reports no ``val_`` metric."""
    diary = Diary()

    conducted = train(diary, eval_strategy="no")

    assert {"loss"} == conducted.history.history.keys()
    assert 3 == Counter(diary.lines)["on_epoch_end"]


def test_max_steps_cut_the_last_epoch_short(train):
    """With ``max_steps`` the last epoch ends where they do."""
    diary = Diary()

    train(diary, max_steps=8)

    assert [*range(6), 0, 1] == [batch for batch, _ in diary.told("on_train_batch_end")]
    assert [0, 1] == [epoch for epoch, _ in diary.told("on_epoch_end")]


def test_evaluate_and_predict(make_trainer, digits):
    """``evaluate`` and ``predict`` reach their hooks without a training, and close."""
    diary = Diary()
    trainer, _ = make_trainer(diary)

    measured = trainer.evaluate(metric_key_prefix="held_out")
    trainer.predict(digits[:64])

    told = diary.told("on_test_end")
    evaluate = ["on_test_begin", "on_test_batch_end", "on_test_batch_end", "on_test_end", "close"]
    assert [*evaluate, "on_predict_begin", "on_predict_batch_end", "on_predict_end", "close"] == diary.lines
    assert [({"loss": measured["held_out_loss"]},)] == told


def test_several_data_sets_are_one_evaluation(train, make_trainer, digits):
    """Several data sets to evaluate on are one validation, and the epoch ends after all of them."""
    diary = Diary()
    trainer, conducted = make_trainer(diary, num_train_epochs=1)
    trainer.eval_dataset = {"odd": digits[384:448], "even": digits[448:]}

    trainer.train()

    assert 1 == Counter(diary.lines)["on_test_end"]
    assert {"loss", "val_odd_loss", "val_even_loss"} == conducted.history.history.keys()


@pytest.mark.parametrize("fault", [RuntimeError("the data are odd"), KeyboardInterrupt()], ids=["error", "Ctrl-C"])
def test_a_fault_reaches_everybody(make_trainer, fault):
    """An exception in ``train``, Ctrl-C too, reaches ``on_exception`` and ``close``, and goes up."""
    diary = Diary()
    trainer, _ = make_trainer(diary, kind=Failing)
    trainer.fault = fault

    with pytest.raises(type(fault)) as caught:
        trainer.train()
    assert ["on_exception", "close"] == diary.lines[-2:]
    assert caught.value is diary.logs[-1][1]
    assert "training_step" not in vars(trainer)


def test_a_fault_in_an_evaluation_reaches_everybody(make_trainer):
    """An exception in ``evaluate`` alone reaches ``on_exception`` and ``close``."""
    diary = Diary()
    trainer, _ = make_trainer(diary)
    trainer.compute_metrics = lambda prediction: 1 / 0

    with pytest.raises(ZeroDivisionError):
        trainer.evaluate()
    assert ["on_exception", "close"] == diary.lines[-2:]


def test_a_fault_in_a_callback_names_it(train):
    """A monitor that nothing reports ends the training, and everybody is told."""
    diary = Diary()

    with pytest.raises(MissingMetric, match="Did you mean 'val_loss'"):
        train([diary, EarlyStopping("eval_loss")])
    assert ["on_exception", "close"] == diary.lines[-2:]


def test_a_hook_that_is_never_reached_is_said(train):
    """Who waits for the beginning of an evaluation's batch is told that it is never reached, and what to use instead."""

    class Waits(Callback):
        def on_test_batch_begin(self, batch, logs=None): ...

    with pytest.warns(HookNotReached, match=r"Waits overrides on_test_batch_begin, .* Use on_test_batch_end"):
        train(Waits(), num_train_epochs=1)


@pytest.mark.parametrize(
    ("callback", "said"),
    [
        (BackupAndRestore("backup"), r"save_strategy='epoch'.*resume_from_checkpoint=True"),
        (Standardize(), r"Standardize prepares batches.*data_collator"),
        (TimeLimit(hours=1), r"cannot be left and gone on with"),
    ],
)
def test_what_cannot_work_is_refused_at_the_start(train, callback, said):
    """What the trainer cannot give is refused before the first batch, with what to do instead."""
    with pytest.raises(ArgumentError, match=said):
        train(callback)


def test_two_lists_are_refused(train):
    """All callbacks stand in one list, so that their order is told."""
    with pytest.raises(ArgumentError, match="Pass all callbacks to one"):
        train(None, jalon.bridges.transformers(None))


def test_trainers_without_a_list_are_as_they_were(make_trainer):
    """A trainer without jalon's callbacks trains as if the bridge were not there."""
    trainer, conducted = make_trainer(None, num_train_epochs=1)
    trainer.remove_callback(conducted)

    assert STEPS == trainer.train().global_step
    assert {"eval_loss", "eval_runtime"} <= trainer.evaluate().keys()


def test_the_trainers_own_stop_is_in_the_history(train):
    """Where another callback ends the training, the history says that somebody did."""
    options = {"metric_for_best_model": "loss", "greater_is_better": True, "save_strategy": "epoch", "num_train_epochs": 9}

    conducted = train(None, EarlyStoppingCallback(1), load_best_model_at_end=True, **options)

    assert "should_training_stop was set" == conducted.history.stop_reason
