"""Watch the memory of a training of 1,000,000 steps with the seven callbacks.

    .venv/bin/python benchmarks/memory.py [--steps 1000000]

Prints the resident memory every tenth of the way. Flat means: the last reading is within 5 MB of that at a tenth.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
from pathlib import Path

import torch
from torch import nn

import jalon
from jalon.callbacks import CSVLogger, EarlyStopping, ModelCheckpoint, ProgbarLogger, ReduceLROnPlateau, TensorBoard

EPOCHS = 100


def resident() -> float:
    """Return this process's resident memory in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


class Readings(jalon.Callback):
    def __init__(self) -> None:
        self.taken: list[float] = []

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % (EPOCHS // 10) == 0:
            self.taken.append(resident())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1_000_000)
    steps = parser.parse_args().steps
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x, y = torch.randn(64, 4), torch.randint(0, 2, (64,))
    model = jalon.Model(nn.Linear(4, 2)).compile("sgd", loss="cross_entropy", metrics=["accuracy"])
    readings = Readings()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        callbacks = [
            ModelCheckpoint(folder / "model.safetensors"),
            ReduceLROnPlateau(patience=10_000),
            EarlyStopping(patience=10_000),
            CSVLogger(folder / "training.log"),
            ProgbarLogger(),
            TensorBoard(folder / "logs", update_freq=1000),
            readings,
        ]
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            model.fit(
                x, y, batch_size=8, epochs=EPOCHS, steps_per_epoch=steps // EPOCHS, validation_data=(x, y), callbacks=callbacks
            )
    for tenth, reading in enumerate(readings.taken, 1):
        print(f"after {tenth * steps // 10:>9,} steps: {reading:8.1f} MB")
    print(f"last against the first: {readings.taken[-1] - readings.taken[0]:+.1f} MB (goal: within 5)")


if __name__ == "__main__":
    main()
