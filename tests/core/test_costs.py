"""Who is told in which order, and what it costs."""

from __future__ import annotations

import jalon
from jalon import Callback, CallbackList
from jalon.callbacks import CSVLogger, EarlyStopping, ReduceLROnPlateau
from jalon.testing import play

SCRIPT = [{"loss": 2.0, "val_loss": 2.0}, {"loss": 1.0, "val_loss": 1.0}]


class First(Callback):
    """Is told before the others, whatever its place."""

    order = -1

    def on_epoch_end(self, epoch, logs=None): ...


class Raises(Callback):
    """Fails at the first batch's end."""

    critical = False

    def on_train_batch_end(self, batch, logs=None):
        raise OSError("no space left")


def test_a_list_prints_who_is_told_in_each_hook():
    """Hook by hook, in the order of a training, and who is closed; hooks of which nobody is told are left out."""
    callbacks = CallbackList([ReduceLROnPlateau(), EarlyStopping(), CSVLogger("a.csv"), First()])

    assert (
        "on_train_begin            ReduceLROnPlateau, EarlyStopping, CSVLogger\n"
        "on_epoch_end              First, ReduceLROnPlateau, EarlyStopping, CSVLogger\n"
        "on_train_end              EarlyStopping, CSVLogger\n"
        "close                     CSVLogger, EarlyStopping, ReduceLROnPlateau, First" == str(callbacks)
    )


def test_costs_are_counted_by_hook_and_callback():
    """Each call is counted, under the name that the list gives the callback."""
    with jalon.measuring() as costs:
        play([EarlyStopping(patience=5), EarlyStopping("loss", patience=5)], SCRIPT)

    assert {"EarlyStopping": 2, "EarlyStopping#2": 2} == {
        label: cost.calls for label, cost in costs.by_hook["on_epoch_end"].items() if label != "History"
    }


def test_costs_print_as_a_table():
    """A hook, and below it each callback with its calls and its times."""
    with jalon.measuring() as costs:
        play(EarlyStopping(patience=5), SCRIPT)

    lines = str(costs).splitlines()

    assert ["calls", "in", "all", "each"] == lines[0].split()
    at = lines.index("on_epoch_end")
    assert ["EarlyStopping", "2"] == lines[at + 1].split()[:2]


def test_what_is_measured_behaves_as_ever(recwarn):
    """An observer that fails is told of by its name and hook, and the training goes on."""
    with jalon.measuring() as costs:
        run = play([Raises(), EarlyStopping(patience=5)], SCRIPT)

    assert [2.0, 1.0] == run.history["loss"]
    assert str(recwarn.pop().message).startswith("Raises.on_train_batch_end failed")
    assert 2 == costs.by_hook["on_train_batch_end"]["Raises"].calls


def test_nothing_is_measured_unless_asked_for(begin):
    """Outside of a block, a hook is the callback's own method."""
    told = begin(First())

    assert [First.on_epoch_end] == [entry.method.__func__ for entry in told._entries["on_epoch_end"]]
