"""State: saved under a key, given back to its owner."""

from __future__ import annotations

import pytest

from jalon import Callback, CallbackList
from jalon.errors import StateMismatch


class Counter(Callback):
    def __init__(self, count=0, name=None):
        self.count = count
        self.name = name

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


class Other(Counter):
    pass


class Lean:
    """Has no state and no methods for one."""

    def set_model(self, model): ...
    def set_params(self, params): ...


def test_the_key_is_the_name_or_the_class_and_its_ordinal():
    """States are kept by name where there is one, else by class, numbered from the second on; foreign ones have none."""
    callbacks = CallbackList([Counter(1), Other(2), Counter(3), Counter(4, name="mine"), Lean()])

    assert {
        "Counter": {"count": 1},
        "Other": {"count": 2},
        "Counter#2": {"count": 3},
        "mine": {"count": 4},
    } == callbacks.state_dict()


def test_one_name_twice_is_numbered():
    """Two callbacks of one name keep their states apart."""
    callbacks = CallbackList([Counter(1, name="mine"), Counter(2, name="mine")])

    assert ["mine", "mine#2"] == list(callbacks.state_dict())


def test_each_gets_its_own_back():
    """States go back to the callbacks they came from, of one class too."""
    saved = CallbackList([Counter(1), Counter(2, name="mine"), Counter(3)]).state_dict()
    fresh = [Counter(), Counter(name="mine"), Counter()]

    CallbackList(fresh).load_state_dict(saved)

    assert [1, 2, 3] == [callback.count for callback in fresh]


def test_the_order_attribute_does_not_change_the_key():
    """Callbacks of one class are numbered in the order in which they run, which a resume repeats."""

    class Early(Counter):
        order = -1

    states = CallbackList([Counter(1), Early(2), Counter(3)]).state_dict()

    assert {"Early": {"count": 2}, "Counter": {"count": 1}, "Counter#2": {"count": 3}} == states


def test_a_mismatch_names_both():
    """Other callbacks than those saved are an error that names what is missing on each side, and changes nothing."""
    counter = Counter(7)

    with pytest.raises(StateMismatch) as caught:
        CallbackList([counter, Other(name="new")]).load_state_dict({"Counter": {"count": 1}, "old": {"count": 2}})

    assert "Without a saved state: new. Saved, but not in the list: old." in str(caught.value)
    assert 7 == counter.count


def test_a_missing_one_alone_is_named():
    """A list that lacks a callback of the saved ones says so, and that nothing else is wrong."""
    with pytest.raises(StateMismatch, match=r"Without a saved state: none\. Saved, but not in the list: Other"):
        CallbackList([Counter()]).load_state_dict({"Counter": {"count": 1}, "Other": {"count": 2}})


def test_a_callback_without_state_is_left_out():
    """A callback that keeps nothing may come and go between two starts."""
    saved = CallbackList([Callback(), Counter(3)]).state_dict()
    fresh = Counter()

    CallbackList([fresh]).load_state_dict(saved)

    assert {"Counter": {"count": 3}} == saved
    assert 3 == fresh.count
