"""However a loop is left, everything that began is closed, and callbacks hear of it in the right way."""

from __future__ import annotations

import contextlib
import gc
import signal
import subprocess
import sys
import textwrap

import pytest

import jalon
from jalon.callbacks import Callback
from jalon.errors import LoopLeft, NotReady


class Heard(Callback):
    """Remembers what it was told."""

    def __init__(self):
        self.told = []
        self.fault = None

    def on_train_begin(self, logs=None):
        self.told.append("train begin")

    def on_epoch_begin(self, epoch, logs=None):
        self.told.append(f"begin {epoch}")

    def on_train_batch_end(self, batch, logs=None):
        self.told.append(f"batch {batch}")

    def on_epoch_end(self, epoch, logs=None):
        self.told.append(f"end {epoch}")

    def on_train_end(self, logs=None):
        self.told.append("train end")

    def on_exception(self, exc):
        self.fault = exc
        self.told.append("exception")

    def close(self):
        self.told.append("closed")


@pytest.fixture
def heard():
    return Heard()


@pytest.fixture
def loop(heard):
    return jalon.Loop(heard, epochs=3, verbose=0)


SOUND = ["train begin", "begin 0", "end 0", "train end", "closed"]
FAULTY = ["train begin", "begin 0", "exception", "closed"]


def by_break(loop):
    for _ in loop:
        break


def by_return(loop):
    for epoch in loop:
        return epoch
    return None


def by_break_in_try(loop):
    for _ in loop:
        try:
            break
        finally:
            pass


def by_break_of_enumerate(loop):
    for _, _ in enumerate(loop):
        break


def by_break_of_a_generator(loop):
    for _ in (epoch for epoch in loop):
        break


@pytest.mark.parametrize("leave", [by_break, by_return, by_break_in_try, by_break_of_enumerate, by_break_of_a_generator])
def test_break_and_return_end_it_with_the_epoch_in_hand(loop, heard, leave):
    """The epoch ends as by a stop, training ends as planned, and all is closed at once; the reason is told."""
    leave(loop)

    assert SOUND == heard.told
    assert "the loop was left by break or return" == loop.run.stop_reason


def test_continue_is_no_way_to_leave(loop, heard):
    """It goes on with the next epoch."""
    for _ in loop:
        continue

    assert [
        "train begin",
        *(f"{what} {epoch}" for epoch in range(3) for what in ("begin", "end")),
        "train end",
        "closed",
    ] == heard.told


def raising(loop):
    for _ in loop:
        raise ValueError("no")


def raising_deep_down(loop):
    def deep():
        raise ValueError("no")

    for _ in loop:
        for _ in loop.batches([1, 2]):
            deep()


def raising_in_c(loop):
    for _ in loop:
        int("no")


def raising_in_a_with(loop):
    for _ in loop:
        with contextlib.nullcontext():
            raise ValueError("no")


def raising_from_another(loop):
    for _ in loop:
        try:
            raise KeyError
        except KeyError as exc:
            raise ValueError("no") from exc


def raising_after_one_that_was_kept(loop):
    kept = []
    for _ in loop:
        try:
            int("kept")
        except ValueError as exc:
            kept.append(exc)
        raise ValueError("no")


def raising_around_a_generator(loop):
    for _ in (epoch for epoch in loop):
        raise ValueError("no")


def raising_in_a_validation(loop):
    for _ in loop:
        with loop.validation():
            raise ValueError("no")


WAYS = [
    raising,
    raising_deep_down,
    raising_in_c,
    raising_in_a_with,
    raising_from_another,
    raising_after_one_that_was_kept,
    raising_around_a_generator,
    raising_in_a_validation,
]


@pytest.mark.parametrize("way", WAYS)
def test_an_exception_in_the_body_closes_everything_before_it_is_caught(loop, heard, way):
    """All callbacks hear of it and are closed although the traceback keeps the frame; the exception goes on as it was."""
    with pytest.raises(ValueError, match="no") as caught:
        way(loop)

    told = [one for one in heard.told if not one.startswith("batch")]
    assert caught.value.__traceback__ is not None
    assert FAULTY == told
    assert heard.fault is caught.value or isinstance(heard.fault, LoopLeft)


@pytest.mark.parametrize("way", WAYS)
def test_in_a_with_block_callbacks_get_the_exception_itself(loop, heard, way):
    """The block sees what goes through it, in every version of Python."""
    with pytest.raises(ValueError, match="no") as caught, loop:
        way(loop)

    assert FAULTY == [one for one in heard.told if not one.startswith("batch")]
    assert heard.fault is caught.value


def test_in_a_with_block_break_ends_it_as_outside(loop, heard):
    """The epoch in hand ends, and what ending raises is raised."""
    with loop:
        by_break(loop)

    assert SOUND == heard.told


def test_what_ending_raises_after_break_is_raised_by_the_with_block():
    """A callback that fails at the end is heard of."""

    class Fails(Callback):
        def on_train_end(self, logs=None):
            raise ValueError("at the end")

    with pytest.raises(ValueError, match="at the end"), jalon.Loop(Fails(), epochs=2, verbose=0) as loop:
        by_break(loop)


def test_the_stand_in_names_the_place(loop, heard):
    """Where Python does not show the exception, callbacks are told where it was raised and how to have it itself."""
    with pytest.raises(ValueError, match="no"):
        raising_in_c(loop)

    if isinstance(heard.fault, LoopLeft):
        assert "raised in raising_in_c, " in str(heard.fault)
        assert "with jalon.Loop" in str(heard.fault)


def test_an_iterator_that_is_forgotten_is_no_sound_end(loop, heard):
    """What is closed long after its loop was left, nobody knows how, counts as a fault, so that its backup stays."""
    epochs = iter(loop)
    next(epochs)
    del epochs
    gc.collect()

    assert FAULTY == heard.told
    assert isinstance(heard.fault, LoopLeft)


def test_exceptions_of_callbacks_are_raised(heard):
    """What a callback raises comes out of the loop, and all are closed."""

    class Fails(Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as caught:
        for _ in jalon.Loop([heard, Fails()], epochs=3, verbose=0):
            pass

    assert heard.fault is caught.value
    assert "closed" == heard.told[-1]


def test_leaving_the_inner_loop_ends_its_last_batch(loop, heard):
    """After ``break`` out of the batches, the one in hand has its end before the epoch has."""
    for _ in loop:
        for number in loop.batches(range(10)):
            if number == 1:
                break
        break

    assert ["train begin", "begin 0", "batch 0", "batch 1", "end 0", "train end", "closed"] == heard.told


def test_a_second_for_begins_anew(loop, heard):
    """The same loop trains again from its first epoch, with the same callbacks."""
    by_break(loop)
    by_break(loop)

    assert SOUND * 2 == heard.told


def test_a_loop_within_itself_is_refused(loop):
    """One training at a time."""
    for _ in loop:
        with pytest.raises(NotReady, match="a training is under way"):
            next(iter(loop))


def in_a_process(body):
    program = f"import jalon, os, signal, sys\nfrom jalon.callbacks import Callback\n{textwrap.dedent(body)}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


HEARS = """
class Hears(Callback):
    def on_exception(self, exc): print("exception", type(exc).__name__, flush=True)
    def on_train_end(self, logs=None): print("train end", flush=True)
    def close(self): print("closed", flush=True)
"""


def test_ctrl_c_closes_everything():
    """KeyboardInterrupt goes through the loop, and callbacks are closed on its way."""
    code, out, err = in_a_process(f"""{HEARS}
for epoch in jalon.Loop(Hears(), epochs=2, verbose=0):
    os.kill(os.getpid(), signal.SIGINT)
    while True: pass
""")

    assert -signal.SIGINT == code, err
    assert ["exception", "closed"] == [out.split()[0], out.split()[-1]]


def test_sigterm_leaves_after_the_batch_with_its_exit_code(tmp_path):
    """With a run folder the batch ends, all is backed up, and the program ends with 143."""
    code, out, err = in_a_process(f"""{HEARS}
for epoch in jalon.Loop(Hears(), epochs=2, verbose=0, run_dir={str(tmp_path)!r}):
    os.kill(os.getpid(), signal.SIGTERM)
""")

    assert 143 == code, err
    assert "exception Preempted\nclosed\n" == out


def test_a_loop_left_open_to_the_end_of_the_program_is_closed():
    """An iterator that is never finished is closed when the program ends."""
    code, out, err = in_a_process(f"""{HEARS}
epochs = iter(jalon.Loop(Hears(), epochs=2, verbose=0))
next(epochs)
""")

    assert 0 == code, err
    assert out.startswith("exception")
    assert out.endswith("closed\n")
