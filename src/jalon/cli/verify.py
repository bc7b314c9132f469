"""``jalon verify``: say of files and folders whether they are whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from jalon.cli._screen import Screen
from jalon.cli.contents.found import Found
from jalon.cli.contents.search import search
from jalon.errors import ArgumentError

STYLES = {"whole": "green", "damaged": "bold red", "not finished": "yellow", "not checked": "yellow"}


def verify(*paths: Path, as_json: Annotated[bool, Parameter(name="--json", negative=())] = False) -> int:
    """Say whether files are whole: checkpoints, snapshots, backups, event files, tables.

    Each file is read and its checksums are checked; nothing is changed, and no code in it is run. The exit code is 0 where all
    is whole, 1 where something is damaged or cannot be checked, 2 where there is nothing to look at.

    Args:
        paths: Files, and folders to search for what jalon writes.
        as_json: Whether to say it as JSON.
    """
    screen = Screen()
    found = [one for path in _there(paths) for one in _all_at(path)]
    if as_json:
        screen.json({"whole": all(one.is_sound for one in found), "items": [as_json_of(one) for one in found]})
    else:
        screen.rows([(one.state, f"{one.path}  {told(one)}") for one in found], styles=STYLES)
        if len(found) > 1:
            screen.line(_summary(found))
    return 0 if all(one.is_sound for one in found) else 1


def told(found: Found) -> str:
    """Return what is to be said of something that was found: what it is, or what is wrong and what to do.

    Args:
        found: What was found.
    """
    if found.state == "whole":
        return found.kind if found.note is None else f"{found.kind}; {found.note}"
    return f"{found.reason}." if found.remedy is None else f"{found.reason}. {found.remedy}"


def _there(paths: Iterable[Path]) -> list[Path]:
    """Return paths that are all there.

    Raises:
        ArgumentError: None was given, or one is not there.
    """
    asked = list(paths)
    if not asked:
        raise ArgumentError("jalon verify: there is nothing to look at. Name files or folders: jalon verify runs/a")
    for path in asked:
        if not path.exists():
            raise ArgumentError(f"jalon verify: {path} is not there.")
    return asked


def _all_at(path: Path) -> list[Found]:
    found = list(search(path))
    if not found:
        what = "holds nothing" if path.is_dir() else "is nothing"
        raise ArgumentError(f"jalon verify: {path} {what} that jalon writes.")
    return found


def as_json_of(found: Found) -> dict[str, Any]:
    """Return what is to be said of something that was found, as JSON values.

    Args:
        found: What was found.
    """
    return {
        "path": str(found.path),
        "kind": found.kind,
        "state": found.state,
        "reason": found.reason,
        "remedy": found.remedy,
        "note": found.note,
        "resumes": found.resumes,
    }


def _summary(found: Iterable[Found]) -> str:
    counts = Counter[str](one.state for one in found)
    return ", ".join(f"{counts[state]:,} {state}" for state in STYLES if counts[state])
