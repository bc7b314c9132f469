"""The checkpoint folders of a ``Trainer`` of transformers, and what stands in them of jalon's."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

from jalon.errors import JalonWarning
from jalon.store import atomic

STATE = "jalon.safetensors"
_FOLDER = re.compile(r"checkpoint-(\d+)")
_LAST_WRITTEN = "trainer_state.json"


def write_state(folder: Path, state: bytes) -> None:
    """Write the state into a checkpoint that the trainer is writing: before the file that it writes last."""
    if folder.is_dir():
        atomic.write_bytes(folder / STATE, [state])


def read_state(folder: Path) -> bytes | None:
    """Return the state in a checkpoint, or ``None`` where it was written without jalon."""
    path = folder / STATE
    return path.read_bytes() if path.exists() else None


def newest_whole(output_dir: Path) -> Path | None:
    """Return the newest checkpoint that was written to its end, and warn of one that was not.

    The trainer writes straight into the folder, so that one which it was killed in looks like any other.
    """
    folders = sorted(_folders(output_dir), reverse=True)
    whole = next((folder for _, folder in folders if _is_whole(folder)), None)
    if whole is not None and whole != folders[0][1]:
        warnings.warn(
            f"{folders[0][1]} was not written to its end. Training goes on from {whole}.",
            JalonWarning,
            stacklevel=2,
        )
    return whole


def _folders(output_dir: Path) -> Iterator[tuple[int, Path]]:
    for folder in output_dir.iterdir() if output_dir.is_dir() else ():
        number = _FOLDER.fullmatch(folder.name)
        if number and folder.is_dir():
            yield int(number[1]), folder


def _is_whole(folder: Path) -> bool:
    try:
        json.loads((folder / _LAST_WRITTEN).read_bytes())
    except (OSError, ValueError):
        return False
    return True
