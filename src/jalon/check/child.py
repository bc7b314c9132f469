"""Runs a program up to where its first training would begin, and reports what is wrong there in place of it."""

from __future__ import annotations

import json
import os
import runpy
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NoReturn

from jalon.check import begin
from jalon.check.checking import look
from jalon.check.setup import Setup


def run(program: str, arguments: Sequence[str], report: Path, ignore: Collection[str]) -> None:
    """Run a program as ``python program arguments…`` would, until a training begins.

    Args:
        program: The program's file.
        arguments: What it gets as ``sys.argv[1:]``.
        report: Where the findings are written, as JSON.
        ignore: Codes of warnings that are not to be said.
    """

    def in_place_of_training(setup: Setup) -> NoReturn:
        found = look(setup, ignore=ignore)
        content: dict[str, Any] = {"looked_at": found.looked_at, "findings": [finding.as_json() for finding in found]}
        report.write_text(json.dumps(content), encoding="utf-8")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)  # nothing of the program runs any more: no finally, no upload at exit

    begin.in_place_of_training = in_place_of_training
    sys.argv = [program, *arguments]
    sys.path[0] = str(Path(program).resolve().parent)
    runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    _, asked, given, where, *rest = sys.argv
    run(given, rest, Path(where), [code for code in asked.split(",") if code])
