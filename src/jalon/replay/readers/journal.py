"""The journal of a run of jalon's: a JSON object a line, each with its ``kind``."""

from __future__ import annotations

import json
from pathlib import Path

from jalon.errors import ArgumentError
from jalon.replay.record import Gathered, Record, numbers_of


def read(path: Path) -> Record:
    """Return the record in a journal. An epoch that comes again, after a resume, takes the place of the earlier one.

    Args:
        path: The file. A last line that is torn is passed over.

    Raises:
        ArgumentError: It is no journal.
    """
    gathered = Gathered(str(path))
    with open(path, encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith("\n"):
                break
            try:
                said = json.loads(line)
                if said["kind"] == "epoch":
                    _take_in(gathered, said)
            except (ValueError, TypeError, KeyError) as exc:
                raise ArgumentError(f"replay: line {number:,} of {path} is none of a journal: {exc}. Mend or delete it.") from exc
    return gathered.record()


def _take_in(gathered: Gathered, said: dict[str, object]) -> None:
    number, logs, seconds = said["epoch"], said["logs"], said.get("seconds")
    if not isinstance(number, int) or not isinstance(logs, dict):
        raise ValueError("an epoch without its number and its logs")
    gathered.begin_again(number)  # what came after it before a resume comes anew too
    gathered.add(number, numbers_of(logs), seconds=float(seconds) if isinstance(seconds, (int, float)) else None)
