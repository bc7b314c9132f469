"""What began is closed, whatever ends it."""

from __future__ import annotations

import pytest

from jalon import Callback
from jalon.errors import CallbackDegraded
from jalon.testing import play

FAULTS = [ZeroDivisionError, KeyboardInterrupt, SystemExit, GeneratorExit, StopIteration]


class Opens(Callback):
    """Records when it is told of a fault and when it is closed."""

    def __init__(self, label, record):
        self.label = label
        self.record = record

    def on_exception(self, exc):
        self.record.append((self.label, type(exc).__name__))

    def close(self):
        self.record.append((self.label, "close"))


class Raises(Callback):
    """Raises what it is given in the hook it is given."""

    def __init__(self, hook, exc):
        setattr(self, hook, self._raise)
        self.exc = exc

    def _raise(self, *args):
        raise self.exc


class CloseFails(Callback):
    def __init__(self, exc):
        self.exc = exc

    def close(self):
        raise self.exc


class ObserverCloseFails(CloseFails):
    critical = False


@pytest.fixture
def record():
    return []


def test_a_normal_end_closes_all_in_reverse(record):
    """After a normal end each callback is closed once, the last one first, and none is told of a fault."""
    play([Opens("a", record), Opens("b", record)], [{"loss": 0.5}])

    assert [("b", "close"), ("a", "close")] == record


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_told_to_all_and_then_all_are_closed(record, fault):
    """After any exception, Ctrl-C and SystemExit included, every callback is told, in order, then closed, in reverse."""
    with pytest.raises(fault):
        play([Opens("a", record), Raises("on_train_batch_end", fault()), Opens("b", record)], [{"loss": 0.5}])

    assert [("a", fault.__name__), ("b", fault.__name__), ("b", "close"), ("a", "close")] == record


@pytest.mark.parametrize("hook", ["on_train_begin", "on_epoch_begin", "on_epoch_end", "on_test_begin", "on_train_end"])
def test_a_fault_in_any_hook_closes_all(record, hook):
    """The guarantee holds from on_train_begin to on_train_end."""
    with pytest.raises(ZeroDivisionError):
        play([Opens("a", record), Raises(hook, ZeroDivisionError())], [{"loss": 0.5, "val_loss": 0.5}])

    assert [("a", "ZeroDivisionError"), ("a", "close")] == record


@pytest.mark.parametrize("second", [OSError("disk"), KeyboardInterrupt()])
def test_the_first_fault_wins(record, second):
    """A fault while another is dealt with is a note on the first, and keeps nothing from being closed."""
    callbacks = [Opens("a", record), Raises("on_exception", second), CloseFails(second), Opens("b", record)]

    with pytest.raises(ZeroDivisionError) as caught:
        play([*callbacks, Raises("on_epoch_end", ZeroDivisionError("first"))], [{"loss": 0.5}])

    shown = f"{type(second).__name__}: {second}"
    assert [
        "raised in Raises#2.on_epoch_end",
        f"then Raises.on_exception raised {shown}",
        f"then CloseFails.close raised {shown}",
    ] == caught.value.__notes__
    assert [("a", "ZeroDivisionError"), ("b", "ZeroDivisionError"), ("b", "close"), ("a", "close")] == record


def test_a_fault_in_close_is_raised_when_all_are_closed(record):
    """After a normal end the first fault in a close goes up, once the others are closed too."""
    with pytest.raises(OSError, match="disk") as caught:
        play([Opens("a", record), CloseFails(OSError("disk")), Opens("b", record)], [{"loss": 0.5}])

    assert ["raised in CloseFails.close"] == caught.value.__notes__
    assert [("b", "close"), ("a", "close")] == record


def test_an_observer_that_cannot_close_is_warned_of(record):
    """A close that fails in an observer is a warning: the training that went well stays so."""
    with pytest.warns(CallbackDegraded, match="ObserverCloseFails.close failed: OSError: disk"):
        run = play([Opens("a", record), ObserverCloseFails(OSError("disk"))], [{"loss": 0.5}])

    assert [("a", "close")] == record
    assert {"ObserverCloseFails": "OSError: disk"} == run.degraded


def test_closing_twice_is_allowed(record, begin):
    """A list may be taken through a second session, which closes its callbacks again."""
    told = begin(Opens("a", record))

    for _ in range(2):
        with told.session():
            pass

    assert [("a", "close")] * 2 == record


def test_what_has_no_close_is_left_alone(begin):
    """A foreign callback without a close ends a session as well as any."""

    class Lean:
        def set_model(self, model): ...
        def set_params(self, params): ...

    with begin(Lean()).session():
        pass
