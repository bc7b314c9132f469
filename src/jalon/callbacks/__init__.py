"""The callbacks, one file each, loaded on first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jalon.callbacks.csv_logger import CSVLogger
    from jalon.callbacks.early_stopping import EarlyStopping
    from jalon.callbacks.history import History
    from jalon.callbacks.lambda_callback import LambdaCallback
    from jalon.callbacks.model_checkpoint import ModelCheckpoint
    from jalon.callbacks.progbar_logger import ProgbarLogger
    from jalon.callbacks.reduce_lr_on_plateau import ReduceLROnPlateau
    from jalon.callbacks.standardize import Standardize
    from jalon.callbacks.tensorboard import TensorBoard
    from jalon.core.callback import Callback
    from jalon.core.callback_list import CallbackList
    from jalon.core.transform import Transform

_HOMES = {
    "CSVLogger": "jalon.callbacks.csv_logger",
    "Callback": "jalon.core.callback",
    "CallbackList": "jalon.core.callback_list",
    "EarlyStopping": "jalon.callbacks.early_stopping",
    "History": "jalon.callbacks.history",
    "LambdaCallback": "jalon.callbacks.lambda_callback",
    "ModelCheckpoint": "jalon.callbacks.model_checkpoint",
    "ProgbarLogger": "jalon.callbacks.progbar_logger",
    "ReduceLROnPlateau": "jalon.callbacks.reduce_lr_on_plateau",
    "Standardize": "jalon.callbacks.standardize",
    "TensorBoard": "jalon.callbacks.tensorboard",
    "Transform": "jalon.core.transform",
}

__all__ = [
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "ModelCheckpoint",
    "ProgbarLogger",
    "ReduceLROnPlateau",
    "Standardize",
    "TensorBoard",
    "Transform",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'jalon.callbacks' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
