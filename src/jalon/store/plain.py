"""Plain data in one file: JSON values, and arrays beside them. Reading it runs no code."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors
from safetensors.numpy import load

from jalon.errors import CheckpointError

_ARRAY = "$array"
_ITEMS = "$items"
_KINDS = "biufc"
_TYPE = re.compile(rf"[<>|=][{_KINDS}][0-9]{{1,2}}")


def encode(data: Any) -> bytes:
    """Return plain data as the bytes of a ``.safetensors`` file.

    Arrays are its tensors, and the rest is JSON in its metadata, under ``"data"``: an array stands there as
    ``{"$array": [name, type, shape]}``, and a dict whose keys are not all text as ``{"$items": [[key, value], …]}``.

    Args:
        data: Dicts, lists, tuples, text, numbers, booleans, ``None`` and numpy arrays of numbers, in one another. Tuples come
            back as lists.

    Raises:
        TypeError: There is something else in it.

    Example:
        >>> decode(encode({"best": float("inf"), "weights": np.ones(2, "f4")}))
        {'best': inf, 'weights': array([1., 1.], dtype=float32)}
    """
    arrays: list[bytes] = []
    text = json.dumps(_laid_out(data, arrays))
    ends = list(itertools.accumulate(map(len, arrays), initial=0))
    header: dict[str, Any] = {
        f"array-{place}": {"dtype": "U8", "shape": [len(array)], "data_offsets": [ends[place], ends[place + 1]]}
        for place, array in enumerate(arrays)
    }
    head = json.dumps(header | {"__metadata__": {"data": text}}).encode()
    head += b" " * (-len(head) % 8)
    return b"".join([len(head).to_bytes(8, "little"), head, *arrays])


def decode(content: bytes) -> Any:
    """Return what ``encode`` was given.

    Raises:
        CheckpointError: It is no such file.
    """
    try:
        arrays = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        return _put_together(json.loads(header["__metadata__"]["data"]), arrays)
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError, RecursionError) as exc:
        raise CheckpointError(f"This is no plain data: {exc}.") from exc


def _laid_out(value: Any, arrays: list[bytes]) -> Any:
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, np.ndarray):
        return _as_array(value, arrays)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (int, float)):
        return value
    if isinstance(value, Mapping):
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {str(key): _laid_out(one, arrays) for key, one in value.items()}
        return {_ITEMS: [[_laid_out(key, arrays), _laid_out(one, arrays)] for key, one in value.items()]}
    if isinstance(value, (list, tuple)):
        return [_laid_out(one, arrays) for one in value]
    raise TypeError(f"a {type(value).__name__} is no plain data: {value!r:.80}")


def _as_array(value: np.ndarray[Any, Any], arrays: list[bytes]) -> dict[str, Any]:
    if value.dtype.kind not in _KINDS:
        raise TypeError(f"an array of {value.dtype} is no plain data")
    arrays.append(value.tobytes())
    return {_ARRAY: [f"array-{len(arrays) - 1}", value.dtype.str, list(value.shape)]}


def _put_together(value: Any, arrays: Mapping[str, np.ndarray[Any, Any]]) -> Any:
    if isinstance(value, list):
        return [_put_together(one, arrays) for one in value]
    if not isinstance(value, dict):
        return value
    if _ARRAY in value:
        name, dtype, shape = value[_ARRAY]
        if not _TYPE.fullmatch(dtype):
            raise ValueError(f"it holds an array of {dtype}")
        return np.frombuffer(arrays[name].tobytes(), dtype).reshape(shape).copy()
    if _ITEMS in value:
        return {_put_together(key, arrays): _put_together(one, arrays) for key, one in value[_ITEMS]}
    return {key: _put_together(one, arrays) for key, one in value.items()}
