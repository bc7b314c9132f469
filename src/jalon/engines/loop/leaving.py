"""How the body of a ``for`` was left, as far as the iterator that is being closed can see it."""

from __future__ import annotations

import dis
import gc
import inspect
import os
import signal
import threading
from types import FrameType, TracebackType

from jalon.errors import LoopLeft

_POPS = {"POP_TOP", "POP_ITER"}
"""What Python does with the iterator of a ``for`` that is left by ``break`` or ``return``."""

_FIRST_EXIT_CODE = 128


def fault_of(frame: FrameType | None) -> BaseException | None:
    """Return the exception that goes through a frame in which an iterator is being closed; ``None`` after ``break``, ``return``.

    Python 3.11 makes the exception itself known only to those who catch it: a :class:`~jalon.errors.LoopLeft` that names the
    place stands for it then, and also where an iterator is closed long after its loop.

    Args:
        frame: The frame that the iterator's own was called from.
    """
    while frame is not None:
        passing = _tracebacks(frame)
        if not passing:
            return None if _operation(frame) in _POPS else LoopLeft("long after the loop was left")
        if not _is_being_closed(frame):
            return _exception(passing) or LoopLeft(
                f"by an exception raised in {frame.f_code.co_qualname}, {frame.f_code.co_filename}:{frame.f_lineno}"
            )
        frame = frame.f_back
    return LoopLeft("long after the loop was left")


def _tracebacks(frame: FrameType) -> list[TracebackType]:
    """Return those of an exception that has just been raised in a frame, or gone up to it."""
    return [
        one
        for one in gc.get_referrers(frame)
        if isinstance(one, TracebackType) and one.tb_frame is frame and one.tb_lasti == frame.f_lasti
    ]


def _exception(passing: list[TracebackType]) -> BaseException | None:
    known = (one for one in gc.get_referrers(*passing) if isinstance(one, BaseException))
    return next((one for one in known if any(one.__traceback__ is each for each in passing)), None)


def _is_being_closed(frame: FrameType) -> bool:
    """Return whether a frame is that of a generator which is itself being closed, as of one around the iterator."""
    return bool(frame.f_code.co_flags & inspect.CO_GENERATOR) and _operation(frame) in ("YIELD_VALUE", "RESUME", "SEND")


def _operation(frame: FrameType) -> str:
    return dis.opname[frame.f_code.co_code[frame.f_lasti]] if frame.f_lasti >= 0 else ""


def send_again(left: BaseException) -> None:
    """Let a signal that asked for the end of the process come again, where what was to be raised cannot go anywhere."""
    signum = left.code - _FIRST_EXIT_CODE if isinstance(left, SystemExit) and isinstance(left.code, int) else signal.SIGINT
    # From another thread: what Python's own handler raises would end in the iterator that is being closed.
    threading.Thread(target=os.kill, args=(os.getpid(), signum), daemon=True).start()
