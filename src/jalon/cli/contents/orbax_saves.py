"""Folders that Orbax writes, of a ``jalon.Model`` and of a Keras model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from jalon._optional import require
from jalon.cli.contents.checkpoints import array_of, summary_of
from jalon.cli.contents.found import Array, Found, refusing
from jalon.errors import CheckpointError
from jalon.store.orbax_arrays import check_arrays

_METADATA = "_CHECKPOINT_METADATA"
_UNFINISHED = ".orbax-checkpoint-tmp"
_REMEDY = "Delete the folder, and use another save."
_WEIGHTS_OF_KERAS = ("trainable_variables", "non_trainable_variables")


def is_save(folder: Path) -> bool:
    """Return whether a folder is one of Orbax's saves, finished or not.

    Args:
        folder: The folder.
    """
    return (folder / _METADATA).is_file() or _UNFINISHED in folder.name


def look(folder: Path) -> Found:
    """Return what a save holds. All of it is read, so that Orbax checks its own checksums.

    Args:
        folder: The folder of the save.

    Raises:
        MissingPackage: ``orbax-checkpoint`` is not installed.
    """
    found = Found(folder, "Orbax save", note="checked as far as Orbax's own checksums go")
    if _UNFINISHED in folder.name:
        found.state, found.reason = "not finished", "is not finished: it does not exist for a reader"
        found.remedy = "Orbax's next save deletes it."
        return found
    try:
        with refusing():
            found.facts = _told(json.loads((folder / _METADATA).read_bytes()))
            (_take_in_model if _is_of_jalon(folder) else _take_in_tree)(found)
    except CheckpointError as exc:
        return found.damaged(str(exc).removeprefix(f"{folder.absolute()} ").rstrip("."), _REMEDY)
    return found


def _told(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was told beside the save; Orbax's callers tell floats as texts."""
    facts = dict(metadata.get("custom_metadata") or {})
    written = metadata.get("commit_timestamp_nsecs")
    if isinstance(written, int):
        facts["written_at"] = str(datetime.fromtimestamp(written // 10**9, UTC))
    return facts


def _is_of_jalon(folder: Path) -> bool:
    strings = folder / "pytree" / "_strings.json"
    return strings.is_file() and "jalon" in json.loads(strings.read_bytes())


def _take_in_model(found: Found) -> None:
    require("torch", extra="torch", who=f"Reading {found.path}")
    from jalon.engines.torch import orbax

    checkpoint = orbax.read_checkpoint(found.path)
    found.arrays = [array_of(name, value) for name, value in checkpoint.weights.items()]
    found.optimizer = None if checkpoint.optimizer is None else summary_of(checkpoint.optimizer)
    found.facts = checkpoint.about | found.facts


def _take_in_tree(found: Found) -> None:
    orbax = require("orbax.checkpoint", extra="orbax", who=f"Reading {found.path}")
    check_arrays(found.path)
    tree = orbax.v1.load_checkpointables(found.path.absolute(), {"pytree": None})["pytree"]
    arrays = {part: list(_arrays(part, content)) for part, content in tree.items()}
    found.arrays = [array for part in _WEIGHTS_OF_KERAS for array in arrays.get(part, [])]
    optimizer = arrays.get("optimizer_variables", [])
    if optimizer:
        found.optimizer = {"tensors": len(optimizer), "bytes": sum(array.bytes for array in optimizer)}


def _arrays(name: str, value: Any) -> Iterator[Array]:
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from _arrays(f"{name}/{key}", one)
    else:
        array = np.asarray(value)
        yield Array(name, array.shape, str(array.dtype), array.nbytes)
