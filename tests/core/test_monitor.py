"""Monitor: one metric compared with its best so far."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jalon.core.monitor import Monitor
from jalon.errors import ArgumentError, MissingMetric
from jalon.testing import FakeTrainer

values = st.floats(width=32, allow_nan=True, allow_infinity=True)
deltas = st.floats(min_value=0, max_value=100, width=32)
modes = st.sampled_from(["min", "max"])


def reference_bests(series, mode, min_delta):
    """Return the best after each value, by its definition, "max" turned into "min"."""
    sign = 1 if mode == "min" else -1
    bests, best = [], None
    for value in series:
        if not math.isnan(value) and (best is None or not best <= value * sign + min_delta):
            best = value * sign
        bests.append(None if best is None else best * sign)
    return bests


@given(series=st.lists(values), mode=modes, min_delta=deltas)
@example(series=[math.nan, 1.0, math.nan, 2.0], mode="min", min_delta=0.0)
@example(series=[math.inf, 1.0, -math.inf, math.inf], mode="min", min_delta=0.5)
@example(series=[-math.inf, math.inf], mode="max", min_delta=0.0)
@example(series=[1.0, 1.0], mode="max", min_delta=0.0)
def test_the_best_is_what_the_definition_says(series, mode, min_delta):
    """The best after each value is the last that beat the one before by more than min_delta; NaN never does."""
    monitor = Monitor("m", mode=mode, min_delta=min_delta, who="test")

    bests = []
    for value in series:
        monitor.improved(value)
        bests.append(monitor.best)

    assert reference_bests(series, mode, min_delta) == bests


@given(series=st.lists(st.floats(allow_nan=False, allow_infinity=False, width=16), min_size=1), mode=modes)
def test_the_best_is_the_extreme(series, mode):
    """Without min_delta the best is the least value, or the greatest."""
    monitor = Monitor("m", mode=mode, who="test")
    for value in series:
        monitor.improved(value)

    assert (min if mode == "min" else max)(series) == monitor.best


@given(value=values, best=st.none() | values, mode=modes, min_delta=deltas)
def test_min_delta_has_no_sign(value, best, mode, min_delta):
    """A negative min_delta means the same as a positive one, as in Keras."""
    plus, minus = (Monitor("m", mode=mode, min_delta=delta, who="test") for delta in (min_delta, -min_delta))

    assert plus.improves(value, best) == minus.improves(value, best)


@pytest.mark.parametrize("mode", ["min", "max"])
def test_equal_is_not_better(mode):
    """A value that equals the best is no improvement."""
    monitor = Monitor("m", mode=mode, best=1.0, who="test")

    assert not monitor.improved(1.0)


@pytest.mark.parametrize(("mode", "just", "more"), [("min", 0.75, 0.5), ("max", 1.25, 1.5)])
def test_a_change_of_exactly_min_delta_is_not_enough(mode, just, more):
    """An improvement has to exceed min_delta."""
    monitor = Monitor("m", mode=mode, min_delta=0.25, best=1.0, who="test")

    assert not monitor.improved(just)
    assert monitor.improved(more)


def test_a_first_nan_does_not_become_the_best():
    """After NaN at first, the next number is the best."""
    monitor = Monitor("m", mode="min", who="test")

    assert not monitor.improved(math.nan)
    assert monitor.improved(5.0)


def test_a_value_to_beat_counts_from_the_start():
    """With a best given, the first value has to beat it."""
    monitor = Monitor("m", mode="max", best=0.5, who="test")

    assert [False, True, False] == [monitor.improved(value) for value in (0.4, 0.6, 0.55)]


def test_a_restart_forgets():
    """For a new training the best is forgotten, and so is a direction that came from the metric."""
    monitor = Monitor("accuracy", who="test")
    monitor.read({"accuracy": 0.5}, FakeTrainer(metrics={"accuracy": "max"}), epoch=0)
    monitor.improved(0.5)
    monitor.restart()

    assert (None, None) == (monitor.best, monitor.direction)


def test_a_restart_forgets_that_the_metric_was_there():
    """In a new training the metric has to be reported anew."""
    monitor = Monitor("loss", who="test")
    monitor.read({"loss": 0.5}, FakeTrainer(), epoch=0)
    monitor.restart()

    with pytest.raises(MissingMetric):
        monitor.read({}, FakeTrainer(), epoch=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": ""}, "monitor must be the name of a metric"),
        ({"name": None}, "monitor must be the name of a metric"),
        ({"name": ["loss"]}, "monitor must be the name of a metric"),
        ({"mode": "minimum"}, "mode must be 'auto', 'min' or 'max'. Received: mode='minimum'"),
        ({"mode": None}, "Received: mode=None"),
        ({"min_delta": "big"}, "min_delta must be a number. Received: min_delta='big'"),
        ({"best": "good"}, "the value to beat must be a number. Received: 'good'"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    """A wrong name, mode or number is an error that says who was asked and what was received."""
    with pytest.raises(ArgumentError, match=f"^MyCallback: .*{message}"):
        Monitor(**{"name": "loss", "who": "MyCallback"} | arguments)


@pytest.mark.parametrize(("metric", "direction"), [("loss", "min"), ("val_loss", "min"), ("accuracy", "max"), ("error", "min")])
def test_auto_asks_the_trainer(metric, direction):
    """mode="auto" takes the direction from the metric."""
    trainer = FakeTrainer(metrics={"accuracy": "max", "error": "min"})

    assert direction == Monitor(metric, who="test").settle(trainer)


def test_a_mode_told_is_kept():
    """A direction that the user gives wins over the metric's."""
    assert "min" == Monitor("accuracy", mode="min", who="test").settle(FakeTrainer(metrics={"accuracy": "max"}))


def test_an_unknown_direction_is_refused():
    """mode="auto" with a metric of which nobody said what is better is an error, not a guess."""
    with pytest.raises(ArgumentError, match="less or more of 'f1' is better cannot be told"):
        Monitor("f1", who="test").prepare(FakeTrainer(metrics={"f1": None}))


def test_a_metric_is_checked_before_training_where_it_can_be():
    """A name that the loop won't report is refused, with the names there are and the nearest."""
    with pytest.raises(MissingMetric) as caught:
        Monitor("acc", who="EarlyStopping").prepare(FakeTrainer(metrics={"loss": "min", "accuracy": "max"}))

    assert "acc" == caught.value.monitor
    assert ("accuracy", "loss") == caught.value.available


def test_a_loop_that_does_not_know_is_believed():
    """Where the loop can't know its metrics, nothing is refused before training."""
    monitor = Monitor("anything", mode="min", who="test")

    monitor.prepare(FakeTrainer())

    assert "min" == monitor.direction


@pytest.mark.parametrize("value", [0.5, np.float32(0.5), np.array([0.5])])
def test_a_value_is_read_as_a_float(value):
    """A single number of any kind is read."""
    assert 0.5 == Monitor("loss", who="test").read({"loss": value}, FakeTrainer(), epoch=0)


def test_zero_is_a_value():
    """A metric of exactly 0 is not a missing one."""
    assert 0.0 == Monitor("loss", who="test").read({"loss": 0.0}, FakeTrainer(), epoch=3)


@pytest.mark.parametrize("value", [np.zeros(2), "low", [1, 2]])
def test_what_cannot_be_compared_is_refused(value):
    """A value that is not a single number is an error that shows it."""
    with pytest.raises(ArgumentError, match=r"'loss' must be a single number to be compared. Received: .* in epoch 4"):
        Monitor("loss", who="test").read({"loss": value}, FakeTrainer(), epoch=3)


def test_a_validation_metric_may_come_later():
    """Where the loop validates but not in this epoch, a val_ metric has no value yet."""
    monitor = Monitor("val_loss", who="test")

    assert monitor.read({"loss": 0.5}, FakeTrainer(validates=True), epoch=0) is None


def test_a_validation_that_happened_without_it_shows_it_is_missing():
    """Where this epoch did validate and the val_ metric is not there, it is missing."""
    with pytest.raises(MissingMetric, match="Did you mean 'val_loss'"):
        Monitor("val_los", who="test").read({"loss": 0.5, "val_loss": 0.6}, FakeTrainer(validates=True), epoch=0)


def test_a_loop_without_validation_has_no_validation_metric():
    """Without validation a val_ metric is missing at the first epoch's end."""
    with pytest.raises(MissingMetric, match=r"which epoch 1 does not report\. Reported: loss"):
        Monitor("val_loss", who="test").read({"loss": 0.5}, FakeTrainer(validates=False), epoch=0)


@pytest.mark.parametrize("gap", [{}, {"loss": None}])
def test_a_metric_seen_once_may_pause(gap):
    """A metric that was there before and is not in this epoch has no value; nobody complains."""
    monitor = Monitor("loss", who="test")
    monitor.read({"loss": 0.5}, FakeTrainer(), epoch=0)

    assert monitor.read(gap, FakeTrainer(), epoch=1) is None


def test_a_metric_that_was_promised_may_pause():
    """A metric that the loop announced has no value in an epoch without it."""
    assert Monitor("accuracy", who="test").read({}, FakeTrainer(metrics={"accuracy": "max"}), epoch=0) is None
