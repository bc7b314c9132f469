"""Time what an epoch's end and a save cost the training thread, with the seven callbacks.

    .venv/bin/python benchmarks/epoch_end.py [--epochs 200]

The task is that of ``benchmarks/fit.py``, its short epochs. Three trainings alternate: one whose checkpoint never saves, one
that saves each epoch, one without callbacks. Printed: the median of what ``on_epoch_end`` of all takes, and of a save alone.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from fit import BATCH, digits, network, seven, terminal
from torch import nn

import jalon
from jalon.callbacks import ModelCheckpoint
from jalon.core.callback_list import CallbackList


def timed(owner: type, name: str, into: list[float]) -> None:
    """Take down how long each call of a method takes, in µs."""
    method = getattr(owner, name)

    def wrapper(*args, **kwargs):
        began = time.perf_counter()
        try:
            return method(*args, **kwargs)
        finally:
            into.append((time.perf_counter() - began) * 1e6)

    setattr(owner, name, wrapper)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=200)
    epochs = parser.parse_args().epochs
    torch.set_num_threads(1)
    x, y, x_val, y_val = digits(1)
    ends: list[float] = []
    saves: list[float] = []
    timed(CallbackList, "on_epoch_end", ends)
    timed(ModelCheckpoint, "_start", saves)
    medians: dict[str, list[float]] = {"none": [], "seven, no save": [], "seven, each epoch saves": []}
    saved: list[float] = []
    with terminal() as out:
        for _ in range(3):
            for name, callbacks, saving in (
                ("none", False, False),
                ("seven, no save", True, False),
                ("seven, each epoch saves", True, True),
            ):
                ends.clear(), saves.clear()
                model = jalon.Model(network()).compile("adam", loss=nn.CrossEntropyLoss(), metrics=["accuracy"])
                with tempfile.TemporaryDirectory() as folder:
                    told = seven(Path(folder), saving=saving) if callbacks else None
                    model.fit(
                        x, y, BATCH, epochs=epochs // 3, validation_data=(x_val, y_val), callbacks=told, verbose=int(callbacks)
                    )
                medians[name].append(statistics.median(ends))
                saved.extend(saves)
        for name, values in medians.items():
            print(f"on_epoch_end, {name:<24} {statistics.median(values):8.1f} µs", file=out)
        print(f"a save of this model, to training{'':<4} {statistics.median(saved):8.1f} µs (goal: 1000)", file=out)


if __name__ == "__main__":
    main()
