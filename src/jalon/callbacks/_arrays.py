"""Arrays and tensors of any framework, without importing one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def to_numpy(value: Any) -> NDArray[Any]:
    """Return a copy of an array, or of a tensor on any device, as a numpy array."""
    if not hasattr(value, "detach"):
        return np.array(value)
    tensor = value.detach().cpu()
    try:
        return np.array(tensor.numpy())
    except TypeError:  # numpy has no bfloat16; float32 holds its values exactly
        return np.array(tensor.float().numpy())
