"""Readers of records: which one a source is for, and one file for each kind."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from jalon.errors import ArgumentError
from jalon.replay.readers import event_files, in_memory, journal, table, trainer_state
from jalon.replay.record import Record
from jalon.store.event_records import MARK

JOURNAL, STATE, TABLE = "journal.jsonl", "trainer_state.json", "metrics.csv"
_TABLES = (".csv", ".log", ".tsv", ".txt")
_KINDS = (
    "Sources are: a run's folder or its journal.jsonl, a file of CSVLogger, an event file or a folder of such, Lightning's "
    "metrics.csv, trainer_state.json of transformers, a pandas frame, a History of jalon's or Keras's, or a list with a dict "
    "for each epoch."
)


def read(source: Any) -> Record:
    """Return the record that a source holds, whatever its kind.

    Args:
        source: A path, or something in memory.

    Raises:
        ArgumentError: It is nothing that a record can be read from.
        OSError: The file cannot be read.
    """
    if isinstance(source, Record):
        return source
    if not isinstance(source, (str, os.PathLike)):
        return in_memory.read(source, kinds=_KINDS)
    path = Path(source)
    if not path.exists():
        raise ArgumentError(f"replay: {path} is not there. {_KINDS}")
    return _in_folder(path) if path.is_dir() else _in_file(path)


def _in_file(path: Path) -> Record:
    if MARK in path.name:
        return event_files.read(path)
    if path.suffix == ".jsonl":
        return journal.read(path)
    if path.suffix == ".json":
        return trainer_state.read(path)
    if path.suffix in _TABLES:
        return table.read(path)
    raise ArgumentError(f"replay: {path} is of no kind that holds a record. {_KINDS}")


def _in_folder(path: Path) -> Record:
    """Return the record in a folder: by its journal, else by what a trainer or a logger left there."""
    for name in (JOURNAL, STATE, TABLE):
        if (path / name).is_file():
            return _in_file(path / name)
    states = sorted(path.glob(f"checkpoint-*/{STATE}"), key=lambda state: state.stat().st_mtime)
    if states:
        return trainer_state.read(states[-1])
    if event_files.is_in(path):
        return event_files.read(path)
    tables = [one for one in sorted(path.iterdir()) if one.suffix in _TABLES and one.is_file()]
    if len(tables) == 1:
        return table.read(tables[0])
    found = f" It has several tables: {', '.join(one.name for one in tables)}; name one." if tables else ""
    raise ArgumentError(f"replay: the folder {path} holds no record.{found} {_KINDS}")
