"""Policies computed all at once come to what the classes themselves decide, and these to what they decide in a live run."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import jalon
from jalon.callbacks import (
    EarlyStopping,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    TerminateOnNaN,
)
from jalon.core.cadence import every
from jalon.errors import JalonWarning
from jalon.replay.outcomes import outcomes
from jalon.replay.readers import read
from jalon.testing import FakeTrainer, play

CASES = settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
MISSING = None

numbers = st.one_of(
    st.integers(-6, 6).map(lambda number: number / 8), st.floats(-4, 4, allow_subnormal=False), st.floats(-1, 1, width=16)
)
values = st.one_of(numbers, numbers, numbers, st.sampled_from([math.nan, math.inf, -math.inf, MISSING]))
losses = st.one_of(*[numbers] * 9, st.sampled_from([math.nan, math.inf]))
rates = st.sampled_from([MISSING, 0.1, 0.05, 0.01])
rows = st.lists(
    st.fixed_dictionaries({"loss": losses, "val_loss": values, "val_accuracy": values, "learning_rate": rates}),
    min_size=1,
    max_size=14,
).map(lambda rows: [{name: value for name, value in row.items() if value is not MISSING} for row in rows])

monitored = {
    "monitor": st.sampled_from(["val_loss", "val_accuracy", "loss"]),
    "mode": st.sampled_from(["auto", "min", "max"]),
}
deltas = st.sampled_from([0, 0.125, -0.25, 1e-4, 0.5])
stopping = st.fixed_dictionaries(
    monitored
    | {
        "min_delta": deltas,
        "patience": st.integers(0, 4),
        "baseline": st.one_of(st.none(), numbers),
        "restore_best_weights": st.booleans(),
        "start_from_epoch": st.sampled_from([0, 0, 1, 3]),
    }
)
plateaus = st.fixed_dictionaries(
    monitored
    | {
        "min_delta": deltas,
        "patience": st.integers(0, 3),
        "factor": st.sampled_from([0.0, 0.1, 0.5, 0.9]),
        "cooldown": st.integers(0, 3),
        "min_lr": st.sampled_from([0, 0.0, 0.01, 0.05]),
    }
)
saving = st.fixed_dictionaries(
    monitored | {"save_best_only": st.booleans(), "initial_value_threshold": st.one_of(st.none(), numbers)}
)
policies = st.tuples(st.one_of(st.none(), stopping), st.one_of(st.none(), plateaus), st.one_of(st.none(), saving), st.booleans())


def callbacks_of(policy, filepath="best.json", **options):
    """Return new callbacks that follow a policy."""
    stop, plateau, save, on_nan = policy
    return [
        *([EarlyStopping(**stop)] if stop else []),
        *([ReduceLROnPlateau(**plateau)] if plateau else []),
        *([ModelCheckpoint(filepath, **save, **options)] if save else []),
        *([TerminateOnNaN()] if on_nan else []),
    ]


def known(rows):
    """Return rows that report every metric once at least, as all policies here need."""
    return [*rows[:-1], {"loss": 0.0, "val_loss": 0.0, "val_accuracy": 0.0} | rows[-1]]


NAN_FIRST = [{"loss": 1.0, "val_loss": math.nan, "val_accuracy": value} for value in (0.5, 0.25, 0.75, 0.125)]


@CASES
@example(
    rows=NAN_FIRST, some=[({"patience": 2, "restore_best_weights": True}, None, None, False)], metric="val_accuracy", at_end=False
)
@given(
    rows=rows.map(known),
    some=st.lists(policies, min_size=1, max_size=3),
    metric=st.sampled_from(["val_loss", "val_accuracy"]),
    at_end=st.booleans(),
)
def test_all_at_once(rows, some, metric, at_end):
    """Epochs, stops, what is kept, changes of the rate and whether they change the curves are those of each one's replay."""
    record = replace(read(rows), rates_at_end=at_end)
    found = outcomes(record, [callbacks_of(policy) for policy in some], metric=metric, direction="min", learning_rate=0.02)
    for place, policy in enumerate(some):
        one = jalon.replay(record, callbacks_of(policy), metric=metric, mode="min", learning_rate=0.02)
        kept = (-1, math.nan) if one.kept is None else (one.kept.epoch, one.kept.value)
        told = (one.epochs, one.stop is not None, *kept, len(one.changes), one.departs_at is not None)
        computed = [getattr(found, name)[place].item() for name in found.__slots__]

        assert list(map(repr, told)) == list(map(repr, computed))


class Live(FakeTrainer):
    """A trainer whose weights are the number of epochs trained, and which keeps the rate of each epoch's end."""

    @property
    def epochs_done(self):
        return int(self.weights["w"][0])


@CASES
@given(
    rows=rows.map(known), policy=policies, keep=st.sampled_from([{}, {"keep_best": 2}, {"keep_last": 1}]), schedule=st.booleans()
)
def test_a_replay_decides_as_a_live_run(rows, policy, keep, schedule):
    """The stop, every rate, the files that are left with what is in them, and the weights at the end are those of a live run."""
    reported = [{name: value for name, value in row.items() if name != "learning_rate"} for row in rows]
    scheduled = [LearningRateScheduler(lambda epoch, lr: lr if epoch % 3 else lr * 0.75)] if schedule else []
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", JalonWarning)
        path = f"{folder}/{{epoch}}.json"
        trainer = Live({"w": [0.0]}, learning_rates=[0.02], metrics={"loss": "min", "val_loss": "min", "val_accuracy": "max"})
        run = play([*scheduled, *callbacks_of(policy, path, **keep)], reported, trainer=trainer)
        files = {found: int(json.loads(found.read_text())["weights"]["w"][0]) - 1 for found in Path(folder).iterdir()}
        result = jalon.replay(reported, [*scheduled, *callbacks_of(policy, path, **keep)], learning_rate=0.02)

        assert sorted(files) == sorted(Path(folder).iterdir())
    assert run.epoch + 1 == result.epochs
    assert run.stop_requested == (result.stop is not None)
    assert files == dict(result.disk)
    assert trainer.epochs_done - 1 == result.in_memory
    assert trainer.learning_rates()[0] == (result.changes[-1].after if result.changes else 0.02)
    if result.stop is not None and "loss is" not in run.stop_reason:
        assert run.stop_reason == result.stop.reason


@pytest.mark.parametrize(
    "callbacks",
    [
        lambda: [EarlyStopping(patience=1), EarlyStopping("loss", patience=3)],
        lambda: [ModelCheckpoint("{epoch}.pt", keep_best=1), EarlyStopping(patience=1)],
        lambda: [ModelCheckpoint("a.pt", save_freq=every(epochs=2)), EarlyStopping(patience=1)],
        lambda: [LearningRateScheduler(lambda epoch: 0.1), EarlyStopping(patience=1)],
    ],
)
def test_lists_whose_rules_are_not_known(callbacks):
    """Other lists than those computed at once are replayed, with the same result as alone."""
    rows = [{"loss": 1.0, "val_loss": value} for value in (0.9, 0.5, 0.6, 0.55, 0.4)]
    found = outcomes(read(rows), [callbacks(), callbacks()], metric="val_loss", direction="min", learning_rate=0.01)
    alone = jalon.replay(rows, callbacks(), learning_rate=0.01)

    assert [alone.epochs] * 2 == found.epochs.tolist()
    assert [alone.kept.value] * 2 == found.value.tolist()
    assert [len(alone.changes)] * 2 == found.changes.tolist()


def test_a_subclass_is_replayed():
    """A class of one's own that derives from one of these decides by its own rules."""

    class Never(EarlyStopping):
        def on_epoch_end(self, epoch, logs=None):
            pass

    rows = [{"val_loss": 1.0}] * 6
    found = outcomes(read(rows), [[Never()], [EarlyStopping()]], metric="val_loss", direction="min", learning_rate=0.01)

    assert [6, 2] == found.epochs.tolist()
    assert np.isfinite(found.value).all()
