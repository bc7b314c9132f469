"""Cadence: how often something is done."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jalon import every
from jalon.core.cadence import Ticker
from jalon.errors import ArgumentError
from jalon.testing import ManualClock


@given(n=st.integers(1, 50), total=st.integers(0, 200))
def test_steps_are_due_at_each_multiple(n, total):
    """Every n steps is due after steps n, 2n, 3n …"""
    ticker = Ticker(every(steps=n))

    due = [step for step in range(1, total + 1) if ticker.after_steps(1, now=0.0)]

    assert list(range(n, total + 1, n)) == due


@given(n=st.integers(1, 10), total=st.integers(0, 50))
def test_epochs_are_due_at_each_multiple(n, total):
    """Every n epochs is due after epochs n, 2n, 3n …"""
    ticker = Ticker(every(epochs=n))

    due = [epoch for epoch in range(1, total + 1) if ticker.after_epoch(now=0.0)]

    assert list(range(n, total + 1, n)) == due


def test_several_steps_at_once():
    """Steps that come in bunches are due once as many have come, and the count starts anew."""
    ticker = Ticker(every(steps=5))

    assert [False, True, False, True] == [ticker.after_steps(3, now=0.0) for _ in range(4)]


def test_seconds_are_due_when_they_have_passed():
    """Every so many seconds is due at the first batch after they have passed since it last was."""
    clock = ManualClock(1000.0)
    ticker = Ticker(every(seconds=10), now=clock.monotonic())
    due = []
    for _ in range(12):
        clock.advance(4)
        due.append(ticker.after_steps(1, now=clock.monotonic()))

    assert [False, False, True] * 4 == due


def test_seconds_are_due_on_the_dot():
    """Exactly so many seconds after it last was, it is due."""
    assert Ticker(every(seconds=10), now=5.0).after_steps(1, now=15.0)


def test_other_units_are_not_due():
    """A cadence by epochs is not due after a batch, nor one by steps or seconds at an epoch's end."""
    assert not Ticker(every(epochs=1)).after_steps(1, now=1e9)
    assert not Ticker(every(steps=1)).after_epoch(now=1e9)
    assert not Ticker(every(seconds=1)).after_epoch(now=1e9)


def test_only_epochs_spare_the_batches():
    """By steps and by time each batch has to be looked at, by epochs none."""
    assert [False, True, True] == [every(epochs=1).by_batch, every(steps=1).by_batch, every(seconds=1).by_batch]


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"epochs": 1, "steps": 1},
        {"epochs": 0},
        {"epochs": True},
        {"epochs": "2"},
        {"steps": -1},
        {"steps": 1.5},
        {"seconds": 0},
        {"seconds": float("nan")},
        {"seconds": "10"},
        {"seconds": True},
    ],
    ids=str,
)
def test_what_is_no_cadence_is_refused(arguments):
    """None or two of the three, and what is not a positive number, is an error."""
    with pytest.raises(ArgumentError, match=r"^every: "):
        every(**arguments)
