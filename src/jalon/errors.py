"""Every exception and warning of jalon.

::

    JalonError
    ├── ArgumentError          (ValueError)   a wrong argument, refused where it is given
    │   ├── UnknownName                       a name that is not known; the nearest one is suggested
    │   └── UnexpectedArgument (TypeError)    an argument that there is not; the nearest one is suggested
    ├── DataError              (ValueError)   data that cannot be trained on
    ├── MissingMetric          (KeyError, ValueError) a monitor that nothing reports
    ├── CheckpointError        (OSError)      a file that cannot be written or read back
    │   ├── CheckpointMismatch                a whole file that belongs to something else
    │   └── FolderInUse                       a folder that another process writes to
    ├── StateMismatch          (ValueError)   a saved state that does not fit the callbacks
    ├── LoopLeft               (RuntimeError) a loop written by hand was left, and by what cannot be known
    ├── NotReady               (RuntimeError) something asked for before it exists
    └── MissingPackage         (ImportError)  an optional package that is not installed

    Preempted                  (SystemExit)   training was left and saved, to be gone on with by another start

    JalonWarning               (UserWarning)
    ├── CallbackDegraded                      an observing callback failed; training goes on
    ├── SaveFailed                            a save failed; the old file is intact
    ├── IneffectiveCallback                   a callback that can have no effect as it is set up
    ├── OlderSpelling                         an argument of Keras 2; it names today's
    ├── WithoutBridge                         callbacks given to a foreign loop directly, and what they do without
    └── HookNotReached                        a callback waits for something that the loop never does

Each exception keeps what it is about as attributes.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class JalonError(Exception):
    """Is the base of every exception that jalon raises on purpose."""


class ArgumentError(JalonError, ValueError):
    """Says that an argument is wrong, where it was given."""


class UnknownName(ArgumentError):
    """Says that a name is not known, and which one is nearest.

    Args:
        what: What was being looked up, as in ``"loss"``.
        name: The name received.
        known: The names there are.
        where: Who asked, as in ``"Model.compile"``.
    """

    def __init__(self, what: str, name: str, known: Iterable[str], *, where: str) -> None:
        self.name = name
        self.known = tuple(sorted(known))
        super().__init__(f"{where}: unknown {what} {name!r}.{suggestion(name, self.known)} Known: {', '.join(self.known)}.")


class UnexpectedArgument(ArgumentError, TypeError):
    """Says that there is no such argument, and which one is nearest.

    Args:
        name: The name received.
        known: The names there are.
        where: What was called, as in ``"EarlyStopping"``.
    """

    def __init__(self, name: str, known: Iterable[str], *, where: str) -> None:
        self.name = name
        self.known = tuple(known)
        super().__init__(
            f"{where}: there is no argument {name!r}.{suggestion(name, self.known)} Arguments: {', '.join(self.known) or 'none'}."
        )


class DataError(JalonError, ValueError):
    """Says that data cannot be trained on, and why."""


class MissingMetric(JalonError, KeyError, ValueError):
    """Says that a monitor names a metric that nothing reports.

    Args:
        who: The callback that monitors.
        monitor: The name it looks for.
        available: The metrics there are.
        when: When it was noticed, as in ``"epoch 1"``.
    """

    def __init__(self, who: str, monitor: str, available: Iterable[str], *, when: str) -> None:
        self.monitor = monitor
        self.available = tuple(sorted(available))
        self.message = (
            f"{who} monitors {monitor!r}, which {when} does not report. "
            f"Reported: {', '.join(self.available) or 'nothing'}.{suggestion(monitor, self.available)}"
        )
        super().__init__(self.message)

    def __str__(self) -> str:
        return self.message


class CheckpointError(JalonError, OSError):
    """Says that a checkpoint cannot be written or read back."""


class CheckpointMismatch(CheckpointError):
    """Says that a checkpoint is whole but belongs to another model."""


class FolderInUse(CheckpointError):
    """Says that another process writes to a folder, and which.

    Args:
        folder: The folder.
        pid: The other process, if it is known.
        who: Who wanted to write there.
    """

    def __init__(self, folder: object, pid: int | None, *, who: str) -> None:
        self.pid = pid
        other = "another process" if pid is None else f"process {pid}"
        super().__init__(f"{who}: {other} is training in {folder}. Wait for its end, stop it, or choose another folder.")


class StateMismatch(JalonError, ValueError):
    """Says that a saved state does not fit the callbacks it is given to."""


class LoopLeft(JalonError, RuntimeError):
    """Stands in ``on_exception`` for an exception in the body of a loop written by hand that Python does not show to the loop.

    Args:
        how: How it was left, in words.
    """

    def __init__(self, how: str) -> None:
        super().__init__(
            f"The loop was left {how}. Write `with jalon.Loop(...) as loop:` around it to have the exception itself."
        )


class NotReady(JalonError, RuntimeError):
    """Says that something was asked for before it exists."""


class MissingPackage(JalonError, ImportError):
    """Says that an optional package is not installed, and how to install it."""


class Preempted(SystemExit):
    """Says that training was left before its end and saved, to be gone on with when the program is started again.

    It ends the program with the code that schedulers know, unless somebody catches it.

    Args:
        why: The reason, in words.
        exit_code: The process's exit code: 128 and the signal's number. Defaults to 143, that of SIGTERM.
    """

    def __init__(self, why: str = "it was asked to", exit_code: int = 143) -> None:
        self.why = why
        super().__init__(exit_code)

    def __str__(self) -> str:
        return f"Training was left: {self.why}. Start the program again to go on."


class JalonWarning(UserWarning):
    """Is the base of every warning that jalon gives."""


class CallbackDegraded(JalonWarning):
    """Says that an observing callback failed while training goes on."""


class SaveFailed(JalonWarning):
    """Says that a save failed and that the old file is intact."""


class IneffectiveCallback(JalonWarning):
    """Says that a callback can have no effect as it is set up."""


class OlderSpelling(JalonWarning):
    """Says how an argument of Keras 2 is written today."""


class WithoutBridge(JalonWarning):
    """Says what callbacks do without when they are given to a foreign loop directly."""


class HookNotReached(JalonWarning):
    """Says which hooks of a callback the loop never reaches, and what to do."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the nearest known name, or nothing."""
    lowered = {candidate.lower(): candidate for candidate in known}
    near = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.6)
    return f" Did you mean {lowered[near[0]]!r}?" if near else ""
