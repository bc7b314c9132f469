"""Runs a program for ``jalon check`` and ``jalon explain``: up to where its training would begin, or measured."""

from __future__ import annotations

import json
import os
import runpy
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from jalon.check import begin
from jalon.check.checking import look
from jalon.check.setup import Setup
from jalon.core.callback_list import CallbackList
from jalon.core.costs import measuring

Tell = Callable[[Setup], dict[str, Any]]


def findings(setup: Setup, ignore: Sequence[str] = ()) -> dict[str, Any]:
    """Return what is wrong with a training that would begin."""
    found = look(setup, ignore=ignore)
    return {"looked_at": found.looked_at, "findings": [finding.as_json() for finding in found]}


def order(setup: Setup) -> dict[str, Any]:
    """Return who would be told in each hook."""
    return {"text": str(CallbackList(list(setup.callbacks)))}


def run_to_the_beginning(program: str, report: Path, tell: Tell) -> None:
    """Run a program until a training begins, and report in place of that.

    Args:
        program: The program's file.
        report: Where it is reported, as JSON.
        tell: Returns what to report.
    """

    def in_place_of_training(setup: Setup) -> NoReturn:
        report.write_text(json.dumps(tell(setup)), encoding="utf-8")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)  # nothing of the program runs any more: no finally, no upload at exit

    begin.in_place_of_training = in_place_of_training
    runpy.run_path(program, run_name="__main__")


def run_to_the_end(program: str, report: Path) -> None:
    """Run a program, and report what its callbacks cost.

    Args:
        program: The program's file.
        report: Where it is reported, as JSON.
    """
    with measuring() as costs:
        try:
            runpy.run_path(program, run_name="__main__")
        finally:
            if costs.by_hook:
                report.write_text(json.dumps({"text": str(costs)}), encoding="utf-8")


if __name__ == "__main__":
    _, mode, asked, given, where, *rest = sys.argv
    sys.argv = [given, *rest]
    sys.path[0] = str(Path(given).resolve().parent)
    if mode == "measure":
        run_to_the_end(given, Path(where))
    elif mode == "explain":
        run_to_the_beginning(given, Path(where), order)
    else:
        run_to_the_beginning(given, Path(where), lambda setup: findings(setup, [code for code in asked.split(",") if code]))
