"""``jalon stop``, ``pause``, ``resume``, ``save``, ``set`` and ``note``: commands to a running training."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console

from jalon.errors import ArgumentError, NotReady
from jalon.store.control import answer_to, send
from jalon.store.journal import JOURNAL, records
from jalon.store.process import is_alive

LOOK_SECONDS = 0.1
Wait = Annotated[float, Parameter(name="--wait")]


def stop(run: Path, *, at: Literal["batch", "epoch"] = "batch", wait: Wait = 60.0) -> int:
    """Stop a running training. The epoch's validation and what callbacks do at its end still run.

    Args:
        run: The run's folder.
        at: Whether the batch in hand is the last one, or the epoch is done first.
        wait: How many seconds to wait for the answer.
    """
    return _give(run, "stop", {"at": at}, wait)


def pause(run: Path, *, wait: Wait = 60.0) -> int:
    """Let a running training wait after the batch in hand, until it is told to go on.

    Args:
        run: The run's folder.
        wait: How many seconds to wait for the answer.
    """
    return _give(run, "pause", {}, wait)


def resume(run: Path, *, wait: Wait = 60.0) -> int:
    """Let a training that was paused go on.

    Args:
        run: The run's folder.
        wait: How many seconds to wait for the answer.
    """
    return _give(run, "resume", {}, wait)


def save(run: Path, *, wait: Wait = 60.0) -> int:
    """Have a running training backed up now.

    Args:
        run: The run's folder.
        wait: How many seconds to wait for the answer.
    """
    return _give(run, "save", {}, wait)


def set_number(run: Path, name: str, value: float, *, wait: Wait = 60.0) -> int:
    """Set a number of a running training: learning_rate, or what a callback declares, as EarlyStopping.patience.

    Args:
        run: The run's folder.
        name: The number's name.
        value: What it is to be.
        wait: How many seconds to wait for the answer.
    """
    return _give(run, "set", {"name": name, "value": value}, wait)


def note(run: Path, text: str, *, wait: Wait = 60.0) -> int:
    """Write a note into the journal of a running training.

    Args:
        run: The run's folder.
        text: The note.
        wait: How many seconds to wait for the answer.
    """
    return _give(run, "note", {"text": text}, wait)


def _give(run: Path, name: str, arguments: dict[str, Any], wait: float) -> int:
    """Give a command, and say what came of it; return 0 where it was done, 1 where it was refused or is still to come."""
    _refuse_ended(run, name)
    command = send(run, name, arguments, time=time.time())
    console = Console(soft_wrap=True)
    until = time.monotonic() + wait
    while (answer := answer_to(run, command)) is None and time.monotonic() < until:
        time.sleep(LOOK_SECONDS)
    if answer is None:
        console.print(f"No answer within {wait:g} s. It is done when the batch in hand ends.", markup=False, highlight=False)
        return 1
    console.print(answer.text, markup=False, highlight=False)
    return 0 if answer.outcome == "done" else 1


def _refuse_ended(run: Path, name: str) -> None:
    last: dict[str, Any] = {}
    process: dict[str, Any] = {}
    if not (run / JOURNAL).is_file():
        raise ArgumentError(f"jalon {name}: {run} is no run: it has no {JOURNAL}. Name the folder given as run_dir.")
    for record in records(run / JOURNAL):
        if record["kind"] in ("begin", "end"):
            last = record
            process = record.get("process") or process
    if last.get("kind") == "end":
        raise NotReady(f"jalon {name}: the training in {run} has ended: {last.get('reason') or last.get('outcome')}.")
    if is_alive(process) is False:
        raise NotReady(f"jalon {name}: the process that trained in {run} is gone. Start the program again to go on.")
