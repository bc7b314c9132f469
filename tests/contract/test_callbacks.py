"""Every callback of jalon's keeps the contract."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import jalon.callbacks
from jalon import Callback
from jalon.callbacks import (
    CSVLogger,
    EarlyStopping,
    History,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    MonitorCallback,
    ProgbarLogger,
    ReduceLROnPlateau,
    Standardize,
    TensorBoard,
    TerminateOnNaN,
)
from jalon.testing import check_callback
from jalon.testing.contract import CLAUSES

SETTINGS: dict[str, list[Callable[[], Callback]]] = {
    "CSVLogger": [lambda: CSVLogger("training.log"), lambda: CSVLogger("training.log", append=True)],
    "EarlyStopping": [
        lambda: EarlyStopping(patience=2),
        lambda: EarlyStopping("val_accuracy", patience=1, restore_best_weights=True, start_from_epoch=1),
    ],
    "History": [History],
    "LambdaCallback": [lambda: LambdaCallback(on_epoch_end=lambda epoch, logs: None)],
    "LearningRateScheduler": [lambda: LearningRateScheduler(lambda epoch, rate: rate * 0.5)],
    "ModelCheckpoint": [
        lambda: ModelCheckpoint("best.json", save_best_only=True),
        lambda: ModelCheckpoint("{epoch}-{val_loss:.2f}.json", keep_last=2, keep_best=1),
        lambda: ModelCheckpoint("{epoch}-{batch}.json", save_freq=3, background=False),
    ],
    "MonitorCallback": [MonitorCallback],
    "ProgbarLogger": [ProgbarLogger],
    "ReduceLROnPlateau": [lambda: ReduceLROnPlateau(patience=1, factor=0.5), lambda: ReduceLROnPlateau(patience=1, cooldown=1)],
    "Standardize": [Standardize],
    "TensorBoard": [lambda: TensorBoard("logs"), lambda: TensorBoard("logs", histogram_freq=1, update_freq="batch")],
    "TerminateOnNaN": [TerminateOnNaN],
}

ELSEWHERE = {
    "BackupAndRestore": ("it is what the contract's crashes are gone on with by", "tests/callbacks/test_backup_and_restore.py"),
    "Journal": ("it needs a run's folder", "tests/store/test_journal.py"),
    "MLflow": ("it needs a store of MLflow's", "tests/callbacks/test_mlflow.py"),
    "Notify": ("it needs a service that takes messages", "tests/callbacks/test_notify.py"),
    "OrbaxCheckpoint": ("it writes what a framework gives it", "tests/callbacks/test_orbax_checkpoint.py"),
    "RemoteMonitor": ("it needs a server", "tests/callbacks/test_remote_monitor.py"),
    "SpotNotice": ("it needs the metadata service of a cloud", "tests/callbacks/test_spot_notice.py"),
    "Steering": ("it needs a run's folder", "tests/callbacks/test_steering.py"),
    "SwapEMAWeights": ("it needs an optimizer that keeps an average", "tests/callbacks/test_swap_ema_weights.py"),
    "TimeLimit": ("it needs something that keeps the training", "tests/callbacks/test_time_limit.py"),
    "WandB": ("it needs wandb's own process", "tests/callbacks/test_wandb.py"),
}
"""What cannot be taken through a scripted run: why, and where its tests are."""

MADE = [(name, number, make) for name, makes in SETTINGS.items() for number, make in enumerate(makes)]
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("clause", CLAUSES)
@pytest.mark.parametrize(("name", "number", "make"), MADE, ids=lambda value: str(value) if isinstance(value, (str, int)) else "")
def test_the_contract(name, number, make, clause, capsys):
    """A callback keeps a clause of the contract, with each of its settings."""
    check_callback(make, without=CLAUSES.keys() - {clause})


def classes() -> dict[str, Any]:
    """Return the callbacks that the files of ``jalon.callbacks`` define."""
    folder = Path(jalon.callbacks.__file__).parent
    modules = [importlib.import_module(f"jalon.callbacks.{path.stem}") for path in folder.glob("[!_]*.py")]
    return {
        name: value
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Callback) and value.__module__ == module.__name__ and name[0] != "_"
    }


def test_no_callback_escapes():
    """A new file in ``callbacks/`` is held to the contract, or its exception says why."""
    assert set(classes()) == SETTINGS.keys() | ELSEWHERE.keys()
    assert not SETTINGS.keys() & ELSEWHERE.keys()


def test_what_is_tested_elsewhere_is_there():
    """An exception carries its reason, and the file with the tests is there."""
    for reason, path in ELSEWHERE.values():
        assert reason
        assert (ROOT / path).exists()
