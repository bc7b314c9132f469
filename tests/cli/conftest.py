"""What the tests of the command line share: a training that was killed, and the command line in this process and in another."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import jalon
from jalon.callbacks import BackupAndRestore, CSVLogger, EarlyStopping, ModelCheckpoint, Standardize, TensorBoard
from jalon.cli import app
from jalon.engines.torch.demo import digits, network


class PowerCut(jalon.Callback):
    """Break training off in its third epoch, after the tenth batch."""

    def on_train_batch_end(self, batch, logs=None):
        if (self.run.epoch, batch) == (2, 9):
            raise InterruptedError


@pytest.fixture
def train() -> Callable[..., Any]:
    """Return what trains in a folder as one program does that is started again and again."""

    def train(folder: Path, *, epochs: int, broken_off: bool = False) -> Any:
        data = digits(seed=0)
        model = jalon.Model(network(seed=0)).compile(optimizer="adam", loss="cross_entropy", metrics=["accuracy"])
        callbacks = [
            Standardize(),
            ModelCheckpoint(folder / "best.safetensors", save_best_only=True),
            EarlyStopping(patience=3),
            CSVLogger(folder / "training.log"),
            TensorBoard(folder / "logs"),
            BackupAndRestore(folder / "backup", delete_checkpoint=False),
        ]
        return model.fit(
            data.x_train[:640],
            data.y_train[:640],
            epochs=epochs,
            validation_data=(data.x_val, data.y_val),
            verbose=0,
            seed=0,
            callbacks=[*callbacks, PowerCut()] if broken_off else callbacks,
        )

    return train


@pytest.fixture
def run(tmp_path: Path, train: Callable[..., Any]) -> Path:
    """Return the folder of a training that was broken off in its third epoch."""
    with pytest.raises(InterruptedError):
        train(tmp_path / "run", epochs=4, broken_off=True)
    return tmp_path / "run"


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, list[str]]]:
    """Return what runs a sub-command in this process, and returns its exit code and the lines that it printed."""

    def call(*arguments: object) -> tuple[int, list[str]]:
        code = app([*map(str, arguments)], result_action="return_value", exit_on_error=False)
        return code, capsys.readouterr().out.splitlines()

    return call


@pytest.fixture
def command() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return what runs the command line in another process."""

    def command(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-W", "error", "-m", "jalon", *map(str, arguments)]
        return subprocess.run(
            line, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=os.environ | variables, check=False
        )

    return command


@pytest.fixture
def flip() -> Callable[[Path, int], None]:
    """Return what changes one bit of a file, at a place counted from its end where that is negative."""

    def flip(path: Path, place: int) -> None:
        content = bytearray(path.read_bytes())
        content[place] ^= 1
        path.write_bytes(content)

    return flip
