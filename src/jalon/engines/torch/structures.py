"""Nested structures of arrays: a tensor, or tuples, lists and dicts of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jalon.errors import DataError

_TENSOR = "torch.Tensor"


def map_leaves(function: Callable[[Any], Any], structure: Any) -> Any:
    """Apply a function to every array in a tensor, tuple, list or dict of them."""
    if isinstance(structure, Mapping):
        return {key: map_leaves(function, value) for key, value in structure.items()}
    if isinstance(structure, tuple):
        return tuple(map_leaves(function, value) for value in structure)
    if isinstance(structure, list):
        return [map_leaves(function, value) for value in structure]
    return function(structure)


def leaves(structure: Any) -> list[Any]:
    """Return every array in a tensor, tuple, list or dict of them, in order."""
    if isinstance(structure, Mapping):
        return [leaf for value in structure.values() for leaf in leaves(value)]
    if isinstance(structure, (tuple, list)):
        return [leaf for value in structure for leaf in leaves(value)]
    return [structure]


def rows_of(structure: Any) -> int:
    """Return how many samples a batch or an array holds."""
    while isinstance(structure, (tuple, list, Mapping)):
        structure = next(iter(structure.values() if isinstance(structure, Mapping) else structure))
    return int(structure.shape[0])


def as_tensor(value: Any, dtype: torch.dtype, *, what: str) -> Tensor:
    """Return an array as a tensor, floating values as the model's own floating type.

    Args:
        value: A tensor, numpy array, pandas object, or list of numbers.
        dtype: The model's floating type.
        what: The argument's name, for messages.
    """
    if not isinstance(value, Tensor):
        array = np.asarray(value)
        if array.dtype.kind not in "biufc":
            raise DataError(f"{what} must hold numbers. Received: an array of {array.dtype}. Encode it as numbers first.")
        value = torch.from_numpy(_owned(array))
    tensor: Tensor = value
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _owned(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return an array that torch can share: writable, in the machine's byte order, with no negative strides."""
    shareable = array.flags.writeable and array.dtype.isnative and all(stride >= 0 for stride in array.strides)
    return array if shareable else np.array(array, dtype=array.dtype.newbyteorder("="))


def as_tensors(structure: Any, dtype: torch.dtype, *, what: str) -> Any:
    """Return a structure of arrays as one of tensors; a list of numbers is one array, a list of arrays is several."""
    if isinstance(structure, list) and not any(
        hasattr(item, "shape") or isinstance(item, (Mapping, tuple)) for item in structure
    ):
        return as_tensor(structure, dtype, what=what)
    return map_leaves(lambda leaf: as_tensor(leaf, dtype, what=what), structure)


def describe(structure: Any) -> str:
    """Return shapes and types of a structure in words, for messages."""
    if isinstance(structure, Mapping):
        return "{" + ", ".join(f"{key}: {describe(value)}" for key, value in structure.items()) + "}"
    if isinstance(structure, (tuple, list)):
        return "(" + ", ".join(map(describe, structure)) + ")"
    if isinstance(structure, Tensor):
        return f"{tuple(structure.shape)} {str(structure.dtype).removeprefix('torch.')}"
    return type(structure).__name__


def as_host(value: Tensor) -> Any:
    """Return a tensor as a numpy array; numpy has no bfloat16, so that becomes float32."""
    host = value.detach().cpu()
    return (host.float() if host.dtype == torch.bfloat16 else host).numpy()


def as_plain(structure: Any) -> Any:
    """Return a structure with its tensors as plain data of their own, of whatever type they are."""
    if isinstance(structure, Tensor):
        host = structure.detach().cpu().contiguous()
        data = np.array(host.reshape(-1).view(torch.uint8).numpy())
        return {_TENSOR: str(host.dtype).removeprefix("torch."), "shape": list(host.shape), "bytes": data}
    if isinstance(structure, Mapping):
        return {key: as_plain(one) for key, one in structure.items()}
    return [as_plain(one) for one in structure] if isinstance(structure, (list, tuple)) else structure


def from_plain(structure: Any) -> Any:
    """Return what ``as_plain`` was given, with lists for tuples."""
    if isinstance(structure, list):
        return [from_plain(one) for one in structure]
    if not isinstance(structure, dict):
        return structure
    if _TENSOR in structure:
        return torch.from_numpy(structure["bytes"]).view(getattr(torch, structure[_TENSOR])).reshape(structure["shape"])
    return {key: from_plain(one) for key, one in structure.items()}


def concatenated(batches: list[Any]) -> Any:
    """Return structures of numpy arrays joined along their first axis."""
    first = batches[0]
    if isinstance(first, Mapping):
        return {key: concatenated([batch[key] for batch in batches]) for key in first}
    if isinstance(first, (tuple, list)):
        return type(first)(concatenated([batch[number] for batch in batches]) for number in range(len(first)))
    return np.concatenate(batches)
