"""Time what an epoch's end and a save cost the training thread, with the seven callbacks.

    .venv/bin/python benchmarks/epoch_end.py [--epochs 200]

The task is that of ``benchmarks/fit.py``, its short epochs. Three trainings alternate: one whose checkpoint never saves, one
that saves each epoch, one without callbacks. Printed: the median of what ``on_epoch_end`` of all takes, and of a save alone.
Within a training the callbacks' code and data have left the processor's caches by the time an epoch ends; back to back, with
nothing trained between, they have not.
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
from jalon.callbacks import History, ModelCheckpoint
from jalon.core.callback_list import CallbackList
from jalon.core.run import Run


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


def end_back_to_back(model: jalon.Model, epochs: int) -> None:
    """End epoch after epoch, with nothing trained between."""
    logs = {"accuracy": 0.91234, "loss": 0.26123, "val_accuracy": 0.93456, "val_loss": 0.31234}
    with tempfile.TemporaryDirectory() as folder:
        told = CallbackList([*seven(Path(folder), saving=False), History()])
        with told.session():
            told.begin(Run(model.trainer_adapter(), epochs=epochs), model, {"verbose": 1, "epochs": epochs, "steps": 45})
            told.on_train_begin({})
            for epoch in range(epochs):
                told.on_epoch_begin(epoch, {})
                told.on_epoch_end(epoch, dict(logs))


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
        ends.clear()
        end_back_to_back(model, epochs)
        medians["seven, no save, back to back"] = list(ends)
        for name, values in medians.items():
            print(f"on_epoch_end, {name:<28} {statistics.median(values):8.1f} µs", file=out)
        print(f"a save of this model, to training{'':<8} {statistics.median(saved):8.1f} µs (goal: 1000)", file=out)


if __name__ == "__main__":
    main()
