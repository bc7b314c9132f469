"""Progress on a stream: a moving line on a terminal, whole lines anywhere else."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable
from typing import TextIO

from jalon.sinks.progress import ASCII, UNICODE, Progress, Style, bar_line, layout, report, summary

TO_LINE_START, ERASE_TO_LINE_END = "\r", "\x1b[K"


def moves(stream: TextIO) -> bool:
    """Return whether a stream is a terminal on which a line can be drawn over."""
    return _is_terminal(stream) and os.environ.get("TERM") not in ("dumb", "unknown")


def _is_terminal(stream: TextIO | None) -> bool:
    isatty = getattr(stream, "isatty", None)  # what stands in for the standard output often has write and flush alone
    return isatty is not None and isatty()


def style_of(stream: TextIO) -> Style:
    """Return the signs that a stream can show, coloured unless ``NO_COLOR`` is set."""
    try:
        (UNICODE.done + UNICODE.rest).encode(stream.encoding or "ascii")
        signs = UNICODE
    except UnicodeEncodeError:
        signs = ASCII
    if os.environ.get("NO_COLOR"):
        return signs
    return Style(signs.done, signs.rest, done_colour="\x1b[36m", rest_colour="\x1b[2m", plain="\x1b[0m")


def width_of(stream: TextIO) -> int:
    """Return how many columns a terminal has at this moment."""
    with contextlib.suppress(OSError, ValueError):
        if columns := os.get_terminal_size(stream.fileno()).columns:
            return columns
    return shutil.get_terminal_size().columns


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

    def __init__(self, stream: TextIO) -> None:
        self._style = style_of(stream)
        self._writer = _Writer(stream)
        self._moving = False
        self._within_line = False
        self._guards = [_Guard(shown, self._make_room) for shown in (stream, sys.stderr) if _is_terminal(shown)]

    def begin(self, progress: Progress) -> None:
        """Write the epoch's title."""
        if progress.title:
            self.say(progress.title)

    def draw(self, progress: Progress) -> None:
        """Draw the moving line, cut to the terminal as it is now."""
        # The last column stays free: a terminal that has filled it wraps before the next sign.
        line = layout(progress, width_of(self._writer.stream) - 1, self._style)
        self._writer.put(self._new_line() + TO_LINE_START + line + ERASE_TO_LINE_END)
        self._moving = True

    def finish(self, progress: Progress) -> None:
        """Write the epoch's line in place of the moving one."""
        self.say(bar_line(progress, self._style))

    def say(self, message: str) -> None:
        """Write a message in place of the moving line."""
        self._writer.put(self._cleared() + self._new_line() + message + "\n")

    def close(self) -> None:
        """End the moving line where it stands and leave the streams as they were."""
        for guard in reversed(self._guards):
            guard.release()
        self._guards = []
        if self._moving:
            self._moving = False
            with contextlib.suppress(OSError, ValueError):  # a terminal that is gone keeps nothing from being closed
                self._writer.put("\n")

    def _make_room(self, text: str) -> None:
        if self._moving:
            self._writer.put(self._cleared())
        if text:
            self._within_line = not text.endswith("\n")

    def _cleared(self) -> str:
        moving, self._moving = self._moving, False
        return TO_LINE_START + ERASE_TO_LINE_END if moving else ""

    def _new_line(self) -> str:
        within, self._within_line = self._within_line, False
        return "\n" if within else ""
