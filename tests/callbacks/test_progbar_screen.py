"""What a terminal shows of a training, read from the screen of a terminal emulator behind a real pseudo-terminal."""

from __future__ import annotations

import codecs
import contextlib
import fcntl
import os
import pty
import struct
import sys
import termios

import pyte
import pytest

from jalon.callbacks import EarlyStopping, ProgbarLogger, ReduceLROnPlateau
from jalon.core.callback import Callback
from jalon.core.callback_list import CallbackList
from jalon.core.run import Best, Run
from jalon.testing import FakeModel, FakeTrainer, ManualClock

LOSSES = [0.5, 0.25, 0.4, 0.3]


class Rewrapping(pyte.Screen):
    """Is a screen that breaks the line with the cursor anew when it becomes narrower, as most terminals do."""

    def resize(self, lines=None, columns=None):
        line = self.display[self.cursor.y].rstrip()
        row = self.cursor.y
        super().resize(lines, columns)
        for start in range(0, len(line), columns):
            self.cursor_position(row + 1 + start // columns, 1)
            self.erase_in_line(2)
            self.draw(line[start : start + columns])


class Terminal:
    """Is a pseudo-terminal with a screen behind it."""

    def __init__(self, columns, encoding="utf-8", screen=pyte.Screen):
        self.screen = screen(columns, 30)
        self.screen.set_mode(pyte.modes.LNM)
        self._feed = pyte.Stream(self.screen).feed
        self._decode = codecs.getincrementaldecoder(encoding)().decode
        self._master, slave = pty.openpty()
        os.set_blocking(self._master, False)
        self.stream = os.fdopen(slave, "w", encoding=encoding)
        self.resize(columns)

    def resize(self, columns):
        """Change the width, after all that was written for the old one has arrived."""
        self.catch_up()
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
        if columns != self.screen.columns:
            self.screen.resize(30, columns)

    def catch_up(self):
        """Let the screen show all that was written."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self._feed(self._decode(os.read(self._master, 65536)))

    def read(self):
        """Return the lines on the screen, without the empty ones below."""
        self.catch_up()
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip().split("\n")

    def colours_of(self, sign):
        """Return the colours of a sign on the screen."""
        return {char.fg for row in self.screen.buffer.values() for char in row.values() if char.data == sign}

    def close(self):
        self.stream.close()
        os.close(self._master)


class Looking(Callback):
    """Looks at the screen after each step, keeps what stood there in the middle of each epoch, and makes it narrower.

    Args:
        terminal: The terminal.
        narrower: The columns that it has from the middle of an epoch on, by epoch.
    """

    order = 200

    def __init__(self, terminal, narrower):
        self.terminal, self.narrower = terminal, narrower
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.terminal.catch_up()
        if batch == 30:
            self.seen.append(self.terminal.read())
            if self.run.epoch in self.narrower:
                self.terminal.resize(self.narrower[self.run.epoch])


@pytest.fixture
def on_screen(monkeypatch):
    """Return a function that trains on a terminal, and returns that and who has looked at it."""
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "CI", "TMUX", "XTERM_VERSION"):
        monkeypatch.delenv(name, raising=False)

    def on_screen(terminal, *callbacks, narrower=None):
        looking = Looking(terminal, narrower or {})
        with contextlib.closing(terminal), monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", terminal.stream)
            train([*callbacks, looking])
            looking.seen.append(terminal.read())
        return looking.seen

    return on_screen


def train(callbacks):
    clock = ManualClock()
    run = Run(FakeTrainer(), epochs=10)
    run.batch_size = 32
    told = CallbackList([*callbacks, ProgbarLogger(clock=clock)])
    told.begin(run, FakeModel(run.trainer, run), {"verbose": 1, "epochs": 10, "steps": 45})
    with told.session():
        told.on_train_begin()
        go_on(run, callbacks)
        for epoch, value in enumerate(LOSSES):
            run.epoch, run.phase = epoch, "train"
            told.on_epoch_begin(epoch)
            for batch in range(45):
                clock.advance(0.09)
                told.tell_batch("on_train_batch_end", batch, {"loss": 0.6, "accuracy": 0.9})
            told.on_epoch_end(epoch, {"loss": 0.6, "accuracy": 0.9, "val_loss": value})
            run.commit()


def go_on(run, callbacks):
    """Put back what an earlier start left, as a backup does."""
    for stopper in callbacks:
        if hasattr(stopper, "on_restart"):
            run.resumed = True
            stopper.load_state_dict(stopper.on_restart)
            run.bests["val_loss"] = Best("val_loss", stopper.best, stopper.best_epoch)


def deciding():
    return EarlyStopping(patience=5), ReduceLROnPlateau(patience=3)


def test_everything_there_is_to_know(on_screen):
    """A wide terminal shows bar, time to go, pace, samples, metrics, the best and how long ago, rate and countdowns."""
    seen = on_screen(Terminal(300), *deciding())

    head = "31/45 ━━━━━━━━━━━━━─────── ETA 1s 90ms/step - 356 samples/s - loss: 0.6000 - accuracy: 0.9000"
    assert [
        f"{head} - lr 0.001 - stop in 5 - lr cut in 3",
        f"{head} - ★ val_loss: 0.5000, 1 epoch ago - lr 0.001 - stop in 5 - lr cut in 3",
        f"{head} - ★ val_loss: 0.2500, 1 epoch ago - lr 0.001 - stop in 5 - lr cut in 3",
        f"{head} - ★ val_loss: 0.2500, 2 epochs ago - lr 0.001 - stop in 4 - lr cut in 2",
    ] == [lines[-1] for lines in seen[:-1]]


def test_what_an_epoch_leaves(on_screen):
    """A finished epoch's line marks what is the best so far, or names the best beside it, and says what was decided."""
    lines = on_screen(Terminal(300), *deciding())[-1]

    head = f"45/45 {'━' * 20} 4s 90ms/step - 356 samples/s - loss: 0.6000 - accuracy: 0.9000"
    assert [
        "Epoch 1/10",
        f"{head} - val_loss: 0.5000 ★ - learning_rate: 1.0000e-03 - stop in 5 - lr cut in 3",
        "Epoch 2/10",
        f"{head} - val_loss: 0.2500 ★ - learning_rate: 1.0000e-03 - stop in 5 - lr cut in 3",
        "Epoch 3/10",
        f"{head} - val_loss: 0.4000 (★ 0.2500, 1 epoch ago) - learning_rate: 1.0000e-03 - stop in 4 - lr cut in 2",
        "Epoch 4/10",
        f"{head} - val_loss: 0.3000 (★ 0.2500, 2 epochs ago) - learning_rate: 1.0000e-03 - stop in 3 - lr cut in 1",
    ] == lines


def test_an_epoch_s_rate_that_nobody_reports(on_screen):
    """The learning rate stands in the line of a finished epoch, unless it is among the metrics."""
    assert on_screen(Terminal(300), EarlyStopping(patience=5))[-1][1].endswith("val_loss: 0.5000 ★ - lr 0.001 - stop in 5")


def test_no_cut_is_foretold_where_there_is_none(on_screen):
    """A rate that is as low as it may be is not said to be cut."""
    assert on_screen(Terminal(300), ReduceLROnPlateau(patience=3, min_lr=0.001))[2][-1].endswith("1 epoch ago - lr 0.001")


@pytest.mark.parametrize("columns", [40, 80, 120, 300])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_one_row_at_any_width(on_screen, columns, encoding):
    """The moving line is one row, whatever the width and the signs, and its last column stays free."""
    seen = on_screen(Terminal(columns, encoding), *deciding())

    for lines in seen[:-1]:
        assert lines[-1].startswith("31/45 ")
        assert not any(line.startswith(tuple(f"{step}/45" for step in range(1, 45))) for line in lines[:-1])
        assert len(lines[-1]) < columns


def test_eighty_columns(on_screen):
    """At 80 columns there is room for the first metric, the best and when a callback stops the training."""
    seen = on_screen(Terminal(80), EarlyStopping(patience=5))

    assert "31/45 ━━━━━━──── ETA 1s - loss: 0.6000 - ★ val_loss: 0.2500, 2 ago - stop in 4" == seen[3][-1]


def test_ascii(on_screen):
    """Where the encoding has no signs for it, the bar is of equals signs and the best has an asterisk."""
    line = on_screen(Terminal(300, "ascii"), EarlyStopping(patience=5))[2][-1]

    assert line.startswith("31/45 =============....... ETA 1s")
    assert " - * val_loss: 0.2500, 1 epoch ago - lr 0.001" in line


@pytest.mark.parametrize(("no_color", "colours"), [("", ("0087d7", "d78700")), ("1", ("default", "default"))])
def test_colours(on_screen, monkeypatch, no_color, colours):
    """The bar is blue and the mark of the best orange, which who confuses red and green tells apart; not with NO_COLOR."""
    monkeypatch.setenv("NO_COLOR", no_color)
    terminal = Terminal(120)
    on_screen(terminal, EarlyStopping(patience=5))

    assert ({colours[0]}, {colours[1]}) == (terminal.colours_of("━"), terminal.colours_of("★"))


@pytest.mark.parametrize(("screen", "term"), [(pyte.Screen, "linux"), (Rewrapping, "xterm-256color")])
def test_a_resize_leaves_nothing_behind(on_screen, monkeypatch, screen, term):
    """A terminal made narrower in the middle of an epoch shows one moving line, whether it cuts or breaks its lines."""
    monkeypatch.setenv("TERM", term)
    seen = on_screen(Terminal(120, screen=screen), EarlyStopping(patience=5), narrower={0: 100, 1: 60, 2: 43})

    assert "31/45 ━━━──" == seen[3][-1][:11]
    assert 8 == sum("/10" in line or line.startswith("45/45 ") for line in seen[-1])
    assert not any(line.startswith("31/45") or line.startswith("32/45") for line in seen[-1])


def test_the_best_from_before_a_resume(on_screen):
    """A training that is gone on with knows the best from before, and how long callbacks have waited."""
    stopper = EarlyStopping(patience=5)
    stopper.on_restart = {"wait": 2, "best": 0.125, "best_epoch": -2, "stopped_epoch": 0}
    seen = on_screen(Terminal(300), stopper)

    assert seen[0][-1].endswith(" - ★ val_loss: 0.1250, 2 epochs ago - lr 0.001 - stop in 3")
    assert seen[-1][1].endswith(" - val_loss: 0.5000 (★ 0.1250, 2 epochs ago) - lr 0.001 - stop in 2")
