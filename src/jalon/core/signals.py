"""What happens in ``fit`` when the machine asks for the end: signals set a flag, and the loop leaves after its batch.

============  ==================================================================================================
signal        who sends it
============  ==================================================================================================
``SIGTERM``   Kubernetes, systemd, SLURM, LSF, PBS, HTCondor, a cloud's machine that shuts down
``SIGINT``    Ctrl-C, LSF before ``SIGTERM``
``SIGUSR1``   SLURM's ``--signal=USR1@60``, Grid Engine's soft time limit and ``-notify``
``SIGUSR2``   Grid Engine's ``-notify`` before it kills
``SIGXCPU``   the soft limit of processor time of LSF, Grid Engine and ``ulimit -t``
``SIGHUP``    a terminal or connection that is gone
============  ==================================================================================================

Each of them ends a process that does nothing about it, so that taking them loses nothing.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jalon.core.run import Run
from jalon.errors import Preempted

SIGNALS: tuple[signal.Signals, ...] = tuple(
    getattr(signal, name)
    for name in ("SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2", "SIGXCPU", "SIGHUP")
    if hasattr(signal, name)  # Windows has the first two
)
SAME_WITHIN_SECONDS = 1.0
"""For how long a signal that comes again is the same one: ``timeout``, ``torchrun`` and the like send it a second time to
processes that the first one reached as members of their group."""


@contextmanager
def leaving_on_signals(run: Run) -> Iterator[None]:
    """Ask a run to be left when a signal asks for the end of the process, as long as the block lasts.

    A handler sets a flag and does nothing else. A second signal of a kind does at once what it does without jalon: Ctrl-C
    raises ``KeyboardInterrupt`` where the program stands, the others end the process. A signal that came too late for the
    loop to heed it is heeded at the end of the block.

    Signals that are ignored, or that somebody else handles, in Python or (as seen on Linux) in C, are left to them. In any
    other thread than the main one, where Python takes no handlers, the block does nothing.

    Args:
        run: What is asked to leave.

    Raises:
        Preempted: A signal came and the block ended all the same.
        KeyboardInterrupt: The signal was Ctrl-C.
    """
    if not _in_main_thread():
        yield
        return
    leaving = _Leaving(run)
    leaving.install()
    try:
        yield
    finally:
        leaving.uninstall()
    if leaving.was_asked:
        raise run.left()


class _Leaving:
    """Handles the signals of one run: the first of a kind is noted, the next one does what it did before.

    Args:
        run: What is asked to leave.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._process = os.getpid()
        self._before: dict[int, Any] = {}
        self._first: dict[int, float] = {}

    @property
    def was_asked(self) -> bool:
        """Whether a signal came."""
        return bool(self._first)

    def install(self) -> None:
        for signum in free_signals():
            self._before[signum] = signal.signal(signum, self)

    def uninstall(self) -> None:
        """Put back what was there, except where somebody has put something else there since."""
        for signum, before in self._before.items():
            if signal.getsignal(signum) is self:
                signal.signal(signum, before)

    def __call__(self, signum: int, frame: Any) -> None:
        now = self._run.clock.monotonic()
        first = self._first.setdefault(signum, now)
        before = self._before[signum]
        # A process that was forked in the block has inherited the handler; nobody in it looks at the flag.
        if os.getpid() != self._process or now - first > SAME_WITHIN_SECONDS:
            _do_as_before(before, signum, frame)
            return
        self._run.leave(KeyboardInterrupt() if signum == signal.SIGINT else _preempted(signum))
        if isinstance(before, _Leaving):  # a fit within a fit
            before(signum, frame)


def _preempted(signum: int) -> Preempted:
    return Preempted(f"{signal.Signals(signum).name} was received", 128 + signum)


def _do_as_before(before: Any, signum: int, frame: Any) -> None:
    if callable(before):  # Python's own handler of Ctrl-C; SIG_DFL is no function
        before(signum, frame)
    else:
        signal.signal(signum, before)
        os.kill(os.getpid(), signum)


def free_signals() -> tuple[signal.Signals, ...]:
    """Return those of ``SIGNALS`` with which nobody but jalon does anything of his own."""
    in_c = _caught_signals()
    return tuple(signum for signum in SIGNALS if _is_free(signum, caught=bool(in_c >> (signum - 1) & 1)))


def _is_free(signum: signal.Signals, *, caught: bool) -> bool:
    handler = signal.getsignal(signum)
    if handler is signal.SIG_DFL:
        return not caught  # it may be a handler of C code, as faulthandler.register sets
    return handler is signal.default_int_handler or isinstance(handler, _Leaving)


def _caught_signals() -> int:
    """Return the set of signals that this process handles, as Linux shows it; empty where that cannot be known."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    return next((int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt:")), 0)


@contextmanager
def signals_held_back(signals: Iterable[signal.Signals]) -> Iterator[None]:
    """Start processes that get none of these signals until they call :func:`outlast_signals`.

    In this process nothing is lost: what comes meanwhile is delivered to another thread, or at the end of the block.

    Args:
        signals: Which.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def outlast_signals(signals: Iterable[signal.Signals]) -> None:
    """Let signals do nothing to this process, which serves another one that decides what they mean.

    Programs started from here are not affected. In any other thread than the main one nothing is done.

    Args:
        signals: Which; those that were held back come through again.
    """
    if not _in_main_thread():
        return
    for signum in signals:
        signal.signal(signum, _do_nothing)  # and not SIG_IGN, which programs started from here would inherit
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)


def _do_nothing(signum: int, frame: Any) -> None:
    pass


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
