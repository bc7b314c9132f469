"""TimeLimit leaves at the first batch after its time, and nothing is lost by it."""

from __future__ import annotations

import datetime

import pytest

from jalon import CallbackList, Run
from jalon.callbacks import BackupAndRestore, LambdaCallback, TimeLimit
from jalon.errors import ArgumentError, Preempted
from jalon.testing import FakeModel, FakeTrainer, ManualClock, play

SCRIPT = [{"loss": 0.5}, {"loss": 0.25}, {"loss": 0.125}]
MOMENT = datetime.datetime(2026, 11, 24, 18, 0, tzinfo=datetime.UTC)


def moving(clock, seconds):
    """Return a callback that lets each batch take so long."""
    return LambdaCallback(on_train_batch_end=lambda batch, logs: clock.advance(seconds))


@pytest.fixture
def played(tmp_path):
    """Return a function that plays 3 epochs of 4 batches of a minute; it returns the run, or why it was left, and the batches."""

    def played(*callbacks, now=0.0):
        clock, batches = ManualClock(now), []
        seen = LambdaCallback(on_train_batch_end=lambda batch, logs: batches.append(batch))
        try:
            run = play(
                [seen, moving(clock, 60), *callbacks, BackupAndRestore(tmp_path, delete_checkpoint=False)],
                SCRIPT,
                batches=4,
                clock=clock,
            )
        except Preempted as exc:
            return exc, batches
        return run, batches

    return played


def test_training_is_left_at_the_first_batch_after_the_limit(played):
    """A limit of 90 seconds ends a training of one minute a batch after its second batch."""
    left, batches = played(TimeLimit(seconds=90))

    assert "Training was left: the time limit, 1 min 30 s, was reached. Start the program again to go on." == str(left)
    assert 143 == left.code
    assert [0, 1] == batches


def test_reached_exactly_is_reached(played):
    """A batch that ends at the very moment is the last one."""
    _, batches = played(TimeLimit(minutes=3))

    assert [0, 1, 2] == batches


def test_another_start_goes_on_and_counts_anew(played):
    """Each start trains for as long as its limit, from where the one before was left, until the training is done."""
    starts = [played(TimeLimit(minutes=5))[1] for _ in range(2)]
    run, last = played(TimeLimit(minutes=5))

    assert [[0, 1, 2, 3, 0], [1, 2, 3, 0, 1], [2, 3]] == [*starts, last]
    assert {"loss": [0.5, 0.25, 0.125]} == run.history


def test_a_training_within_the_limit_is_not_touched(played):
    """What ends before its limit ends as usual."""
    run, batches = played(TimeLimit(hours=1))

    assert 12 == len(batches)
    assert not run.leave_now


def test_a_moment_is_taken_by_the_wall_clock(played):
    """``until`` is a moment, in words or as a datetime, whenever training began."""
    begin = MOMENT.timestamp() - 150
    left, batches = played(TimeLimit(until="2026-11-24T18:00+00:00"), now=begin)

    assert [0, 1, 2] == batches
    assert MOMENT.astimezone().isoformat(" ", timespec="seconds") in str(left)
    assert TimeLimit(until=MOMENT).until == TimeLimit(until="2026-11-24T18:00+00:00").until


def test_a_moment_without_a_zone_is_the_machines():
    """A moment that names no time zone is taken as the clock on the wall shows it."""
    local = datetime.datetime(2026, 11, 24, 18, 0)

    assert local.timestamp() == TimeLimit(until=local).until.timestamp() == TimeLimit(until="2026-11-24 18:00").until.timestamp()


def test_a_moment_that_has_passed_is_refused(played):
    """Before anything is trained, since every start would be left at once."""
    with pytest.raises(ArgumentError, match=r"TimeLimit: the moment to leave has passed. Received: until=2026-11-24 "):
        played(TimeLimit(until=MOMENT), now=MOMENT.timestamp())


@pytest.mark.parametrize(
    "end_something",
    [
        lambda told: told.tell_batch("on_train_batch_end", 0, {}),
        lambda told: told.tell_batch("on_test_batch_end", 0, {}),
        lambda told: told.on_epoch_end(0, {}),
    ],
    ids=["a batch", "a batch of a validation", "an epoch"],
)
def test_the_limit_is_looked_at_where_something_ends(end_something):
    """A long validation is not sat through, and what callbacks do at an epoch's end counts too."""
    clock = ManualClock()
    run = Run(FakeTrainer(), clock=clock)
    run.keeps, run.keeper = True, object()
    told = CallbackList(TimeLimit(minutes=1))
    told.begin(run, FakeModel(run.trainer, run), {"verbose": 0, "epochs": 1, "steps": 1})
    told.on_train_begin()
    end_something(told)
    before = run.leave_now
    clock.advance(60)
    end_something(told)

    assert (False, True) == (before, run.leave_now)


def test_an_evaluation_afterwards_is_not_left(begin):
    """What is measured with the same callback outside of a training has no limit."""
    told = begin(TimeLimit(seconds=1))
    told.run.clock.advance(5)
    told.tell_batch("on_test_batch_end", 0, {})

    assert not told.run.leave_now


def test_a_training_that_nothing_keeps_is_refused():
    """Leaving would lose everything, so that the message says what keeps a training."""
    with pytest.raises(ArgumentError) as caught:
        play(TimeLimit(hours=1), SCRIPT)

    assert (
        "TimeLimit leaves a training that is gone on with later, and nothing keeps this one. "
        "Pass run_dir to fit, or add BackupAndRestore to the callbacks."
    ) == str(caught.value)


def test_a_loop_that_cannot_be_left_is_refused(begin):
    """A loop that does not ask whether to leave is named, whatever else stands in the list."""
    told = begin(TimeLimit(hours=1))

    with pytest.raises(ArgumentError, match=r"^TimeLimit: this loop cannot be left and gone on with. jalon.Model.fit can."):
        told.on_train_begin()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give a duration above 0, as hours=2, or until. Received: hours=0, minutes=0, seconds=0."),
        ({"hours": 1, "minutes": -5}, "give a duration above 0"),
        ({"hours": float("nan")}, "hours must be a finite number"),
        ({"hours": 1, "until": MOMENT}, "give a duration or until, not both"),
        ({"until": "soon"}, "until is no moment: Invalid isoformat string: 'soon'"),
        ({"until": 1_800_000_000}, "until must be a datetime or its ISO form"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    """What cannot be a limit is refused where it is given."""
    with pytest.raises(ArgumentError, match=f"^TimeLimit: {message}"):
        TimeLimit(**arguments)
