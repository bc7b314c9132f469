"""Time what a backup after every epoch adds to a training.

    .venv/bin/python benchmarks/backup.py [--rounds 8]

The same training of digits, a network of 64-64-10 with Adam and a validation, with and without ``BackupAndRestore``, one after
the other in turns; the figure is the median of the epochs with over the median of those without. Short epochs have 45 batches
of 32, long ones 270. One thread, on the disk of the current folder.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn

import jalon
from jalon.callbacks import BackupAndRestore, Callback

WARM_UP = 3


class Epochs(Callback):
    """Notes when each epoch begins."""

    def __init__(self) -> None:
        self.begun: list[float] = []

    def on_epoch_begin(self, epoch, logs=None):
        self.begun.append(time.perf_counter())

    @property
    def seconds(self) -> list[float]:
        """How long each took, after those that warm up."""
        return [later - earlier for earlier, later in zip(self.begun, self.begun[1:], strict=False)][WARM_UP:]


def epochs_of(repeats: int, number: int, *, backed_up: bool) -> list[float]:
    """Train, and return how long the epochs took."""
    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype("float32")
    torch.manual_seed(0)
    model = jalon.Model(nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)))
    model.compile("adam", loss="cross_entropy", metrics=["accuracy"])
    epochs = Epochs()
    with tempfile.TemporaryDirectory(dir=".") as folder:
        callbacks = [epochs, BackupAndRestore(Path(folder, "backup"))] if backed_up else [epochs]
        train = x[:1437].repeat(repeats, 0), y[:1437].repeat(repeats, 0)
        model.fit(*train, epochs=number, validation_data=(x[1437:], y[1437:]), callbacks=callbacks, verbose=0, seed=0)
    return epochs.seconds


def main() -> None:
    """Print a line for short epochs and one for long ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=8)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    for name, repeats, number in (("short", 1, 40), ("long", 6, 12)):
        without: list[float] = []
        backed_up: list[float] = []
        for _ in range(rounds):
            without += epochs_of(repeats, number, backed_up=False)
            backed_up += epochs_of(repeats, number, backed_up=True)
        bare, kept = statistics.median(without), statistics.median(backed_up)
        print(f"{name} epochs: {bare * 1e3:.1f} ms, with a backup after each {kept * 1e3:.1f} ms, {kept / bare:.3f} x")


if __name__ == "__main__":
    main()
