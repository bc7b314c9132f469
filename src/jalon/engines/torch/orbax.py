"""Folders that Orbax writes: what it is given of a checkpoint, and how that is read back.

A save is one tree: the weights and the optimizer's tensors as arrays under their names, and a JSON text that says what the
files of :mod:`jalon.engines.torch.formats` say: of each tensor its type and shape, how the optimizer's state is put together
from them, and what was told. A type that numpy does not have is stored as a row of bytes. Orbax keeps checksums of its own.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jalon._optional import require
from jalon.engines.torch.formats import Checkpoint, Refused, as_described, assemble, describe, parse_description
from jalon.errors import CheckpointError
from jalon.store.orbax_arrays import check_arrays


def checkpointables(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return a checkpoint as Orbax takes it. The arrays share the tensors' memory; Orbax copies them before it returns.

    Args:
        checkpoint: What to save.
    """
    description, tensors = describe(checkpoint)
    arrays = {name: _as_array(value) for name, value in tensors.items() if value.numel()}  # Orbax has no empty arrays
    tree = {
        "weights": {name: array for name, array in arrays.items() if name in checkpoint.weights},
        "optimizer": {name: array for name, array in arrays.items() if name not in checkpoint.weights},
        "jalon": json.dumps(description),
    }
    return {"pytree": tree}


def holds_saves(path: Path) -> bool:
    """Return whether a path is a folder of Orbax's saves, or one of the saves."""
    return path.is_dir() and (_is_save(path) or bool(_saves(path)))


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a save back, all of it on the host.

    Args:
        path: A folder of saves, of which the newest is read, or one of the saves.

    Raises:
        MissingPackage: ``orbax-checkpoint`` is not installed.
        CheckpointError: The save is damaged, or of something else than a ``jalon.Model``.
    """
    save = path.absolute() if _is_save(path) else _saves(path.absolute())[-1]
    orbax = require("orbax.checkpoint", extra="orbax", who=f"Reading {path}")
    check_arrays(save)
    try:
        return _put_together(orbax.v1.load_checkpointables(save, {"pytree": None})["pytree"])
    except Refused as exc:
        raise CheckpointError(f"{save} {exc}.") from exc
    except Exception as exc:
        first_line = (str(exc).strip().splitlines() or [""])[0]
        raise CheckpointError(
            f"{save} cannot be read: it is damaged, or of something else than a jalon.Model ({type(exc).__name__}: {first_line})."
        ) from exc


def _put_together(tree: dict[str, Any]) -> Checkpoint:
    content = parse_description(tree["jalon"])
    arrays = {**tree.get("weights", {}), **tree.get("optimizer", {})}
    empty = {name: torch.empty(0) for name, (_, shape) in content["tensors"].items() if 0 in shape}
    stored = {name: _as_tensor(array) for name, array in arrays.items()}
    return assemble(content, as_described(content, empty | stored))


def _as_array(value: Tensor) -> np.ndarray[Any, Any]:
    if value.dtype is torch.bfloat16:
        return value.view(torch.int16).numpy().view("bfloat16")  # a type that Orbax's packages add to numpy
    try:
        return value.numpy()
    except TypeError:
        return value.reshape(-1).view(torch.uint8).numpy()


def _as_tensor(array: Any) -> Tensor:
    own = np.array(array)
    return torch.from_numpy(own.reshape(-1).view(np.uint8) if own.dtype.kind == "V" else own)


def _is_save(folder: Path) -> bool:
    return (folder / "_CHECKPOINT_METADATA").is_file()


def _saves(folder: Path) -> list[Path]:
    """Return the saves in a folder, the newest last."""
    whole = (save for save in folder.iterdir() if save.name.isdecimal() and _is_save(save))
    return sorted(whole, key=lambda save: int(save.name))
