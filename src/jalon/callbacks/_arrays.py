"""Arrays and tensors of any framework, without importing one."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray


def to_numpy(value: Any) -> NDArray[Any]:
    """Return a copy of an array, or of a tensor on any device, as one of numpy's own types.

    One of 16 or 8 bits that numpy has no type for, as bfloat16, becomes float32, which holds its values exactly; JAX's random
    keys become their numbers.
    """
    if not hasattr(value, "detach"):
        array = np.array(_key_data(value) if type(value).__name__ == "PRNGKeyArray" else value)
        return array.astype(np.float32) if array.dtype.kind == "V" and array.dtype.names is None else array
    tensor = value.detach().cpu()
    try:
        return np.array(tensor.numpy())
    except TypeError:
        return np.array(tensor.float().numpy())


def _key_data(keys: Any) -> Any:
    return sys.modules["jax"].random.key_data(keys)
