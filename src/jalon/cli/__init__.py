"""The command line: one file per sub-command."""

from __future__ import annotations

import sys

from cyclopts import App
from rich.console import Console

import jalon
from jalon.cli.demo import demo
from jalon.errors import JalonError

app = App(name="jalon", help="Training callbacks for any loop.", version=jalon.__version__)
app.command(demo)


def main() -> None:
    """Run the command line; what jalon refuses is told in a line, without a traceback."""
    try:
        app()
    except JalonError as refusal:
        Console(stderr=True).print(str(refusal), style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)
