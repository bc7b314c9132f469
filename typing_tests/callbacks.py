"""Callbacks as their users write them. Only type checkers read this."""

from __future__ import annotations

from pathlib import Path
from typing import Any, assert_type

from jalon import Run, TrainerAdapter, Transform, every
from jalon.callbacks import (
    Callback,
    CallbackList,
    CSVLogger,
    EarlyStopping,
    History,
    LambdaCallback,
    ModelCheckpoint,
    ProgbarLogger,
    ReduceLROnPlateau,
    Standardize,
    TensorBoard,
)
from jalon.core.cadence import Cadence


def notify(epoch: int, logs: dict[str, Any]) -> None:
    """Does what a user's function does at an epoch's end."""


the_tutorial: list[Callback] = [
    ModelCheckpoint(filepath="model.h5", save_best_only=True),
    ReduceLROnPlateau(monitor="val_loss", factor=0.2, patience=5, min_lr=0.001),
    EarlyStopping(monitor="val_loss", patience=10),
    CSVLogger("training.log"),
    ProgbarLogger(),
    TensorBoard(log_dir="./logs"),
]

more: list[Callback] = [
    ModelCheckpoint(Path("best.safetensors"), "val_accuracy", save_best_only=True, save_weights_only=True, mode="max"),
    ModelCheckpoint("{epoch:02d}.pt", save_freq=100),
    ModelCheckpoint("{epoch:02d}.pt", save_freq="epoch", keep_last=2, keep_best=3),
    EarlyStopping("val_loss", min_delta=0.001, baseline=0.5, restore_best_weights=True, start_from_epoch=3),
    CSVLogger(Path("training.csv"), separator=";", append=True),
    LambdaCallback(on_epoch_end=notify),
    Standardize(),
]

EarlyStopping(mode="sideways")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
ReduceLROnPlateau(pateince=3)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


class StopWhenGood(Callback):
    """Stops with a reason, and keeps what it has seen."""

    critical = True

    def __init__(self, enough: float) -> None:
        self.enough = enough

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        assert_type(self.run, Run)
        assert_type(self.trainer, TrainerAdapter)
        if logs and logs["val_accuracy"] >= self.enough:
            self.run.stop(f"an accuracy of {self.enough} is enough")

    def state_dict(self) -> dict[str, Any]:
        return {"enough": self.enough}


class Halve(Callback, Transform):
    """Prepares every batch."""

    def transform_batch(self, data: tuple[Any, ...], phase: str) -> tuple[Any, ...]:
        x, *rest = data
        return (x / 2, *rest)


def of_a_run(run: Run) -> None:
    """What a callback may read of a run."""
    assert_type(run.epoch, int)
    assert_type(run.step, int)
    assert_type(run.elapsed, float)
    assert_type(run.is_main, bool)
    assert_type(run.stop_reason, str | None)
    assert_type(run.history, dict[str, list[float]])


def of_a_list(callbacks: CallbackList) -> None:
    """A list may hold lists, and is counted and walked through."""
    CallbackList([the_tutorial, [StopWhenGood(0.9), Halve()]])
    CallbackList(History())
    assert_type(len(callbacks), int)
    assert_type(callbacks.state_dict(), dict[str, Any])


assert_type(every(epochs=2), Cadence)
