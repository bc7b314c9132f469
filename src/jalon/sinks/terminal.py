"""Progress on a stream: a moving line on a terminal, whole lines anywhere else."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import TextIO

from jalon.sinks.progress import ASCII, UNICODE, Progress, Style, bar_line, columns, layout, report, summary

TO_LINE_START, ERASE_TO_LINE_END, ERASE_BELOW = "\r", "\x1b[K", "\x1b[J"
BLUE, FAINT, ORANGE, PLAIN = "\x1b[38;5;32m", "\x1b[2m", "\x1b[38;5;172m", "\x1b[0m"
"""The blue and the orange that come nearest to Okabe's and Ito's among a terminal's 256 colours: who confuses red and green
tells them apart, and they can be read on light and on dark ground."""
_COLOUR = re.compile(r"\x1b\[[\d;]*m")


def moves(stream: TextIO) -> bool:
    """Return whether a stream is a terminal on which a line can be drawn over, and somebody looks on.

    A service that builds and tests, which sets ``CI``, keeps a log of what its terminal shows.
    """
    return _is_terminal(stream) and os.environ.get("TERM") not in ("dumb", "unknown") and not os.environ.get("CI")


def _is_terminal(stream: TextIO | None) -> bool:
    isatty = getattr(stream, "isatty", None)  # what stands in for the standard output often has write and flush alone
    return isatty is not None and isatty()


def style_of(stream: TextIO) -> Style:
    """Return the signs that a stream can show, coloured unless ``NO_COLOR`` is set."""
    try:
        (UNICODE.done + UNICODE.rest + UNICODE.mark).encode(stream.encoding or "ascii")
        signs = UNICODE
    except UnicodeEncodeError:
        signs = ASCII
    if os.environ.get("NO_COLOR"):
        return signs
    return replace(signs, done_colour=BLUE, rest_colour=FAINT, mark_colour=ORANGE, plain=PLAIN)


def width_of(stream: TextIO) -> int:
    """Return how many columns a terminal has at this moment."""
    with contextlib.suppress(OSError, ValueError):
        if columns := os.get_terminal_size(stream.fileno()).columns:
            return columns
    return shutil.get_terminal_size().columns


def _reflows() -> bool:
    """Return whether a terminal that becomes narrower breaks its lines anew, as all do but a few, which cut them."""
    term = os.environ.get("TERM", "")
    return "XTERM_VERSION" not in os.environ and term != "linux" and ("TMUX" in os.environ or not term.startswith("screen"))


class _Writer:
    """Writes text to a stream, with a question mark for what its encoding does not know."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self._write = stream.write

    def put(self, text: str) -> None:
        try:
            self._write(text)
        except UnicodeEncodeError:
            encoding = getattr(self.stream, "encoding", None) or "ascii"
            self._write(text.encode(encoding, "replace").decode(encoding))
        self.stream.flush()


class _Guard:
    """Tells when somebody else writes to a stream, before it is written.

    It stands in for the stream's own ``write``, so that whoever holds the stream, as a logging handler does, is seen.
    """

    def __init__(self, stream: TextIO, tell: Callable[[str], None]) -> None:
        write = stream.write

        def guarded(text: str) -> int:
            tell(text)
            return write(text)

        self._attributes = getattr(stream, "__dict__", {})  # a stream without any is used unguarded
        self._before = self._attributes.get("write")
        self._guarded = self._attributes["write"] = guarded

    def release(self) -> None:
        if self._attributes.get("write") is not self._guarded:
            return
        del self._attributes["write"]
        if self._before is not None:
            self._attributes["write"] = self._before


class Lines:
    """Show progress as whole lines, for pipes, log files and terminals that cannot draw.

    Args:
        stream: Where to.
        interval: Seconds between two lines within one epoch.
    """

    begins_by_title = True

    def __init__(self, stream: TextIO, *, interval: float = 60.0) -> None:
        self.interval = interval
        self._writer = _Writer(stream)

    def begin(self, progress: Progress) -> None:
        """Write nothing: a line is written when there is something to tell."""

    def draw(self, progress: Progress) -> None:
        """Write a line about an epoch under way."""
        self.say(report(progress))

    def finish(self, progress: Progress) -> None:
        """Write the epoch's line."""
        self.say(summary(progress))

    def say(self, message: str) -> None:
        """Write a message."""
        self._writer.put(message + "\n")

    def close(self) -> None:
        """Do nothing: every line was written whole."""


class Bar:
    """Show progress as one moving line of a terminal.

    What others print meanwhile is shown whole: the moving line makes room and is drawn again below it.

    Args:
        stream: The terminal.
    """

    interval = 0.05
    begins_by_title = True

    def __init__(self, stream: TextIO) -> None:
        self._style = style_of(stream)
        self._writer = _Writer(stream)
        self._drawn = ""
        self._width = 0
        self._within_line = False
        self._guards = [_Guard(shown, self._make_room) for shown in (stream, sys.stderr) if _is_terminal(shown)]

    def begin(self, progress: Progress) -> None:
        """Write the epoch's title."""
        if progress.title:
            self.say(progress.title)

    def draw(self, progress: Progress) -> None:
        """Draw the moving line, cut to the terminal as it is now."""
        # The last column stays free: a terminal that has filled it wraps before the next sign.
        width = width_of(self._writer.stream)
        line = layout(progress, width - 1, self._style)
        self._writer.put(self._new_line() + self._unwrapped(width) + TO_LINE_START + line + ERASE_TO_LINE_END)
        self._drawn, self._width = line, width

    def finish(self, progress: Progress) -> None:
        """Write the epoch's line in place of the moving one."""
        self.say(bar_line(progress, width_of(self._writer.stream) - 1, self._style))

    def say(self, message: str) -> None:
        """Write a message in place of the moving line."""
        self._writer.put(self._cleared() + self._new_line() + message + "\n")

    def close(self) -> None:
        """End the moving line where it stands and leave the streams as they were."""
        for guard in reversed(self._guards):
            guard.release()
        self._guards = []
        if self._drawn:
            self._drawn = ""
            with contextlib.suppress(OSError, ValueError):  # a terminal that is gone keeps nothing from being closed
                self._writer.put("\n")

    def _make_room(self, text: str) -> None:
        if self._drawn:
            self._writer.put(self._cleared())
        if text:
            self._within_line = not text.endswith("\n")

    def _cleared(self) -> str:
        if not self._drawn:
            return ""
        unwrapped, self._drawn = self._unwrapped(width_of(self._writer.stream)), ""
        return unwrapped + TO_LINE_START + ERASE_TO_LINE_END

    def _unwrapped(self, width: int) -> str:
        """Return what erases all but the first row of a line that a narrower terminal has broken, and goes to that row."""
        if width >= self._width or not self._drawn or not _reflows():
            return ""
        rows = (columns(_COLOUR.sub("", self._drawn)) - 1) // width
        return f"\x1b[{rows}A{TO_LINE_START}{ERASE_BELOW}" if rows else ""

    def _new_line(self) -> str:
        within, self._within_line = self._within_line, False
        return "\n" if within else ""
