"""TensorBoard's event files: every record and its checksums."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from jalon.cli.contents.found import Found
from jalon.store.event_records import DamagedRecord, EventFile, TornRecord, values_of


@dataclass(slots=True)
class Curve:
    """Is what a file has of one tag.

    Args:
        points: How many records.
        first_step: That of the first.
        last_step: That of the last.
    """

    points: int
    first_step: int
    last_step: int


def look(path: Path) -> Found:
    """Return what an event file holds: its records, counted, and the tags with their steps.

    Args:
        path: The file.
    """
    found = Found(path, "TensorBoard events")
    records, curves = 0, dict[str, Curve]()
    try:
        for data in EventFile(path).records():
            records += 1
            for tag, step in values_of(data):
                curve = curves.setdefault(tag, Curve(0, step, step))
                curve.points, curve.last_step = curve.points + 1, step
    except TornRecord:
        found.damaged(f"ends within a record, after {records:,} whole ones", f"Readers show the {records:,} before it.")
    except DamagedRecord as exc:
        found.damaged(f"is damaged: {exc}, after {records:,} whole ones", f"Readers show the {records:,} before it at most.")
    except ValueError as exc:
        found.damaged(f"holds something else than events: {exc}", "It was not written by TensorBoard's own writers or jalon's.")
    found.facts = {"records": records, "tags": {tag: asdict(curve) for tag, curve in curves.items()}}
    return found
