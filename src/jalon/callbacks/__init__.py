"""The callbacks, one file each, loaded on first use.

Those that other packages offer by the entry point group ``jalon.callbacks`` are here too; a name that is one of jalon's
means jalon's.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jalon.callbacks.backup_and_restore import BackupAndRestore
    from jalon.callbacks.callback_list import CallbackList
    from jalon.callbacks.csv_logger import CSVLogger
    from jalon.callbacks.early_stopping import EarlyStopping
    from jalon.callbacks.history import History
    from jalon.callbacks.journal import Journal
    from jalon.callbacks.lambda_callback import LambdaCallback
    from jalon.callbacks.learning_rate_scheduler import LearningRateScheduler
    from jalon.callbacks.mlflow import MLflow
    from jalon.callbacks.model_checkpoint import ModelCheckpoint
    from jalon.callbacks.monitor_callback import MonitorCallback
    from jalon.callbacks.notify import Notify
    from jalon.callbacks.orbax_checkpoint import OrbaxCheckpoint
    from jalon.callbacks.progbar_logger import ProgbarLogger
    from jalon.callbacks.reduce_lr_on_plateau import ReduceLROnPlateau
    from jalon.callbacks.remote_monitor import RemoteMonitor
    from jalon.callbacks.spot_notice import SpotNotice
    from jalon.callbacks.standardize import Standardize
    from jalon.callbacks.steering import Steering
    from jalon.callbacks.swap_ema_weights import SwapEMAWeights
    from jalon.callbacks.tensorboard import TensorBoard
    from jalon.callbacks.terminate_on_nan import TerminateOnNaN
    from jalon.callbacks.time_limit import TimeLimit
    from jalon.callbacks.wandb import WandB
    from jalon.core.callback import Callback
    from jalon.core.transform import Transform

_HOMES = {
    "BackupAndRestore": "jalon.callbacks.backup_and_restore",
    "CSVLogger": "jalon.callbacks.csv_logger",
    "Callback": "jalon.core.callback",
    "CallbackList": "jalon.callbacks.callback_list",
    "EarlyStopping": "jalon.callbacks.early_stopping",
    "History": "jalon.callbacks.history",
    "Journal": "jalon.callbacks.journal",
    "LambdaCallback": "jalon.callbacks.lambda_callback",
    "LearningRateScheduler": "jalon.callbacks.learning_rate_scheduler",
    "MLflow": "jalon.callbacks.mlflow",
    "ModelCheckpoint": "jalon.callbacks.model_checkpoint",
    "MonitorCallback": "jalon.callbacks.monitor_callback",
    "Notify": "jalon.callbacks.notify",
    "OrbaxCheckpoint": "jalon.callbacks.orbax_checkpoint",
    "ProgbarLogger": "jalon.callbacks.progbar_logger",
    "ReduceLROnPlateau": "jalon.callbacks.reduce_lr_on_plateau",
    "RemoteMonitor": "jalon.callbacks.remote_monitor",
    "SpotNotice": "jalon.callbacks.spot_notice",
    "Standardize": "jalon.callbacks.standardize",
    "Steering": "jalon.callbacks.steering",
    "SwapEMAWeights": "jalon.callbacks.swap_ema_weights",
    "TensorBoard": "jalon.callbacks.tensorboard",
    "TerminateOnNaN": "jalon.callbacks.terminate_on_nan",
    "TimeLimit": "jalon.callbacks.time_limit",
    "Transform": "jalon.core.transform",
    "WandB": "jalon.callbacks.wandb",
}

__all__ = [
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "Journal",
    "LambdaCallback",
    "LearningRateScheduler",
    "MLflow",
    "ModelCheckpoint",
    "MonitorCallback",
    "Notify",
    "OrbaxCheckpoint",
    "ProgbarLogger",
    "ReduceLROnPlateau",
    "RemoteMonitor",
    "SpotNotice",
    "Standardize",
    "Steering",
    "SwapEMAWeights",
    "TensorBoard",
    "TerminateOnNaN",
    "TimeLimit",
    "Transform",
    "WandB",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    elif name.startswith("_"):
        raise AttributeError(f"module 'jalon.callbacks' has no attribute {name!r}")
    else:
        value = importlib.import_module("jalon.callbacks._installed").load(name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *importlib.import_module("jalon.callbacks._installed").names()})
