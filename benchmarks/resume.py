"""Time how long a training waits that goes on after 10,000 epochs, for its logs.

    .venv/bin/python benchmarks/resume.py [--epochs 10000] [--rounds 5]

A network of 64-64-10 on digits, with CSVLogger, TensorBoard, EarlyStopping and BackupAndRestore, is left in its last epoch but
one; what is timed is the start of the next: from ``fit`` to its first batch. Beside it the start of a training that has
nothing behind it, and how long reading the same files takes. One thread, on the disk of the current folder; medians. The goal:
less than a second more than a training with nothing behind it.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn

import jalon
from jalon.callbacks import BackupAndRestore, Callback, CSVLogger, EarlyStopping, TensorBoard


class Left(Exception):
    """Leaves a training."""


class LeaveAt(Callback):
    """Leaves the training at the first batch of an epoch, and notes when that was.

    Args:
        epoch: The epoch, from 0.
    """

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.at = 0.0

    def on_train_batch_begin(self, batch, logs=None):
        if self.run.epoch >= self.epoch:
            self.at = time.perf_counter()
            raise Left


def train(folder: Path, epochs: int, leave_at: int) -> float:
    """Train up to an epoch, and return how long after ``fit`` was called its first batch began."""
    x, y = load_digits(return_X_y=True)
    x = (x[:64] / 16).astype("float32")
    torch.manual_seed(0)
    model = jalon.Model(nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)))
    model.compile("adam", loss="cross_entropy", metrics=["accuracy"])
    leave = LeaveAt(leave_at)
    logs = [CSVLogger(folder / "training.log"), TensorBoard(folder / "logs"), EarlyStopping("val_loss", patience=epochs)]
    backup = BackupAndRestore(folder / "backup", save_freq=False, every_seconds=1)
    began = time.perf_counter()
    with suppress(Left):
        model.fit(x, y[:64], epochs=epochs, validation_split=0.5, callbacks=[*logs, backup, leave], verbose=0, seed=0)
    return leave.at - began


def seconds_to_read(folder: Path) -> float:
    """Return how long it takes to read every file."""
    began = time.perf_counter()
    for path in folder.rglob("*"):
        if path.is_file():
            path.read_bytes()
    return time.perf_counter() - began


def main() -> None:
    """Print the three times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    fresh, resumed, read = [], [], []
    with tempfile.TemporaryDirectory(dir=".") as place:
        left = Path(place, "left")
        train(left, given.epochs, given.epochs - 1)
        for number in range(given.rounds):
            again = Path(place, f"again-{number}")
            shutil.copytree(left, again)
            read.append(seconds_to_read(again))
            resumed.append(train(again, given.epochs, 0))
            fresh.append(train(Path(place, f"fresh-{number}"), given.epochs, 0))
            rows = len((again / "training.log").read_text().splitlines()) - 1
    new, gone_on, reading = map(statistics.median, (fresh, resumed, read))
    print(f"{rows:,} epochs of logs: {gone_on * 1e3:.0f} ms to the first batch, {new * 1e3:.0f} ms with nothing behind it,")
    more = gone_on - new
    print(f"{more * 1e3:.0f} ms more; to read the files takes {reading * 1e3:.0f} ms ({more / reading:.1f} x)")


if __name__ == "__main__":
    main()
