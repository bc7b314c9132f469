"""The command line: one file per sub-command."""

from __future__ import annotations

import sys

from cyclopts import App, CycloptsError
from rich.console import Console

import jalon
from jalon.cli.check import check
from jalon.cli.demo import demo
from jalon.cli.explain import explain
from jalon.cli.inspect import inspect
from jalon.cli.plot import plot
from jalon.cli.replay import replay
from jalon.cli.runs import runs
from jalon.cli.steer import note, pause, resume, save, set_number, stop
from jalon.cli.verify import verify
from jalon.cli.watch import watch
from jalon.errors import ArgumentError, JalonError

app = App(name="jalon", help="Training callbacks for any loop.", version=jalon.__version__)
app.command(check)
app.command(demo)
app.command(explain)
app.command(inspect)
app.command(replay)
app.command(verify)
app.command(watch)
app.command(runs)
app.command(plot)
for command in (stop, pause, resume, save, note):
    app.command(command)
app.command(set_number, name="set")


def main() -> None:
    """Run the command line; what jalon refuses is told in a line, without a traceback.

    The exit code is the command's own; 2 where the command line itself is wrong, and 1 where something else is refused.
    """
    try:
        app(exit_on_error=False)
    except CycloptsError:
        sys.exit(2)
    except JalonError as refusal:
        Console(stderr=True).print(str(refusal), style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2 if isinstance(refusal, ArgumentError) else 1)
