"""LearningRateScheduler sets the rate that Keras's sets."""

from __future__ import annotations

import functools
import inspect
import json
import math

import numpy as np
import pytest
import torch

import jalon
from jalon import Callback, CallbackList
from jalon.callbacks import EarlyStopping
from jalon.callbacks.learning_rate_scheduler import LearningRateScheduler
from jalon.errors import ArgumentError, MissingMetric
from jalon.testing import FakeTrainer, play

SCRIPT = [{"loss": 1.0}] * 3


class OfEpoch:
    def __call__(self, epoch):
        return 1.0 / (1 + epoch)

    def method(self, epoch, lr):
        return lr / 2


class WithoutSignature:
    __signature__ = "none"

    def __call__(self, *args):
        return {1: 1.0, 2: 0.25}[len(args)]


def rates_of(schedule, trainer=None):
    return play(LearningRateScheduler(schedule), SCRIPT, trainer=trainer or FakeTrainer(learning_rates=[1.0])).history[
        "learning_rate"
    ]


def test_the_arguments_are_keras_s():
    """Arguments, their order and their defaults are Keras's, and each is an attribute."""
    scheduler = LearningRateScheduler(round, 1)
    parameters = inspect.signature(LearningRateScheduler).parameters.values()

    assert [("schedule", inspect.Parameter.empty), ("verbose", 0)] == [(each.name, each.default) for each in parameters]
    assert (round, 1) == (scheduler.schedule, scheduler.verbose)


@pytest.mark.parametrize(
    "schedule",
    [
        lambda epoch, lr: lr / 2,
        lambda epoch, lr=1.0: lr / 2,
        lambda *args: args[1] / 2,
        functools.partial(lambda factor, epoch, lr: lr * factor, 0.5),
        OfEpoch().method,
    ],
)
def test_a_function_of_two_gets_the_rate(schedule):
    """A schedule that can take two arguments gets the epoch and the rate in force."""
    assert [0.5, 0.25, 0.125] == rates_of(schedule)


@pytest.mark.parametrize("schedule", [lambda epoch: 1.0 / (1 + epoch), lambda epoch, *, base=1.0: base / (1 + epoch), OfEpoch()])
def test_a_function_of_one_gets_the_epoch(schedule):
    """A schedule that can take one argument alone gets the epoch, counted from 0."""
    assert [1.0, 1.0 / 2, 1.0 / 3] == rates_of(schedule)


def test_a_function_whose_arguments_are_not_known_gets_both():
    """Where a schedule has no signature, it is called with two arguments."""
    assert [0.25, 0.25, 0.25] == rates_of(WithoutSignature())


def test_an_error_of_the_schedule_comes_through():
    """A TypeError in a schedule is shown as it is, and the schedule is called once."""
    calls = []

    def broken(epoch, lr=None):
        calls.append((epoch, lr))
        return lr + "0.1"

    with pytest.raises(TypeError, match="unsupported operand"):
        rates_of(broken)
    assert [(0, 1.0)] == calls


@pytest.mark.parametrize(
    "value",
    [0.5, np.float32(0.5), np.float64(0.5), np.array(0.5), torch.tensor(0.5), torch.tensor(0.5, requires_grad=True).bfloat16()],
)
def test_a_float_of_any_framework_is_a_rate(value):
    """Floats, and arrays and tensors of one, become the rate; what is reported is a Python float."""
    rates = rates_of(lambda epoch: value)

    assert [0.5] * 3 == rates
    assert [float] * 3 == list(map(type, rates))


@pytest.mark.parametrize(
    "value", [1, True, None, "0.5", np.int64(1), np.array(1), torch.tensor(1), np.array([0.5, 0.5]), [0.5], math.nan, math.inf]
)
def test_what_is_no_float_is_an_error(value):
    """A schedule that returns an int, or anything else that is no single finite float, is refused in Keras's words."""
    expected = r"^LearningRateScheduler: The output of the `schedule` function should be a float. Got: "
    trainer = FakeTrainer()

    with pytest.raises(ArgumentError, match=expected) as caught:
        rates_of(lambda epoch: value, trainer)
    assert f"Got: {value!r}. Return the rate, as 0.001." in str(caught.value)
    assert [0.001] == trainer.learning_rates()


def test_every_parameter_group_gets_a_rate_of_its_own():
    """The schedule is called for each group with the group's own rate, so that their ratio stays."""
    trainer = FakeTrainer(learning_rates=[1.0, 0.25])

    assert [0.5, 0.25, 0.125] == rates_of(lambda epoch, lr: lr / 2, trainer)
    assert [0.125, 0.03125] == trainer.learning_rates()


def test_without_a_rate_it_cannot_work():
    """An optimizer without a rate is an error in Keras's words."""
    with pytest.raises(ArgumentError, match=r'^LearningRateScheduler: Optimizer must have a "learning_rate" attribute\.'):
        rates_of(lambda epoch: 1.0, FakeTrainer(learning_rates=[]))


def test_the_rates_are_reported_under_the_trainer_s_names():
    """What an epoch reports of the rates is what the trainer calls them, for the callbacks after it too."""

    class TwoOptimizers(FakeTrainer):
        def reported_rates(self):
            return dict(zip(["learning_rate_sgd", "learning_rate_adam"], self.learning_rates(), strict=True))

    class Sees(Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.logs = dict(logs)

    sees = Sees()
    play([LearningRateScheduler(lambda epoch: 0.5), sees], SCRIPT[:1], trainer=TwoOptimizers(learning_rates=[1.0, 1.0]))

    assert {"loss": 1.0, "learning_rate_sgd": 0.5, "learning_rate_adam": 0.5} == sees.logs


def test_hooks_without_logs():
    """The end of an epoch may come without logs."""
    LearningRateScheduler(lambda epoch: 0.5).on_epoch_end(0)


def test_metrics_of_others_stay_checkable():
    """What it reports is no metric, so that a misspelt one of the others is found before training."""
    with pytest.raises(MissingMetric, match="this training"):
        play([LearningRateScheduler(lambda epoch: 0.5), EarlyStopping("val_loss")], SCRIPT)


def test_it_tells_what_it_does(capsys):
    """With verbose=1 each rate is a line in Keras's words, else nothing is told."""
    play(LearningRateScheduler(lambda epoch: 1.0 / (1 + epoch), verbose=1), SCRIPT[:2])
    told = capsys.readouterr().out
    play(LearningRateScheduler(lambda epoch: 1.0), SCRIPT)

    assert [
        f"Epoch {epoch}: LearningRateScheduler setting learning rate to {1 / epoch}." for epoch in (1, 2)
    ] == told.splitlines()
    assert "" == capsys.readouterr().out


def test_one_instance_serves_several_trainings():
    """A second training begins with the schedule's first epoch."""
    scheduler = LearningRateScheduler(lambda epoch, lr: lr / 2)
    trainer = FakeTrainer(learning_rates=[1.0])
    play(scheduler, SCRIPT[:1], trainer=trainer)
    play(scheduler, SCRIPT[:1], trainer=trainer)

    assert [0.25] == trainer.learning_rates()


def test_an_epoch_gone_on_with_keeps_its_rate():
    """After a resume within an epoch the schedule is not applied to it a second time, but to the next one."""

    class Cut(Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.state = json.loads(json.dumps(CallbackList(first).state_dict()))

    trainer, cut = FakeTrainer(learning_rates=[1.0]), Cut()
    first, second = LearningRateScheduler(lambda epoch, lr: lr / 2), LearningRateScheduler(lambda epoch, lr: lr / 2)
    play([first, cut], SCRIPT[:1], trainer=trainer)
    run = play(second, SCRIPT, trainer=trainer, state=cut.state)

    assert [0.5, 0.25, 0.125] == run.history["learning_rate"]


@pytest.mark.parametrize("done", [1, 2])
def test_a_resume_between_epochs_goes_on(done):
    """Cut after an epoch and gone on with its state, the rates are those of one training."""
    trainer, first, second = FakeTrainer(), *(LearningRateScheduler(lambda epoch, lr: lr / 2) for _ in range(2))
    before = play(first, SCRIPT[:done], trainer=trainer)
    state = CallbackList(first).state_dict()
    after = play(second, SCRIPT[done:], trainer=trainer, first_epoch=done, state=state)

    assert [0.0005, 0.00025, 0.000125] == before.history["learning_rate"] + after.history["learning_rate"]


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (0.1, r"schedule must be a function of the epoch, or of the epoch and the rate. Received: schedule=0.1."),
        (lambda: 0.1, r"schedule must take the epoch, or the epoch and the rate, by position. Received: a function of \(\)."),
        (lambda a, b, c: 0.1, r"schedule must take .* Received: a function of \(a, b, c\)."),
        (lambda epoch, *, lr: 0.1, r"schedule must take .* Received: a function of \(epoch, \*, lr\)."),
    ],
)
def test_a_wrong_schedule_is_an_error(schedule, message):
    """What cannot be called with an epoch is refused in the constructor."""
    with pytest.raises(ArgumentError, match=f"^LearningRateScheduler: {message}"):
        LearningRateScheduler(schedule)


def test_a_torch_training():
    """Under jalon.Model the rate that torch trains with is the schedule's."""
    network = torch.nn.Linear(2, 1)
    model = jalon.Model(network).compile(torch.optim.SGD(network.parameters(), lr=1.0), "mse")
    x, y = np.ones((4, 2), "float32"), np.ones((4, 1), "float32")
    scheduler = LearningRateScheduler(lambda epoch, lr: torch.tensor(lr) * 0.125)
    history = model.fit(x, y, epochs=2, verbose=0, callbacks=[scheduler])

    assert [0.125, 0.015625] == history.history["learning_rate"]
    assert 0.015625 == model.optimizer.torch.param_groups[0]["lr"]
