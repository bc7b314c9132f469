"""Callbacks written as texts, and the policies that lists of values stand for."""

from __future__ import annotations

import pytest

from jalon.callbacks import EarlyStopping, ModelCheckpoint, ReduceLROnPlateau
from jalon.errors import ArgumentError, UnexpectedArgument, UnknownName
from jalon.replay.policies import expand, families_of, parse


def test_a_call():
    """A call by position, by name, without brackets; values are literals of any kind."""
    stopper = parse(" EarlyStopping('loss', -0.5, patience=3, baseline=None) ").make()
    saver = parse('ModelCheckpoint("{monitor}.pt", ["loss", "val_loss"], save_best_only=True)').make()

    assert ("loss", 0.5, 3, None) == (stopper.monitor, stopper.min_delta, stopper.patience, stopper.baseline)
    assert ["loss", "val_loss"] == saver.monitor
    assert not parse("TerminateOnNaN").make().raise_error


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("EarlyStopping(patience=", "is no Python expression"),
        ("EarlyStopping(patience=open('x'))", r"open\('x'\) in .* is no literal"),
        ("EarlyStopping(patience=1 if True else 2)", "is no literal"),
        ("EarlyStopping(patience=__import__('os').getpid())", "is no literal"),
        ("EarlyStopping(**{'patience': 1})", "has stars"),
        ("EarlyStopping(*[1])", "has stars"),
        ("jalon.callbacks.EarlyStopping()", "does not call a callback"),
        ("(lambda: EarlyStopping)()()", "does not call a callback"),
        ("EarlyStopping(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)", "too many positional arguments"),
        ("3", "does not call a callback"),
        ("range(3)", "unknown callback 'range'"),
        ("(" * 500, "is no Python expression"),
    ],
)
def test_what_is_refused(expression, told):
    """Anything but a call of a callback with literals is refused, and nothing of it is run."""
    with pytest.raises(ArgumentError, match=told):
        parse(expression)


def test_misspelt():
    """A name that there is not is refused with the nearest one, of a callback and of an option."""
    with pytest.raises(UnknownName, match="Did you mean 'EarlyStopping'"):
        parse("EarlyStoping()")
    with pytest.raises(UnexpectedArgument, match="Did you mean 'patience'"):
        parse("EarlyStopping(pateince=3)").make()


def test_a_grid():
    """Every value of a list or a range is tried with every other; a policy says what sets it apart."""
    families = [
        parse("EarlyStopping(patience=range(1, 3), min_delta=[0, 0.5])", choices=True),
        parse("TerminateOnNaN()", choices=True),
    ]
    policies = expand(families)

    assert ["patience=1, min_delta=0", "patience=1, min_delta=0.5", "patience=2, min_delta=0", "patience=2, min_delta=0.5"] == [
        str(policy) for policy in policies
    ]
    stopper, _ = policies[-1].callbacks()
    assert (2, 0.5) == (stopper.patience, stopper.min_delta)


def test_options_of_one_name():
    """Options that two callbacks have alike are told with the class."""
    families = families_of({EarlyStopping: {"patience": [1]}, "ReduceLROnPlateau": {"patience": [2], "factor": [0.5]}})

    assert "EarlyStopping.patience=1, ReduceLROnPlateau.patience=2, factor=0.5" == str(expand(families)[0])
    assert "as given" == str(expand(families_of({ReduceLROnPlateau: {}}))[0])


def test_random_policies():
    """A sample is drawn from the values, the same each time by its seed."""
    families = families_of(
        {EarlyStopping: {"patience": range(100), "min_delta": [0.0, 0.5]}, ModelCheckpoint: {"filepath": "a.pt"}}
    )
    drawn = [str(policy) for policy in expand(families, sample=50, seed=1)]

    assert drawn == [str(policy) for policy in expand(families, sample=50, seed=1)]
    assert drawn != [str(policy) for policy in expand(families, sample=50, seed=2)]
    assert 30 < len(set(drawn)) <= 50


def test_too_many_and_none():
    """A grid without end is refused with the way out, and so is a list without values."""
    with pytest.raises(ArgumentError, match=r"10,000,000 policies.*sample="):
        expand(families_of({EarlyStopping: {"patience": range(10_000_000)}}))
    with pytest.raises(ArgumentError, match="no value to try"):
        families_of({EarlyStopping: {"patience": []}})
