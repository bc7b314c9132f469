"""Files of weights that ``jalon.Model`` writes: ``.safetensors``, ``.h5``, ``.pt`` and ``.pt2``; and files of plain data."""

from __future__ import annotations

import json
import pickletools
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jalon._optional import require
from jalon.cli.contents import hdf5
from jalon.cli.contents.found import Array, Found
from jalon.errors import CheckpointError
from jalon.store import plain

if TYPE_CHECKING:
    from jalon.engines.torch.formats import Checkpoint

SUFFIXES = (".safetensors", ".h5", ".pt", ".pt2")

_REMEDY = "Bring it back from a copy, or save it again."
_FOREIGN = "not written by jalon: it carries no checksum of its content"
_MOST_HEADER_BYTES = 100_000_000


def look(path: Path) -> Found:
    """Return what a file of weights holds, every byte of it checked that a checksum covers.

    Args:
        path: The file.

    Raises:
        MissingPackage: What reads it is not installed.
    """
    if path.suffix == ".h5" and not _is_own_h5(path):
        return hdf5.look(path)
    if path.suffix == ".safetensors" and _note_in_safetensors(path).keys() == {"data"}:
        return _plain_data(path)
    found = Found(path, f"checkpoint, {path.suffix}")
    try:
        checkpoint = _read(path)
    except CheckpointError as exc:
        return found.damaged(str(exc).removeprefix(f"{path} ").rstrip("."), _REMEDY)
    found.arrays = [array_of(name, value) for name, value in checkpoint.weights.items()]
    found.optimizer = None if checkpoint.optimizer is None else summary_of(checkpoint.optimizer)
    found.facts = checkpoint.about
    if not _has_checksum(path):
        found.note = _FOREIGN
    return found


def array_of(name: str, value: Any) -> Array:
    """Return what is told of a tensor.

    Args:
        name: Its name.
        value: A tensor of PyTorch's.
    """
    return Array(name, tuple(value.shape), str(value.dtype).removeprefix("torch."), value.nbytes)


def summary_of(state: Mapping[Any, Any]) -> dict[str, Any]:
    """Return what is told of an optimizer's state.

    Args:
        state: What ``jalon.Model`` or one of PyTorch's optimizers saves.
    """
    own = state.get("optimizer", state)
    tensors = list(_tensors_in(state))
    told: dict[str, Any] = {"tensors": len(tensors), "bytes": sum(value.nbytes for value in tensors)}
    if "iterations" in state:
        told["step"] = state["iterations"]
    groups = own.get("param_groups", []) if isinstance(own, Mapping) else []
    rates = {float(group["lr"]) for group in groups if "lr" in group}
    if rates:
        told["learning_rate"] = sorted(rates) if len(rates) > 1 else rates.pop()
    if "averages" in state:
        told["averages"] = True
    return told


def _read(path: Path) -> Checkpoint:
    require("torch", extra="torch", who=f"Reading {path}")
    if path.suffix == ".pt2":
        from jalon.engines.torch import program

        return program.read(path)
    from jalon.engines.torch.formats import read_checkpoint

    return read_checkpoint(path)


def _plain_data(path: Path) -> Found:
    found = Found(path, "plain data", note="it carries no checksum of its own; a snapshot's manifest has one")
    try:
        data = plain.decode(path.read_bytes())
    except CheckpointError as exc:
        return found.damaged(str(exc).rstrip("."), _REMEDY)
    found.facts = data if isinstance(data, dict) else {"data": data}
    return found


def _tensors_in(value: Any) -> Iterator[Any]:
    if hasattr(value, "nbytes"):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _tensors_in(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _tensors_in(one)


# ---- who wrote it ----------------------------------------------------------------------------------------------------


def _has_checksum(path: Path) -> bool:
    if path.suffix == ".safetensors":
        return "sha256" in _note_in_safetensors(path)
    if path.suffix == ".pt":
        return _is_own_pt(path)
    if path.suffix == ".pt2":
        with zipfile.ZipFile(path) as archive:
            return bool(archive.comment)
    return True


def _is_own_h5(path: Path) -> bool:
    """Return whether a file is one of ``jalon.Model``'s; a damaged one may be, and is left to its reader."""
    h5py = require("h5py", extra="torch", who=f"Reading {path}")
    with suppress(OSError), h5py.File(path, "r") as root:
        return any(name.startswith("jalon:") for name in root)
    return False


def _note_in_safetensors(path: Path) -> dict[str, str]:
    """Return the texts beside a file's tensors; none where there is no telling."""
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size <= _MOST_HEADER_BYTES:
            with suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
                return dict(json.loads(file.read(size))["__metadata__"])
    return {}


def _is_own_pt(path: Path) -> bool:
    """Return whether jalon's note is among the texts of the pickle, which is not run for that."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        return any(argument == "sha256" for _, argument, _ in pickletools.genops(archive.read(name)))
