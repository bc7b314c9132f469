"""What signals do to a run, and that nothing else of the program notices."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from functools import partial

import pytest

from jalon import Run
from jalon.core.signals import SIGNALS, free_signals, leaving_on_signals, outlast_signals, signals_held_back
from jalon.errors import Preempted
from jalon.testing import FakeTrainer, ManualClock

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows sends no signals")
ALL = [pytest.param(signum, id=signum.name) for signum in SIGNALS]


@pytest.fixture(autouse=True)
def _handlers():
    """Begin each test with those of a program that handles nothing, however the tests were started, and look for changes."""
    outside = {signum: signal.getsignal(signum) for signum in SIGNALS}
    usual = dict.fromkeys(SIGNALS, signal.SIG_DFL) | {signal.SIGINT: signal.default_int_handler}
    for signum, handler in usual.items():
        signal.signal(signum, handler)
    yield
    afterwards = {signum: signal.getsignal(signum) for signum in SIGNALS}
    for signum, handler in outside.items():
        signal.signal(signum, handler)
    assert usual == afterwards


@pytest.fixture
def run():
    return Run(FakeTrainer(), clock=ManualClock())


@contextmanager
def handling(signum, handler):
    """Have a signal handled by somebody else meanwhile."""
    before = signal.signal(signum, handler)
    try:
        yield
    finally:
        signal.signal(signum, before)


def train(run, *batch):
    """Train as a loop does: one batch, made of some steps, and a look at whether to leave."""
    with leaving_on_signals(run):
        for step in batch:
            step()
        if run.leave_now:
            raise run.left()


def send(signum):
    """Return a step in which a signal comes."""
    return partial(signal.raise_signal, signum)


@pytest.mark.parametrize("signum", ALL)
def test_a_signal_sets_a_flag_and_the_loop_leaves(run, signum):
    """The program goes on where it was; what the loop raises then is of the kind, and ends the process with the code."""
    done = []

    with pytest.raises((Preempted, KeyboardInterrupt)) as caught:
        train(run, send(signum), lambda: done.append("the batch"))

    assert ["the batch"] == done
    assert run.left() is caught.value
    if signum == signal.SIGINT:
        assert KeyboardInterrupt is caught.type
    else:
        assert (128 + signum, f"{signum.name} was received") == (caught.value.code, caught.value.why)


@pytest.mark.parametrize("signum", ALL)
def test_a_signal_that_came_too_late_is_heeded_at_the_end(run, signum):
    """One that comes after the loop's last look does not get lost."""
    with pytest.raises((Preempted, KeyboardInterrupt)), leaving_on_signals(run):
        signal.raise_signal(signum)


def test_without_a_signal_nothing_happens(run):
    """A training that nobody interrupts ends as usual, although something else has asked to leave it."""
    with leaving_on_signals(run):
        run.leave(Preempted("a time limit"))

    assert free_signals() == SIGNALS


def test_handlers_are_put_back_after_an_exception(run):
    """Whatever ends the block, signals do afterwards what they did before."""
    with pytest.raises(ZeroDivisionError), leaving_on_signals(run):
        raise ZeroDivisionError


def test_the_first_reason_stays(run):
    """Two kinds of signals, as SLURM's warning and its SIGTERM after it, are one leaving, for the first reason."""
    with pytest.raises(Preempted, match="SIGUSR1"):
        train(run, send(signal.SIGUSR1), lambda: run.clock.advance(60), send(signal.SIGTERM))


def test_a_second_ctrl_c_interrupts_at_once(run):
    """It raises where the program stands, as Python does it, without waiting for a batch."""
    done = []

    ctrl_c = send(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt) as caught:
        train(run, ctrl_c, lambda: run.clock.advance(1.5), ctrl_c, lambda: done.append("the batch"))

    assert [] == done
    assert run.left() is not caught.value


TWICE = """
import signal, sys
from jalon import Run
from jalon.core.signals import leaving_on_signals
from jalon.testing import FakeTrainer, ManualClock

signum, seconds = int(sys.argv[1]), float(sys.argv[2])
run = Run(FakeTrainer(), clock=ManualClock())
with leaving_on_signals(run):
    signal.raise_signal(signum)
    run.clock.advance(seconds)
    signal.raise_signal(signum)
    print("the batch", flush=True)
    raise run.left()
"""


@pytest.mark.parametrize("signum", [pytest.param(signum, id=signum.name) for signum in SIGNALS if signum != signal.SIGINT])
def test_a_second_signal_ends_the_process_at_once(signum):
    """It does what it does to any process: the batch does not end, and nothing is saved."""
    ended = subprocess.run([sys.executable, "-c", TWICE, str(signum.value), "1.5"], capture_output=True, text=True)

    assert (-signum, "") == (ended.returncode, ended.stdout), ended.stderr


def test_the_same_signal_twice_in_a_moment_is_one():
    """Some starters of programs send a signal to the process and to its group."""
    ended = subprocess.run([sys.executable, "-c", TWICE, str(signal.SIGTERM.value), "0.5"], capture_output=True, text=True)

    assert (143, "the batch\n") == (ended.returncode, ended.stdout), ended.stderr


BATCH_UNDER_WAY = """
from jalon import Run
from jalon.core.signals import leaving_on_signals
from jalon.testing import FakeTrainer

run = Run(FakeTrainer())
with leaving_on_signals(run):
    print("ready", flush=True)
    while not run.leave_now:
        pass
    for _ in range(1_000_000):
        pass
    print("the batch", flush=True)
    raise run.left()
"""


@pytest.mark.skipif(shutil.which("timeout") is None, reason="there is no program 'timeout'")
def test_under_a_program_that_sends_it_twice():
    """``timeout`` passes SIGTERM on to its child, and to the group that the child is in."""
    with subprocess.Popen(["timeout", "600", sys.executable, "-c", BATCH_UNDER_WAY], stdout=subprocess.PIPE, text=True) as child:
        ready = child.stdout.readline()
        child.send_signal(signal.SIGTERM)
        shown = child.stdout.read()

    assert ("ready\n", "the batch\n") == (ready, shown)


def test_a_handler_of_the_users_stays(run):
    """A signal that the program handles itself asks for nothing here."""
    heard = []

    with handling(signal.SIGUSR1, lambda signum, frame: heard.append(signum)), leaving_on_signals(run):
        signal.raise_signal(signal.SIGUSR1)

    assert [signal.SIGUSR1] == heard
    assert not run.leave_now


def test_an_ignored_signal_stays_ignored(run):
    """As SIGHUP under nohup, and Ctrl-C in a job that a shell has put in the background."""
    with handling(signal.SIGHUP, signal.SIG_IGN), leaving_on_signals(run):
        signal.raise_signal(signal.SIGHUP)

    assert not run.leave_now


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux shows what C code handles")
def test_a_handler_in_c_stays(run):
    """One that Python does not know of, as that of ``faulthandler.register``, works during the training and after it."""
    with tempfile.TemporaryFile("w+") as file:
        faulthandler.register(signal.SIGUSR2, file, all_threads=False)
        try:
            with leaving_on_signals(run):
                signal.raise_signal(signal.SIGUSR2)
            signal.raise_signal(signal.SIGUSR2)
        finally:
            faulthandler.unregister(signal.SIGUSR2)
        file.seek(0)
        dumps = file.read().count("most recent call first")

    assert 2 == dumps
    assert not run.leave_now


def test_a_handler_that_was_set_meanwhile_stays(run):
    """What a callback sets while training runs is not put back over."""
    before = signal.getsignal(signal.SIGUSR1)
    try:
        with leaving_on_signals(run):
            signal.signal(signal.SIGUSR1, print)
        after = signal.getsignal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)

    assert print is after


def test_in_another_thread_nothing_is_installed(run):
    """Python takes handlers in the main thread only; the block runs all the same."""
    seen = []

    def train():
        with leaving_on_signals(run):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()

    assert [signal.getsignal(signal.SIGTERM)] == seen


def test_a_fit_within_a_fit_leaves_both(run):
    """The inner one leaves first, and the outer one after it."""
    inner = Run(FakeTrainer(), clock=ManualClock())

    def callback():
        with pytest.raises(Preempted):
            train(inner, send(signal.SIGTERM))

    with pytest.raises(Preempted):
        train(run, callback)

    assert (True, True) == (run.leave_now, inner.leave_now)


def wait_for_ever(ready):
    ready.set()
    threading.Event().wait()


def test_a_forked_child_ends_as_ever(run):
    """A process that a callback forks has inherited the handler, and can be terminated all the same."""
    fork = multiprocessing.get_context("fork")
    ready = fork.Event()
    with leaving_on_signals(run):
        child = fork.Process(target=wait_for_ever, args=(ready,))
        child.start()
        ready.wait()
        child.terminate()
        child.join(60)
        code = child.exitcode
        child.kill()

    assert -signal.SIGTERM == code
    assert not run.leave_now


def test_a_signal_that_comes_while_they_are_held_back_is_not_lost(run):
    """It is heeded when the block has ended, if not before."""

    def start_workers():
        with signals_held_back(SIGNALS):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Preempted, match="SIGTERM"):
        train(run, start_workers)

    assert set() == signal.pthread_sigmask(signal.SIG_BLOCK, ()) & set(SIGNALS)


SERVANT = """
import os, signal, sys
from jalon.core.signals import SIGNALS, outlast_signals

print("ready", flush=True)
sys.stdin.readline()
outlast_signals(SIGNALS)
for signum in SIGNALS:
    os.kill(os.getpid(), signum)
print(os.system("kill -TERM $$"), flush=True)
"""


def test_a_process_that_begins_held_back_outlasts_signals():
    """What came before it was ready for them did nothing, nor does what comes later; a program that it starts can be ended."""
    with signals_held_back(SIGNALS):
        child = subprocess.Popen([sys.executable, "-c", SERVANT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with child:
        ready = child.stdout.readline()
        for signum in SIGNALS:
            child.send_signal(signum)
        shown, _ = child.communicate("\n")

    assert ("ready\n", f"{signal.SIGTERM.value}\n", 0) == (ready, shown, child.returncode)


def test_a_thread_of_this_process_does_not_outlast_for_it(run):
    """Called in another thread, as by a loader whose workers are threads, it changes nothing."""
    thread = threading.Thread(target=outlast_signals, args=(SIGNALS,))
    thread.start()
    thread.join()

    assert SIGNALS == free_signals()
