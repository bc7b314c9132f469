"""Files of named arrays, ``.safetensors``, for frameworks whose arrays are numpy's on the host.

They are the files that :mod:`jalon.engines.torch.formats` writes, and docs/reference/formats.md describes them: arrays under
their names, one JSON text that says what they are, and a SHA-256 over both. Reading runs no code.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

from jalon.errors import ArgumentError, CheckpointError
from jalon.store import atomic

SUFFIX = ".safetensors"
FORMAT = 1
RESERVED = "jalon:"
"""How names begin that are not those of weights."""

Array = np.ndarray[Any, Any]
Arrays = Mapping[str, Array]

_OPTIMIZER = f"{RESERVED}optimizer/"
_TYPES = {
    **{"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "complex64": "C64", "bool": "BOOL"},
    **{f"int{bits}": f"I{bits}" for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": f"U{bits}" for bits in (8, 16, 32, 64)},
    **{"float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2"},
}
_NAMES = {kind: name for name, kind in _TYPES.items()}


@dataclass(frozen=True, slots=True)
class Stored:
    """Is what a file holds.

    Args:
        weights: The arrays by name.
        optimizer: The arrays of the optimizer's state by name, if it is to be saved.
        about: JSON values, as the epoch and the metric.
    """

    weights: Arrays
    optimizer: Arrays | None = None
    about: Mapping[str, Any] = field(default_factory=dict)


def write(path: Path, stored: Stored, *, exposed: bool = True) -> None:
    """Write a file that is either whole or not there.

    Args:
        path: Where to.
        stored: What to write.
        exposed: As in ``atomic.write_bytes``.

    Raises:
        ArgumentError: ``about`` is no JSON, or a weight has a name that is not free.
        OSError: The system refuses, as on a full disk. The old file is intact.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "tree.safetensors")
        >>> write(path, Stored({"kernel": np.ones((3, 1), "f4")}, about={"epoch": 4}))
        >>> read(path).weights["kernel"].shape, read(path).about
        ((3, 1), {'epoch': 4})
    """
    arrays = {**_free(stored.weights), **{_OPTIMIZER + name: one for name, one in (stored.optimizer or {}).items()}}
    placed = dict(sorted(arrays.items(), key=lambda item: -item[1].dtype.itemsize))
    pieces = [_bytes_of(array) for array in placed.values()]
    text = _text(stored, arrays)
    digest = hashlib.sha256(text.encode())
    for piece in pieces:
        digest.update(piece)
    head = _header(placed) | {"__metadata__": {"format": "np", "jalon": text, "sha256": digest.hexdigest()}}
    front = json.dumps(head).encode()
    front += b" " * (-len(front) % 8)
    atomic.write_bytes(path, [len(front).to_bytes(8, "little"), front, *pieces], exposed=exposed)


def _free(weights: Arrays) -> Arrays:
    for name in weights:
        if name.startswith(RESERVED):
            raise ArgumentError(f"The weight {name!r} cannot be saved: names that begin with {RESERVED!r} are jalon's own.")
    return weights


def _text(stored: Stored, arrays: Arrays) -> str:
    state = stored.optimizer
    optimizer = None if state is None else {"dict": [[name, {"tensor": _OPTIMIZER + name}] for name in state]}
    tensors = {name: [array.dtype.name, list(array.shape)] for name, array in arrays.items()}
    try:
        return json.dumps({"format": FORMAT, "about": dict(stored.about), "optimizer": optimizer, "tensors": tensors})
    except (TypeError, ValueError) as exc:
        raise ArgumentError(f"What is told about a checkpoint must be JSON values: {exc}. Received: {stored.about!r}.") from exc


def _header(placed: Arrays) -> dict[str, Any]:
    ends = list(itertools.accumulate((array.nbytes for array in placed.values()), initial=0))
    return {
        name: {
            "dtype": _TYPES.get(array.dtype.name, "U8"),
            "shape": list(array.shape) if array.dtype.name in _TYPES else [array.nbytes],
            "data_offsets": [start, end],
        }
        for (name, array), (start, end) in zip(placed.items(), itertools.pairwise(ends), strict=True)
    }


def _bytes_of(array: Array) -> memoryview:
    little = array.astype(array.dtype.newbyteorder("<")) if array.dtype.byteorder == ">" else array
    return np.ascontiguousarray(little).reshape(-1).view(np.uint8).data


def read(path: Path) -> Stored:
    """Read a file back. A plain file of another writer is read as weights.

    Args:
        path: The file.

    Raises:
        CheckpointError: It is missing, truncated, damaged, or holds something else.
    """
    try:
        data = path.read_bytes()
        found: Any = safetensors.deserialize(data)  # type: ignore[no-untyped-call,unused-ignore]
        end = 8 + int.from_bytes(data[:8], "little")
        note = json.loads(data[8:end]).get("__metadata__") or {}
        arrays = {name: _array(one["data"], _NAMES[one["dtype"]], one["shape"]) for name, one in found}
        return _put_together(note, arrays, data[end:])
    except _Refused as exc:
        raise CheckpointError(f"{path} {exc}.") from None
    except OSError as exc:
        raise CheckpointError(f"{path} cannot be read: {exc.strerror}.") from exc
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        why = f"it is damaged, or no {SUFFIX} file ({type(exc).__name__}: {exc})"
        raise CheckpointError(f"{path} cannot be read: {why}.") from exc


class _Refused(Exception):
    """Carries what is wrong with a file to where its name is known."""


def _put_together(note: Mapping[str, str], arrays: Arrays, content: bytes) -> Stored:
    if not {"jalon", "sha256"} & note.keys():
        return Stored(arrays)
    text = note["jalon"]
    told = json.loads(text)
    if told["format"] > FORMAT:
        raise _Refused(f"was written by a newer jalon (format {told['format']}; this one reads {FORMAT}). Install a newer one")
    if hashlib.sha256(text.encode() + content).hexdigest() != note["sha256"]:
        raise _Refused("is damaged: its content does not have the checksum that was saved with it")
    whole = {name: _array(arrays[name].tobytes(), dtype, shape) for name, (dtype, shape) in told["tensors"].items()}
    weights = {name: one for name, one in whole.items() if not name.startswith(RESERVED)}
    return Stored(weights, _optimizer(told["optimizer"], whole), told["about"])


def _optimizer(told: Any, arrays: Arrays) -> Arrays | None:
    if told is None:
        return None
    named = told.get("dict", []) if isinstance(told, dict) else []
    if not all(isinstance(name, str) and isinstance(one, dict) and "tensor" in one for name, one in named):
        raise _Refused("holds the state of an optimizer of PyTorch. Load it there, or save weights alone")
    return {name: arrays[one["tensor"]] for name, one in named}


def _array(data: Any, dtype: str, shape: list[int]) -> Array:
    try:
        kind = np.dtype(dtype)
    except TypeError:
        raise _Refused(f"holds values of the type {dtype!r}, which numpy does not have. Import ml_dtypes, or jax") from None
    return np.frombuffer(bytes(data), kind).reshape(shape).copy()
