"""What a ``jalon.Model`` writes to a file and reads back: weights, optimizer, transforms."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from jalon.core.trainer import Write
from jalon.engines.torch import formats, orbax
from jalon.engines.torch.formats import Checkpoint, Outline, lay_out, read_checkpoint, write_checkpoint, write_copy
from jalon.engines.torch.host_copy import HostCopies, HostCopy
from jalon.engines.transforms import describe_transform, read_transforms
from jalon.errors import ArgumentError, CheckpointError, CheckpointMismatch

if TYPE_CHECKING:
    from jalon.engines.torch.model import Model

SUFFIXES = (*formats.SUFFIXES, ".pt2")
_PROGRAM = ".pt2"

_copies: WeakKeyDictionary[Model, HostCopies] = WeakKeyDictionary()
"""The host memory that copies of a model are made in, for as long as there is the model."""


def freeze(model: Model, path: Path, *, weights_only: bool, about: Mapping[str, Any], exposed: bool = True) -> Write:
    """Copy a model as it is now, and return what writes the copy to a file that is either whole or not there.

    Args:
        model: The model.
        path: The file.
        weights_only: Leave out the optimizer's state.
        about: JSON values to store beside the weights.
        exposed: As in ``atomic.write_bytes``.
    """
    if path.suffix == _PROGRAM:
        from jalon.engines.torch import program

        return program.freeze(model, path, content(model, weights_only=True, about=about).about, exposed=exposed)
    outline, tensors = lay_out(content(model, weights_only=weights_only, about=about))
    return partial(write_copied, path, outline, _copies.setdefault(model, HostCopies()).of(tensors), exposed=exposed)


def write(model: Model, path: Path, *, weights_only: bool) -> None:
    """Write a model as it is now to a file that is either whole or not there; nothing may change it meanwhile.

    Args:
        model: The model.
        path: The file.
        weights_only: Leave out the optimizer's state.
    """
    if path.suffix == _PROGRAM:
        freeze(model, path, weights_only=True, about={})()
    else:
        write_checkpoint(path, content(model, weights_only=weights_only, about={}))


def write_copied(path: Path, outline: Outline, copied: AbstractContextManager[HostCopy], *, exposed: bool) -> None:
    """Write a copy to a file that is either whole or not there, and let its memory be used again."""
    with copied as copy:
        write_copy(path, outline, copy, exposed=exposed)


def content(model: Model, *, weights_only: bool, about: Mapping[str, Any]) -> Checkpoint:
    """Return what there is to save of a model. Its tensors are the model's own and change with it.

    Args:
        model: The model.
        weights_only: Leave out the optimizer's state.
        about: JSON values to store beside the weights.
    """
    told = dict(about)
    if model.transforms:
        told["transforms"] = [describe_transform(transform) for transform in model.transforms]
    optimizer = None if weights_only or not model.is_compiled else model.optimizer_state()
    return Checkpoint(model.module.state_dict(), optimizer, told)


def read(model: Model, path: Path, *, optimizer: bool | Literal["if there"]) -> None:
    """Read a file, or a folder that Orbax wrote, into a model.

    Args:
        model: The model; changed only where the whole file fits.
        path: The file or the folder.
        optimizer: Whether the optimizer's state is read too; ``"if there"``, where the file holds it.

    Raises:
        CheckpointError: The file is missing, damaged, or lacks the optimizer's state.
        CheckpointMismatch: It belongs to another model.
    """
    checkpoint = read_any(path)
    refuse_other_weights(model.module, checkpoint.weights, path)
    if optimizer is True and checkpoint.optimizer is None:
        raise CheckpointError(f"{path} holds weights alone. To start from them with a fresh optimizer, call load_weights.")
    state = checkpoint.optimizer if optimizer else None
    if state is not None and state.get("averages") and not model.keeps_averages:
        raise CheckpointMismatch(
            f"{path} holds an average of the weights. Call model.compile(..., use_ema=True) to go on with it."
        )
    transforms = read_transforms(checkpoint.about.get("transforms", []), model.transforms, path)
    model.module.load_state_dict(checkpoint.weights)
    if transforms:
        model.transforms = transforms
    if state is not None:
        model.load_optimizer_state(state)


def read_any(path: Path) -> Checkpoint:
    """Read a file of any format, or a folder that Orbax wrote.

    Raises:
        CheckpointError: It is missing or damaged.
    """
    if path.suffix == _PROGRAM:
        from jalon.engines.torch import program

        return program.read(path)
    return orbax.read_checkpoint(path) if orbax.holds_saves(path) else read_checkpoint(path)


def read_program(path: Path) -> nn.Module:
    """Return the module in a ``.pt2`` file, which needs no code.

    Raises:
        ArgumentError: Another format, which holds no module.
        CheckpointError: The file is missing or damaged.
    """
    if path.suffix != _PROGRAM:
        raise ArgumentError(
            f"Model.from_checkpoint: {str(path)!r} holds weights alone. Pass the module too: from_checkpoint(path, module)."
        )
    from jalon.engines.torch import program

    return program.load(path)


def refuse_other_weights(module: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Refuse weights whose names or shapes are not the module's, and name the differences."""
    refuse_others(module.state_dict(), weights, path, whose=type(module).__name__)


def refuse_others(own: Mapping[str, Any], weights: Mapping[str, Tensor], path: Path, *, whose: str) -> None:
    """Refuse weights whose names or shapes are not those expected, and name the differences.

    Args:
        own: The tensors expected.
        weights: The tensors found.
        path: Where they were found.
        whose: What they are expected of.
    """
    told = [f"missing: {name}" for name in own if name not in weights]
    told += [f"not in the module: {name}" for name in weights if name not in own]
    told += [
        f"{name} is {tuple(weights[name].shape)} in the file and {tuple(value.shape)} in the module"
        for name, value in own.items()
        if name in weights and not isinstance(value, nn.UninitializedParameter) and weights[name].shape != value.shape
    ]
    if told:
        shown = "; ".join(told[:5]) + (f"; and {len(told) - 5} more" if len(told) > 5 else "")
        raise CheckpointMismatch(f"{path} belongs to another model than {whose}: {shown}.")


@torch.no_grad()
def put_weights(module: nn.Module, weights: list[Any]) -> None:
    """Put arrays in place of a module's weights, in the module's order.

    Raises:
        ArgumentError: Another number of arrays, or another shape.
    """
    own = module.state_dict()
    if len(own) != len(weights):
        raise ArgumentError(f"set_weights: the module has {len(own)} weights. Received: {len(weights)} arrays.")
    for (name, value), given in zip(own.items(), weights, strict=True):
        if tuple(value.shape) != np.shape(given):
            raise ArgumentError(f"set_weights: {name} has shape {tuple(value.shape)}. Received: {np.shape(given)}.")
    for value, given in zip(own.values(), weights, strict=True):
        value.copy_(torch.as_tensor(np.asarray(given)))
