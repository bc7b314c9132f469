"""Who takes part in a hook."""

from __future__ import annotations

import inspect

import pytest

from jalon import Callback
from jalon.callbacks import LambdaCallback
from jalon.core.callback_list import BATCH_HOOKS
from jalon.core.hooks import HOOKS, implementation


class Nothing(Callback):
    pass


class OldName(Callback):
    def on_batch_end(self, batch, logs=None):
        return "old"


class NewName(Callback):
    def on_train_batch_end(self, batch, logs=None):
        return "new"


class BothNames(OldName, NewName):
    pass


class Lean:
    """Is no Callback, and has but what it needs."""

    def set_model(self, model):
        self.model = model

    def set_params(self, params):
        self.params = params

    def on_epoch_end(self, epoch, logs=None):
        return epoch


class Foreign(Lean):
    """Has base methods marked as Keras marks its own."""

    def on_epoch_begin(self, epoch, logs=None): ...

    on_epoch_begin._is_default = True


class Dozing(NewName):
    def skips_hook(self, hook):
        return hook == "on_train_batch_end"


@pytest.mark.parametrize("name", HOOKS)
def test_the_table_has_the_arguments_of_the_methods(name):
    """Each hook of the table is a method of Callback with the arguments that the table names."""
    parameters = list(inspect.signature(getattr(Callback, name)).parameters)

    assert ["self", *HOOKS[name].arguments] == parameters


def test_every_method_on_something_is_in_the_table():
    """Callback has no hook that the table doesn't list, as a name or as an older name."""
    methods = {name for name in vars(Callback) if name.startswith("on_")}

    assert methods == set(HOOKS) | {hook.alias for hook in HOOKS.values() if hook.alias}


@pytest.mark.parametrize("name", HOOKS)
def test_a_callback_takes_part_in_nothing_by_itself(name):
    """A callback that overrides nothing takes part in no hook."""
    assert implementation(Nothing(), name) is None


def test_the_older_name_is_reached():
    """A callback that overrides on_batch_end takes part in on_train_batch_end."""
    assert "old" == implementation(OldName(), "on_train_batch_end")(0, {})


def test_the_newer_name_comes_first():
    """Of two names of one hook, both overridden, the newer is called and the older is not."""
    assert "new" == implementation(BothNames(), "on_train_batch_end")(0, {})


def test_the_newer_name_reaches_the_older_through_super():
    """A callback that overrides on_train_batch_end reaches on_batch_end by calling super()."""
    reached = []

    class Through(Callback):
        def on_batch_end(self, batch, logs=None):
            reached.append(batch)

        def on_train_batch_end(self, batch, logs=None):
            super().on_train_batch_end(batch, logs)

    implementation(Through(), "on_train_batch_end")(4, {})

    assert [4] == reached


def test_a_foreign_callback_takes_part_by_its_methods():
    """A callback of another family takes part in the hooks that it has."""
    lean = Lean()

    assert {"on_epoch_end"} == {name for name in HOOKS if implementation(lean, name)}


def test_a_base_method_marked_by_keras_is_no_part():
    """A method that carries Keras's mark of base methods counts as not overridden."""
    assert implementation(Foreign(), "on_epoch_begin") is None


def test_an_attribute_of_the_instance_takes_part():
    """A function set on the instance is its hook, as LambdaCallback does it."""
    assert implementation(LambdaCallback(on_test_end=print), "on_test_end") is print


def test_an_instance_may_sit_a_hook_out():
    """A callback whose skips_hook() says so takes no part in a hook that its class overrides."""
    assert implementation(Dozing(), "on_train_batch_end") is None


def test_a_hook_that_nobody_overrides_is_an_empty_tuple(begin):
    """What a driver tests before each batch is empty where nobody listens, and holds one entry for each who does."""
    told = begin([Nothing(), Dozing(), NewName(), OldName()])

    assert {"on_train_batch_end": 2} == {name: len(told.batch_hooks[name]) for name in BATCH_HOOKS if told.batch_hooks[name]}
    assert told.listens("on_train_batch_end")
    assert not told.listens("on_epoch_end")
