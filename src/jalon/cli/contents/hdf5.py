"""HDF5 files that others wrote, as Keras's ``.weights.h5``; and Keras's ``.keras``, which has such a file in it."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jalon._optional import require
from jalon.cli.contents.found import Array, Found, refusing
from jalon.errors import CheckpointError

_REMEDY = "Bring it back from a copy, or save it again."
_NO_CHECKSUM = "it carries no checksum of its content"
_OPTIMIZER = ("optimizer/", "optimizer_weights/")
_WEIGHTS_IN_KERAS = "model.weights.h5"
_MOST_UNPACKED = 1000
"""How many times as large as the file its content may be; what Keras writes is not compressed at all."""


def look(path: Path) -> Found:
    """Return what an HDF5 file holds: its structure is read, not its values, of which it has no checksum.

    Args:
        path: The file.

    Raises:
        MissingPackage: ``h5py`` is not installed.
    """
    found = Found(path, "HDF5 file", note=_NO_CHECKSUM)
    h5py = require("h5py", extra="torch", who=f"Reading {path}")
    try:
        with refusing(), h5py.File(path, "r") as root:
            _take_in(found, h5py, root)
    except CheckpointError as exc:
        return found.damaged(str(exc), _REMEDY)
    return found


def look_keras(path: Path) -> Found:
    """Return what a ``.keras`` file holds: the checksums of its archive are checked, and the structure of the weights is read.

    Args:
        path: The file.

    Raises:
        MissingPackage: ``h5py`` is not installed.
    """
    found = Found(path, "Keras model", note="it carries checksums of its archive alone")
    h5py = require("h5py", extra="torch", who=f"Reading {path}")
    try:
        with refusing(), zipfile.ZipFile(path) as archive:
            _check(archive, path.stat().st_size)
            found.facts |= _facts(*(json.loads(archive.read(name)) for name in ("metadata.json", "config.json")))
            with archive.open(_WEIGHTS_IN_KERAS) as file, h5py.File(file, "r") as root:
                _take_in(found, h5py, root, named=found.facts.pop("optimizer", None))
    except CheckpointError as exc:
        return found.damaged(str(exc), _REMEDY)
    return found


def _check(archive: zipfile.ZipFile, size: int) -> None:
    unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > _MOST_UNPACKED * size:
        raise CheckpointError(f"is refused: it would unpack to {unpacked:,} bytes")
    broken = archive.testzip()
    if broken is not None:
        raise CheckpointError(f"is damaged: {broken} in it does not have its checksum")


def _facts(metadata: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    optimizer = ((config.get("compile_config") or {}).get("optimizer") or {}).get("class_name")
    told = {"model": config.get("class_name"), "optimizer": optimizer}
    told |= {"written_at": metadata.get("date_saved"), "versions": {"keras": metadata.get("keras_version")}}
    return {key: value for key, value in told.items() if value is not None}


def _take_in(found: Found, h5py: Any, root: Any, *, named: str | None = None) -> None:
    """Tell the arrays of the weights one by one, and those of the optimizer together."""
    optimizer = []
    for name, dataset in _datasets(h5py, root, ""):
        array = Array(name, dataset.shape, str(dataset.dtype), dataset.nbytes)
        if name.startswith(_OPTIMIZER):
            optimizer.append((array, dataset))
        else:
            found.arrays.append(array)
    if "layers" in root or "model_weights" in root:
        found.kind = found.kind.replace("HDF5 file", "weights of a Keras model, .h5")
    if "keras_version" in root.attrs:
        found.facts["versions"] = {"keras": str(root.attrs["keras_version"])}
    if optimizer:
        found.optimizer = {"tensors": len(optimizer), "bytes": sum(array.bytes for array, _ in optimizer)}
        found.optimizer |= {"class": named or _class_of(root)} | _step(optimizer)


def _class_of(root: Any) -> str | None:
    """Return the name that Keras gives to an optimizer, if it stands in the file."""
    if "optimizer_weights" in root:
        return next(iter(root["optimizer_weights"]), None)
    variables = root.get("optimizer/vars")
    return None if variables is None or "name" not in variables.attrs else str(variables.attrs["name"])


def _step(optimizer: list[tuple[Array, Any]]) -> dict[str, int]:
    """Return how many steps were taken: the first of Keras's variables, or the one of that name."""
    for array, dataset in optimizer:
        if array.shape == () and dataset.dtype.kind in "iu" and array.name.rpartition("/")[2] in ("0", "iteration"):
            return {"step": int(dataset[()])}
    return {}


def _datasets(h5py: Any, group: Any, prefix: str, seen: frozenset[int] = frozenset()) -> Iterator[tuple[str, Any]]:
    """Yield the arrays by name. Links to other places and files are not followed, nor those that lead back."""
    seen |= {h5py.h5o.get_info(group.id).addr}
    for key in group:
        if not isinstance(group.get(key, getlink=True), h5py.HardLink):
            continue
        node = group[key]
        if isinstance(node, h5py.Dataset):
            yield prefix + key, node
        elif isinstance(node, h5py.Group) and h5py.h5o.get_info(node.id).addr not in seen:
            yield from _datasets(h5py, node, f"{prefix}{key}/", seen)
