"""ReduceLROnPlateau reduces the rate where Keras's does."""

from __future__ import annotations

import inspect
import json
import math
import warnings

import pytest

from jalon import CallbackList
from jalon.callbacks import EarlyStopping, ReduceLROnPlateau
from jalon.errors import ArgumentError, IneffectiveCallback, MissingMetric, OlderSpelling
from jalon.testing import FakeTrainer, play


def losses(*values):
    return [{"loss": value} for value in values]


def rates_of(reducer, *values, start=(1.0,)):
    """Return the rate in force in each epoch, and after the last."""
    trainer = FakeTrainer(learning_rates=start)
    run = play(reducer, losses(*values), trainer=trainer)
    return [*run.history["learning_rate"], trainer.learning_rates()[0]]


def test_the_arguments_are_keras_s():
    """Arguments, their order and their defaults are Keras's, and each is an attribute."""
    defaults = {
        "monitor": "val_loss",
        "factor": 0.1,
        "patience": 10,
        "verbose": 0,
        "mode": "auto",
        "min_delta": 1e-4,
        "cooldown": 0,
        "min_lr": 0.0,
    }
    reducer = ReduceLROnPlateau("loss", 0.5, 3, 1, "min", 0.25, 2, 0.125)
    parameters = inspect.signature(ReduceLROnPlateau).parameters.values()

    assert list(defaults.items()) == [
        (parameter.name, parameter.default) for parameter in parameters if parameter.kind is not parameter.KEYWORD_ONLY
    ]
    assert ("loss", 0.5, 3, 1) == (reducer.monitor, reducer.factor, reducer.patience, reducer.verbose)
    assert (2, 0.125) == (reducer.cooldown, reducer.min_lr)


def test_before_training_it_has_seen_nothing():
    """The attributes that Keras's has are there before training begins, and as before when another begins."""
    reducer = ReduceLROnPlateau("loss", patience=1, cooldown=5)
    fresh = (0, 0, None, False)

    def seen():
        return (reducer.wait, reducer.cooldown_counter, reducer.best, reducer.in_cooldown())

    assert fresh == seen()
    play(reducer, losses(1.0, 1.0))
    assert (0, 5, 1.0, True) == seen()
    play(reducer, [])
    assert fresh == seen()


def test_the_rate_falls_after_patience_epochs():
    """After patience epochs without improvement the rate is multiplied by factor, and counting starts anew."""
    reducer = ReduceLROnPlateau("loss", factor=0.5, patience=2)

    assert [1.0, 1.0, 1.0, 0.5, 0.5, 0.25] == rates_of(reducer, 1.0, 1.0, 1.0, 1.0, 1.0)


def test_an_improvement_starts_the_count_anew():
    """Only epochs in a row without improvement count."""
    reducer = ReduceLROnPlateau("loss", factor=0.5, patience=2)

    assert [1.0, 1.0, 1.0, 1.0, 1.0, 0.5] == rates_of(reducer, 3.0, 3.0, 2.0, 2.0, 2.0)


def test_a_factor_of_0_goes_to_min_lr_at_once():
    """With factor 0 the first reduction sets min_lr."""
    assert [1.0, 1.0, 0.125] == rates_of(ReduceLROnPlateau("loss", factor=0, patience=1, min_lr=0.125), 1.0, 1.0)


def test_cooldown_epochs_are_not_counted():
    """After a reduction, cooldown epochs pass before counting goes on."""
    reducer = ReduceLROnPlateau("loss", factor=0.5, patience=1, cooldown=2)

    assert [1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125] == rates_of(reducer, *[1.0] * 7)


def test_small_changes_do_not_count():
    """A metric that falls by less than min_delta an epoch is on a plateau."""
    values = [1.0 - 0.00005 * epoch for epoch in range(4)]

    assert 1.0 > rates_of(ReduceLROnPlateau("loss", patience=1), *values)[-1]
    assert 1.0 == rates_of(ReduceLROnPlateau("loss", patience=1, min_delta=0), *values)[-1]


def test_the_rate_stops_at_min_lr():
    """The rate never falls below min_lr."""
    reducer = ReduceLROnPlateau("loss", factor=0.1, patience=1, min_lr=0.05)

    assert [1.0, 1.0, 0.1, 0.05, 0.05] == rates_of(reducer, *[1.0] * 4)


def test_a_rate_at_min_lr_is_not_reduced(capsys):
    """Once at min_lr, nothing is told any more and no cooldown begins."""
    reducer = ReduceLROnPlateau("loss", patience=1, min_lr=0.5, cooldown=1, verbose=1)
    rates_of(reducer, *[1.0] * 6)

    assert 0 == reducer.cooldown_counter
    assert 1 == capsys.readouterr().out.count("reducing")


def test_a_rate_read_back_in_single_precision_is_not_reduced_again():
    """A rate that equals min_lr up to single precision counts as having arrived."""
    as_read_back = 0.0010000000474974513
    reducer = ReduceLROnPlateau("loss", patience=1, min_lr=0.001)

    assert [as_read_back] * 4 == rates_of(reducer, 1.0, 1.0, 1.0, start=(as_read_back, 1.0))


def test_each_parameter_group_keeps_its_own_rate():
    """Every group is multiplied by factor and stopped at min_lr; the first is reported."""
    trainer = FakeTrainer(learning_rates=[1.0, 0.5, 0.25])

    run = play(ReduceLROnPlateau("loss", factor=0.5, patience=1, min_lr=0.25), losses(1.0, 1.0, 1.0), trainer=trainer)

    assert [0.25, 0.25, 0.25] == trainer.learning_rates()
    assert [1.0, 1.0, 0.5] == run.history["learning_rate"]


def test_callbacks_after_it_see_the_rate():
    """The rate is in logs for those after it, and the others' metrics stay checkable before training."""
    with pytest.raises(MissingMetric, match="this training"):
        play([ReduceLROnPlateau("loss"), EarlyStopping("val_loss")], losses(1.0))


def test_nan_is_a_plateau():
    """NaN is no improvement; a first NaN does not become the best."""
    reducer = ReduceLROnPlateau("loss", factor=0.5, patience=2)

    assert [1.0, 1.0, 1.0, 1.0, 1.0] == rates_of(reducer, math.nan, 3.0, math.nan, 2.0)
    assert 2.0 == reducer.best


def test_epochs_without_the_metric_are_not_counted():
    """Epochs without validation are neither counted nor cooled down; they do report the rate."""
    script = [{"loss": 1.0, "val_loss": 1.0} if epoch % 2 else {"loss": 1.0} for epoch in range(8)]
    trainer = FakeTrainer(learning_rates=[1.0], metrics={"loss": "min", "val_loss": "min"})

    run = play(ReduceLROnPlateau(factor=0.5, patience=2), script, trainer=trainer)

    assert [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5] == run.history["learning_rate"]


def test_it_tells_what_it_does(capsys):
    """With verbose=1 each reduction is a line in Keras's words."""
    rates_of(ReduceLROnPlateau("loss", factor=0.5, patience=1, verbose=1), 1.0, 1.0, 1.0)

    assert (
        "Epoch 2: ReduceLROnPlateau reducing learning rate to 0.5.\nEpoch 3: ReduceLROnPlateau reducing learning rate to 0.25.\n"
    ) == capsys.readouterr().out


def test_by_default_it_is_silent(capsys):
    """With verbose=0 nothing is told."""
    rates_of(ReduceLROnPlateau("loss", patience=1), 1.0, 1.0)

    assert "" == capsys.readouterr().out


@pytest.mark.parametrize("rates", [[0.001], [0.001, 0.0005]])
def test_a_rate_that_can_never_fall_is_warned_of(rates):
    """A min_lr that no starting rate is above is warned of once, with a value that works."""
    reducer = ReduceLROnPlateau("loss", factor=0.2, patience=1, min_lr=0.001)
    trainer = FakeTrainer(learning_rates=rates)

    with pytest.warns(IneffectiveCallback) as caught:
        play(reducer, losses(1.0, 1.0, 1.0), trainer=trainer)

    assert [
        "JAL201 ReduceLROnPlateau(min_lr=0.001) can never reduce the learning rate: it starts at 0.001. "
        "Pass a min_lr below it, as min_lr=1e-05."
    ] == [str(warning.message) for warning in caught]
    assert rates == trainer.learning_rates()


@pytest.mark.parametrize(("rates", "min_lr"), [([0.001], 0.0005), ([0.001, 0.01], 0.001), ([], 0.001), ([0.0], 0.0)])
def test_a_rate_that_can_fall_is_not_warned_of(rates, min_lr):
    """Where one rate is above min_lr, or none is known yet, there is no warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        play(ReduceLROnPlateau("loss", min_lr=min_lr), losses(1.0), trainer=FakeTrainer(learning_rates=rates))


def test_a_trainer_without_rates_is_let_alone():
    """Where there is no rate, none is reported or reduced."""
    run = play(ReduceLROnPlateau("loss", patience=1), losses(1.0, 1.0, 1.0), trainer=FakeTrainer(learning_rates=[]))

    assert {"loss": [1.0, 1.0, 1.0]} == run.history


def test_one_instance_serves_several_trainings():
    """A second training with the same instance starts afresh."""
    reducer = ReduceLROnPlateau("loss", factor=0.5, patience=2, cooldown=3)

    assert rates_of(reducer, 1.0, 1.0, 1.0, 1.0) == rates_of(reducer, 5.0, 5.0, 5.0, 5.0)


@pytest.mark.parametrize("cut", range(1, 13))
@pytest.mark.parametrize(("patience", "cooldown", "different"), [(1, 2, 7), (3, 0, 4)])
def test_a_resume_decides_as_one_training(cut, patience, cooldown, different):
    """Cut at any epoch and gone on with its state, the rate is the same in every epoch."""
    script = losses(*[2.0] * 4, 1.0, *[1.5] * 8)

    def reducer():
        return ReduceLROnPlateau("loss", factor=0.5, patience=patience, cooldown=cooldown)

    trainer, first = FakeTrainer(), reducer()
    expected = play(reducer(), script).history["learning_rate"]
    before = play(first, script[:cut], trainer=trainer)
    state = json.loads(json.dumps(CallbackList(first).state_dict()))
    after = play(reducer(), script[cut:], first_epoch=cut, state=state, trainer=trainer)

    assert expected == before.history["learning_rate"] + after.history["learning_rate"]
    assert different == len(set(expected))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"factor": 1.0}, r"factor must be from 0 to below 1.*Received: factor=1.0"),
        ({"factor": -0.5}, r"factor must be from 0 to below 1"),
        ({"factor": math.nan}, r"factor must be a finite number"),
        ({"factor": "0.1"}, r"factor must be a finite number"),
        ({"patience": -1}, r"patience must be a whole number"),
        ({"cooldown": 0.5}, r"cooldown must be a whole number"),
        ({"min_lr": -1e-5}, r"min_lr must be 0 or more. Received: min_lr=-1e-05"),
        ({"min_lr": None}, r"min_lr must be a finite number"),
        ({"mode": "down"}, r"mode must be 'auto', 'min' or 'max'"),
    ],
)
def test_a_wrong_argument_is_an_error(arguments, message):
    """What cannot be is refused in the constructor, with what was received."""
    with pytest.raises(ArgumentError, match=rf"^ReduceLROnPlateau: .*{message}"):
        ReduceLROnPlateau(**arguments)


def test_an_unknown_argument_is_an_error():
    """A misspelt argument is a TypeError that names the nearest, where Keras swallows it."""
    with pytest.raises(TypeError, match=r"no argument 'pateince'\. Did you mean 'patience'"):
        ReduceLROnPlateau(pateince=3)


def test_the_spelling_of_keras_2():
    """Keras 2's epsilon is taken as min_delta, and one warning says so."""
    with pytest.warns(OlderSpelling, match=r"Write min_delta=0\.5") as told:
        reducer = ReduceLROnPlateau(epsilon=0.5)
    assert 1 == len(told)
    assert 0.5 == reducer.min_delta
