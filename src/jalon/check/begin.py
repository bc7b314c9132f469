"""What is said when training begins."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, NoReturn

from jalon.check.checking import ignored_now
from jalon.check.finding import Finding
from jalon.check.rule import RULES, Rule
from jalon.check.rules import load
from jalon.check.setup import Setup
from jalon.core.loop_support import LoopSupport
from jalon.core.run import Run
from jalon.errors import ArgumentError, HookNotReached, IneffectiveCallback

in_place_of_training: Callable[[Setup], NoReturn] | None = None
"""What is done in place of training, where the program runs only to be checked."""

NOT_REACHED = "JAL501"


def look_at(callbacks: Iterable[Any], run: Run, support: LoopSupport | None) -> None:
    """Say what is wrong with the callbacks of a training that is about to begin, before anything is written.

    Args:
        callbacks: The callbacks, in the order in which they run.
        run: The run.
        support: What the loop gives to callbacks, where it does not give all.

    Raises:
        ArgumentError: An error that no callback refuses by itself.
    """
    setup = Setup.of_run(callbacks, run, support)
    if in_place_of_training is not None:
        in_place_of_training(setup)
    if not run.warns:
        return
    ignored = ignored_now()
    for rule in _said_at_the_beginning():
        if rule.code not in ignored:
            for finding in rule.findings(setup):
                _say(finding)


@cache
def _said_at_the_beginning() -> tuple[Rule, ...]:
    load()
    return tuple(rule for rule in RULES.values() if rule.begins)


def _say(finding: Finding) -> None:
    if finding.severity == "error":
        raise ArgumentError(str(finding))
    kind = HookNotReached if finding.code == NOT_REACHED else IneffectiveCallback
    warnings.warn(str(finding), kind, stacklevel=_frames_of_jalon())


def _frames_of_jalon() -> int:
    """Return how far up the caller of jalon is, whose line a warning is to show."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "jalon":
        frame, level = frame.f_back, level + 1
    return level
