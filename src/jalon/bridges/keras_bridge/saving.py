"""Files of Keras models, by Keras's own writers, whole under their final name or not there."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from jalon.core.trainer import Write
from jalon.errors import CheckpointError
from jalon.store import atomic

SUFFIXES = (".keras", ".h5")
_WEIGHTS = ".weights.h5"


def suffix_fault(path: str, *, weights_only: bool) -> str | None:
    """Return what is wrong with a path's ending, by Keras's rules."""
    if weights_only:
        return None if path.endswith(_WEIGHTS) else f"must end in {_WEIGHTS} with save_weights_only=True, as Keras has it"
    return None if path.endswith(SUFFIXES) else f"must end in {' or '.join(SUFFIXES)}, which Keras can write"


def freeze(model: Any, path: Path, *, weights_only: bool) -> Write:
    """Have Keras write the model beside the final name, and return what puts the file in its place.

    Args:
        model: The model.
        path: The final name.
        weights_only: Whether ``save_weights`` writes it, in place of ``save``.
    """
    if path.is_dir():
        raise IsADirectoryError(f"Please specify a non-directory filepath for ModelCheckpoint. It is a directory: {path}")
    # Keras knows a format by its suffix, so the temporary name ends as the final one.
    temp = atomic.temp_beside(path, ending=_WEIGHTS if path.name.endswith(_WEIGHTS) else path.suffix)
    try:
        if weights_only or path.name.endswith(_WEIGHTS):
            model.save_weights(str(temp), overwrite=True)
        else:
            model.save(str(temp), overwrite=True)
    except BaseException:
        temp.unlink(missing_ok=True)
        raise
    return partial(atomic.put_in_place, temp, path)


def load(model: Any, path: Path) -> None:
    """Read weights, and the optimizer's state where the file holds it, into a model.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    build_optimizer(model)
    try:
        model.load_weights(str(path))
    except (OSError, KeyError) as exc:
        raise CheckpointError(f"{path} cannot be read by Keras: {exc}.") from exc


def build_optimizer(model: Any) -> None:
    """Let an optimizer have the state that goes with the weights, so that a file can hold it or give it."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None and not optimizer.built:
        optimizer.build(model.trainable_variables)
