"""``jalon explain``: show who is told what in a training, in which order, and at what cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from jalon.check.script import explain_script
from jalon.cli._screen import Screen


def explain(program: Path, *arguments: str, measure: Annotated[bool, Parameter(negative=())] = False) -> int:
    """Show for each hook which callbacks are told, in order.

    The program is run up to where its first training would begin, in a process of its own that ends there.

    Args:
        program: A program, as train.py.
        arguments: What the program is given; those with dashes after --.
        measure: Whether to let the program run to its end, and show what each callback cost.
    """
    screen = Screen()
    for line in explain_script(program, arguments, measure=measure).splitlines():
        screen.line(line)
    return 0
