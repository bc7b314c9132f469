"""Streams on which progress is shown, real pseudo-terminals among them."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import pty
import struct
import sys
import termios

import pytest

from jalon.sinks.progress import ASCII, UNICODE, Progress
from jalon.sinks.terminal import Bar, Lines, moves, style_of, width_of

HALFWAY = Progress("Epoch 3/50", seen=22, total=45, metrics={"loss": 0.2215})


class Terminal:
    """Is a pseudo-terminal: the stream that a program writes to, and what arrived on the other side."""

    def __init__(self, encoding="utf-8"):
        self.master, slave = pty.openpty()
        self.stream = os.fdopen(slave, "w", encoding=encoding)
        self.resize(80)

    def resize(self, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def close(self):
        self.stream.close()
        os.close(self.master)

    def received(self):
        self.stream.flush()
        self.stream.write("\0")
        self.stream.flush()
        data = b""
        while not data.endswith(b"\0"):
            data += os.read(self.master, 4096)
        return data[:-1].decode().replace("\r\n", "\n")


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    for name in ("CI", "TMUX", "XTERM_VERSION"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def terminal():
    with contextlib.closing(Terminal()) as terminal:
        yield terminal


def test_moves(terminal, monkeypatch, tmp_path):
    """A line moves on a terminal, but neither on a dumb one, nor on that of a service that builds and tests, nor in a file."""
    with open(tmp_path / "log", "w") as file:
        assert not moves(file)
    assert moves(terminal.stream)

    monkeypatch.setenv("CI", "true")
    assert not moves(terminal.stream)

    monkeypatch.delenv("CI")
    monkeypatch.setenv("TERM", "dumb")
    assert not moves(terminal.stream)


def test_style(terminal, monkeypatch):
    """The bar has signs that the encoding knows, and colours unless NO_COLOR is set."""
    assert UNICODE == style_of(terminal.stream)
    with open(os.devnull, "w", encoding="ascii") as file:
        assert ASCII == style_of(file)

    monkeypatch.delenv("NO_COLOR")
    assert style_of(terminal.stream).plain


def test_width_follows(terminal):
    """The width is the terminal's at this moment."""
    terminal.resize(133)
    assert 133 == width_of(terminal.stream)

    terminal.resize(44)
    assert 44 == width_of(terminal.stream)


def test_width_unknown(tmp_path, monkeypatch):
    """What is no terminal has the width that the environment tells."""
    monkeypatch.setenv("COLUMNS", "77")
    with open(tmp_path / "log", "w") as file:
        assert 77 == width_of(file)


def test_ascii_file(tmp_path):
    """A name that the encoding does not know costs a question mark, not the line."""
    with open(tmp_path / "log", "w", encoding="ascii") as file:
        lines = Lines(file)
        lines.say("précision")
        lines.finish(Progress("", 1, 1, metrics={"précision": 0.5}))

    assert "pr?cision\n1/1 - 0s - pr?cision: 0.5000\n" == (tmp_path / "log").read_text()


def test_ascii_terminal():
    """An ASCII terminal gets a bar of ASCII signs."""
    with contextlib.closing(Terminal(encoding="ascii")) as terminal:
        bar = Bar(terminal.stream)
        bar.draw(HALFWAY)
        bar.close()

        assert "\r22/45 =========........... ETA 0s - loss: 0.2215\x1b[K\n" == terminal.received()


def test_others_print(terminal):
    """What somebody prints while the line moves stands on a line of its own, and the moving line comes below it."""
    bar = Bar(terminal.stream)
    bar.draw(HALFWAY)
    print("first", file=terminal.stream)
    print("second", file=terminal.stream)
    bar.draw(HALFWAY)
    bar.close()

    start, printed, again = terminal.received().partition("\r\x1b[Kfirst\nsecond\n")
    assert printed
    assert start.startswith("\r22/45")
    assert again.startswith("\r22/45")


def test_others_print_part_of_a_line(terminal):
    """What somebody printed without ending the line is not drawn over."""
    bar = Bar(terminal.stream)
    print("part", end="", file=terminal.stream)
    bar.draw(HALFWAY)
    bar.close()

    assert terminal.received().startswith("part\n\r22/45")


def test_logging_while_moving(terminal, monkeypatch):
    """A logging handler made before training, on the standard error, is seen too."""
    with os.fdopen(os.dup(terminal.stream.fileno()), "w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        handler = logging.StreamHandler()

        bar = Bar(terminal.stream)
        bar.draw(HALFWAY)
        handler.handle(logging.makeLogRecord({"msg": "careful"}))
        bar.close()

    assert terminal.received().endswith("\r\x1b[Kcareful\n")


def test_message_in_place_of_the_line(terminal):
    """A message takes the place of the moving line."""
    bar = Bar(terminal.stream)
    bar.draw(HALFWAY)
    bar.say("saved")
    bar.close()

    assert terminal.received().endswith("\x1b[K\r\x1b[Ksaved\n")


def test_bar_within_a_bar(terminal):
    """A bar drawn while another moves, as by evaluate within a callback, leaves both lines whole and the stream as it was."""
    outer = Bar(terminal.stream)
    outer.draw(HALFWAY)
    inner = Bar(terminal.stream)
    inner.finish(Progress("", 9, 9))
    inner.close()
    outer.close()

    assert terminal.received().endswith("\r\x1b[K9/9 ━━━━━━━━━━━━━━━━━━━━ 0s\n")
    assert "write" not in vars(terminal.stream)


@pytest.mark.parametrize(
    ("setting", "erased"),
    [
        ({}, "\x1b[1A\r\x1b[J"),
        ({"TERM": "linux"}, ""),
        ({"TERM": "screen"}, ""),
        ({"TERM": "screen", "TMUX": "1"}, "\x1b[1A\r\x1b[J"),
    ],
)
def test_a_terminal_made_narrower(terminal, monkeypatch, setting, erased):
    """Where a terminal that becomes narrower has broken the moving line in two, both rows go; one that cuts it has one."""
    for name, value in setting.items():
        monkeypatch.setenv(name, value)
    bar = Bar(terminal.stream)
    bar.draw(HALFWAY)
    terminal.resize(30)
    bar.draw(HALFWAY)
    bar.close()

    line = "22/45 ━━━━━━━━━─────────── ETA 0s - loss: 0.2215"
    assert f"\r{line}\x1b[K{erased}\r22/45 ETA 0s - loss: 0.2215\x1b[K\n" == terminal.received()


def test_close_ends_the_line_once(terminal):
    """Closing ends the moving line where it stands, and once."""
    bar = Bar(terminal.stream)
    bar.draw(HALFWAY)
    bar.close()
    bar.close()

    assert "\r22/45 ━━━━━━━━━─────────── ETA 0s - loss: 0.2215\x1b[K\n" == terminal.received()
    assert "write" not in vars(terminal.stream)


def test_close_when_the_terminal_is_gone(terminal):
    """A terminal that was closed meanwhile raises nothing at the end."""
    bar = Bar(terminal.stream)
    bar.draw(HALFWAY)
    terminal.stream.close()

    bar.close()
