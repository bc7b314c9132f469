"""``jalon runs``: list the runs of a folder."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from jalon._optional import require
from jalon.cli._screen import Screen
from jalon.errors import ArgumentError

STYLES = {"running": "green", "finished": "blue", "paused": "yellow", "dead": "bold red", "failed": "bold red"}


def runs(
    folder: Path = Path("runs"), *, search: str = "", as_json: Annotated[bool, Parameter(name="--json", negative=())] = False
) -> None:
    """List the runs of a folder: how each is, how far, its best, and why it ended.

    Args:
        folder: Where the runs are.
        search: Words that a run's name, state or callbacks must hold.
        as_json: Whether to say it as JSON.
    """
    require("numpy", extra="live", who="jalon runs")
    if not folder.is_dir():
        raise ArgumentError(f"jalon runs: {folder} is no folder. Name the one that holds the runs: jalon runs runs")
    from jalon.live import api
    from jalon.live.runs import Runs

    found = api.list_of(Runs(folder), now=time.time(), search=search)
    screen = Screen()
    if as_json:
        screen.json(found)
    elif not found:
        screen.line(f"{folder} holds no runs.")
    else:
        screen.rows([(one["state"], f"{one['id']}  {_told(one)}") for one in found], styles=STYLES)


def _told(one: dict[str, Any]) -> str:
    done = f"{one['epochs_done']} of {one['epochs']} epochs" if one["epochs"] else f"{one['epochs_done']} epochs"
    best = one["best"]
    told = [done] + ([f"best {best['monitor']} {best['value']:.4g} in epoch {best['epoch'] + 1}"] if best else [])
    return ", ".join(told + ([one["reason"]] if one["reason"] else []))
