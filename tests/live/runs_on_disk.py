"""Runs on the disk, written as trainings of this process, or of one that is gone, would."""

from __future__ import annotations

import json
from pathlib import Path

from jalon.store.process import identity


def write_journal(folder, *records, alive=True):
    """Write a journal as a run of this process, or of one that is gone, would."""
    folder.mkdir(parents=True, exist_ok=True)
    process = identity() if alive else identity() | {"started": 1}
    begin = {"kind": "begin", "time": 1000.0, "resumed": False, "position": {"epoch": 0, "batch": 0, "step": 0}}
    begin |= {"epochs": 10, "steps": 4, "process": process, "callbacks": {"EarlyStopping": {"patience": 3}}, "versions": {}}
    begin |= {"steerable": {"learning_rate": {"value": 0.1, "least": 0.0, "most": None}}}
    with open(Path(folder) / "journal.jsonl", "w") as file:
        for record in (begin, *records):
            file.write(json.dumps(record, separators=(",", ":")) + "\n")


def epoch(number, *, step=None, time=None, **logs):
    """Return the record of an epoch."""
    where = {"epoch": number, "step": 4 * (number + 1) if step is None else step}
    return {"kind": "epoch", "time": 1001.0 + number if time is None else time, **where, "seconds": 1.0, "logs": logs}
