"""What is saved of transforms with a model, as JSON values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jalon import callbacks
from jalon.core.transform import Transform
from jalon.errors import CheckpointMismatch


def describe_transform(transform: Transform) -> dict[str, Any]:
    """Return a transform's class and state as JSON values."""
    kind = type(transform)
    return {"class": f"{kind.__module__}.{kind.__qualname__}", "state": _jsonable(transform.transform_state())}


def read_transforms(described: list[dict[str, Any]], given: list[Transform], path: Path) -> list[Transform]:
    """Return the transforms that a file speaks of, their state taken back: those given, or jalon's own made anew."""
    unused = list(given)
    made = []
    for one in described:
        transform = next((each for each in unused if describe_transform(each)["class"] == one["class"]), None)
        if transform is None:
            transform = _make_own(one["class"], path)
        else:
            unused.remove(transform)
        transform.load_transform_state(one["state"])
        made.append(transform)
    return made


def _make_own(name: str, path: Path) -> Transform:
    """Make one of jalon's transforms by name. No class is ever imported because a file names it."""
    for public in callbacks.__all__:
        kind = getattr(callbacks, public)
        if f"{kind.__module__}.{kind.__qualname__}" == name and issubclass(kind, Transform):
            own: Transform = kind()
            return own
    raise CheckpointMismatch(
        f"{path} was trained behind the transform {name}. Pass it: Model.from_checkpoint(path, module, transforms=[...])."
    )


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _jsonable(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(one) for one in value]
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
