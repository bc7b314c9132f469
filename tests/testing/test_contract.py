"""``check_callback``: each clause is broken by somebody."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys

import pytest

from jalon import Callback
from jalon.callbacks import EarlyStopping
from jalon.errors import UnknownName
from jalon.testing import BrokenContract, Crash, CrashPoint, check_callback, play
from jalon.testing.contract import CLAUSES

pytest_plugins = ["pytester"]


class Misspelt(Callback):
    def on_epochs_end(self, epoch, logs=None): ...


class WithoutDefault(Callback):
    def on_epoch_end(self, epoch, logs): ...


class Fails(Callback):
    def on_train_end(self, logs=None):
        raise RuntimeError("not ready")


class ClosesOnce(Callback):
    def on_train_begin(self, logs=None):
        self.file = []

    def close(self):
        self.file.clear()
        del self.file


class Counts(Callback):
    """Counts over all its trainings, and keeps that to itself."""

    def __init__(self):
        self.epochs = 0

    def on_epoch_end(self, epoch, logs=None):
        self.epochs += 1
        if self.epochs == 5:
            self.run.stop("five epochs")


class Forgets(Counts):
    """Counts anew in each training; after an interruption, too."""

    def on_train_begin(self, logs=None):
        self.epochs = 0


class Remembers(Forgets):
    """Keeps its count."""

    def state_dict(self):
        return {"epochs": self.epochs}

    def load_state_dict(self, state):
        self.epochs = state["epochs"]


class KeepsObjects(Callback):
    def state_dict(self):
        return {"lock": object()}

    def load_state_dict(self, state): ...


class GivesItsOwn(Callback):
    def __init__(self):
        self.seen = []

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append(epoch)

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = list(state["seen"])


class Meddles(Callback):
    """Says that it only observes."""

    critical = False

    def on_epoch_end(self, epoch, logs=None):
        self.trainer.set_learning_rates([0.5])


class Panics(Callback):
    def on_exception(self, exc):
        raise ValueError("what now")


BROKEN = {
    "has hooks that are reached": (Misspelt, "on_epoch_end is meant"),
    "trains": (Fails, "RuntimeError: not ready"),
    "closes": (ClosesOnce, "AttributeError"),
    "serves two trainings": (Counts, "history differs"),
    "keeps plain state": (GivesItsOwn, "return a copy"),
    "goes on after a crash": (Forgets, "history differs in the end"),
    "changes nothing as an observer": (Meddles, "rates differs"),
    "survives its neighbours": (Panics, "Panics.on_exception raised ValueError"),
}


@pytest.mark.parametrize("clause", BROKEN)
def test_a_broken_clause_is_named(clause):
    """The error names the class, the clause and what is wrong."""
    kind, says = BROKEN[clause]

    with pytest.raises(BrokenContract, match=f"{kind.__name__} breaks the contract") as caught:
        check_callback(kind)

    assert says in caught.value.faults[clause]


@pytest.mark.parametrize(
    ("kind", "clause", "says"),
    [
        (WithoutDefault, "has hooks that are reached", "on_epoch_end is called with (epoch)"),
        (KeepsObjects, "keeps plain state", "TypeError"),
    ],
)
def test_another_way_to_break_it(kind, clause, says):
    """Logs without a default; state that is no plain data."""
    with pytest.raises(BrokenContract) as caught:
        check_callback(kind)

    assert says in caught.value.faults[clause]


def test_what_keeps_the_contract_passes():
    """Nothing is said; nothing is left in the current folder."""
    check_callback(Remembers)
    check_callback(lambda: EarlyStopping(patience=1))


def test_a_clause_can_be_left_out():
    """By its name; another name is refused with the nearest."""
    check_callback(Meddles, without=["changes nothing as an observer"])

    with pytest.raises(UnknownName, match="Did you mean 'trains'"):
        check_callback(Meddles, without=["train"])


@pytest.mark.parametrize(
    ("hook", "epoch", "batch", "seen"),
    [("on_epoch_begin", 1, 0, 2), ("on_train_batch_end", 1, 1, 4), ("on_train_begin", 0, 0, 0)],
)
def test_a_crash_point(hook, epoch, batch, seen):
    """It breaks off at the moment that it names, after those before it were told."""
    batches = []

    class Watches(Callback):
        def on_train_batch_end(self, batch, logs=None):
            batches.append(batch)

    with pytest.raises(Crash, match=hook):
        play([Watches(), CrashPoint(hook, epoch=epoch, batch=batch)], [{"loss": 1.0}] * 3, batches=2)

    assert seen == len(batches)


def test_a_crash_point_needs_a_hook():
    """Another name is refused with the nearest."""
    with pytest.raises(UnknownName, match="Did you mean 'on_epoch_end'"):
        CrashPoint("on_epochs_end")


INSTALLED = any(entry.name == "jalon" for entry in importlib.metadata.entry_points(group="pytest11"))
PLUGIN = [] if INSTALLED else ["-p", "jalon.testing.plugin"]

PROGRAM = """
    import pytest
    from jalon import Callback

    class Fine(Callback):
        pass

    class Misspelt(Callback):
        def on_epochs_end(self, epoch, logs=None): ...

    @pytest.mark.callback(make=Fine)
    @pytest.mark.callback(make=Misspelt, without=["trains"])
    def test_contract(contract_clause):
        contract_clause()

    def test_clock(manual_clock):
        manual_clock.advance(60)
        assert 60 == manual_clock.monotonic()
"""


def test_the_plugin_makes_a_test_of_each_clause(pytester):
    """For each callback that a test is marked with, one by one; with a clock besides."""
    pytester.makepyfile(PROGRAM)

    done = pytester.runpytest_subprocess(*PLUGIN, "-p", "no:randomly", "-q")

    done.assert_outcomes(passed=2 * len(CLAUSES) - 1, failed=1)
    done.stdout.fnmatch_lines(["*Misspelt-has-hooks-that-are-reached*"])


def test_the_plugin_needs_its_mark(pytester):
    """A test that asks for the clauses of no callback is told what it lacks."""
    pytester.makepyfile("def test_contract(contract_clause): ...")

    done = pytester.runpytest_subprocess(*PLUGIN)

    done.stdout.fnmatch_lines(["*needs @pytest.mark.callback(make=MyCallback)*"])


def test_the_plugin_loads_nothing_heavy():
    """A session that does not use it loads nothing beside pytest and Python's own."""
    program = "import sys, pytest; before = set(sys.modules); import jalon.testing.plugin; print(*(set(sys.modules) - before))"

    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()

    assert {"jalon"} == {name.partition(".")[0] for name in loaded} - set(sys.stdlib_module_names)
