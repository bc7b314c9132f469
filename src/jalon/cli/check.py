"""``jalon check``: say what is wrong with the callbacks of a training, before the first step."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from jalon.check.config import SUFFIXES, check_config
from jalon.check.script import check_script
from jalon.cli._screen import Screen

STYLES = {"error": "bold red", "warning": "yellow"}


def check(
    program: Path,
    *arguments: str,
    ignore: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """Say what is wrong with the callbacks of a training, without training.

    A program is run up to where its first training would begin, in a process of its own: it ends there, before a callback has
    opened or written anything. A file of TOML or JSON lists callbacks and what is known of the training. The exit code is
    0 where nothing is found, 1 where something is, 2 where there is nothing to look at.

    Args:
        program: A program, as train.py, or a configuration, as train.toml.
        arguments: What the program is given; those with dashes after --.
        ignore: The code of a warning that is not to be said; may be given several times.
        as_json: Whether to say it as JSON.
    """
    if program.suffix in SUFFIXES:
        found = check_config(program, ignore=ignore)
    else:
        found = check_script(program, arguments, ignore=ignore)
    screen = Screen()
    if as_json:
        screen.json({"looked_at": found.looked_at, "findings": [finding.as_json() for finding in found]})
        return 1 if found else 0
    if found:
        rows = [(finding.code, finding.severity, f"{finding.message} {finding.remedy}") for finding in found]
        screen.rows(rows, styles=STYLES)
    screen.line(found.summary)
    return 1 if found else 0
