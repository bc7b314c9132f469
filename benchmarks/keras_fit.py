"""Time Keras's own ``fit`` with the tutorial's seven callbacks: jalon's against Keras's, on one backend.

    KERAS_BACKEND=jax .venv/bin/python benchmarks/keras_fit.py [--rounds 9] [--epochs 30] [--saving]

The model is a small network on scikit-learn's digits, 45 batches of 32 an epoch, validated each epoch. The same compiled
model is trained in turn with Keras's callbacks, with jalon's given to Keras directly, with jalon's through
``jalon.bridges.keras``, and with none; the order changes from round to round. Printed: the median of each time per epoch, and
the median ratio to Keras's seven in the same round. TensorBoard writes by epoch, without a graph. Without ``--saving`` the
checkpoint waits for a value that is never reached.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
import warnings
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
from fit import digits, terminal

import jalon

WAYS = ("none", "keras", "jalon, direct", "jalon, bridge")


def seven(kit, folder: Path, *, saving: bool) -> list:
    """Return the callbacks of the tutorial, of jalon or of Keras."""

    class Custom(kit.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.seen = logs["loss"]

    return [
        kit.ModelCheckpoint(
            str(folder / "model.keras"),
            monitor="loss",
            save_best_only=True,
            initial_value_threshold=None if saving else -1.0,
        ),
        kit.ReduceLROnPlateau(factor=0.2, patience=1000, min_lr=1e-6),
        kit.EarlyStopping(patience=1000),
        kit.CSVLogger(str(folder / "training.log")),
        kit.ProgbarLogger(),
        kit.TensorBoard(str(folder / "logs"), write_graph=False),
        Custom(),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--saving", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore", jalon.errors.WithoutBridge)
    x, y, x_val, y_val = (array.numpy() for array in digits(1))
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(64, activation="relu"), keras.layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])

    def timed(way: str) -> float:
        kit = keras.callbacks if way == "keras" else jalon.callbacks
        with tempfile.TemporaryDirectory() as folder:
            told = [] if way == "none" else seven(kit, Path(folder), saving=options.saving)
            if way == "jalon, bridge":
                told = jalon.bridges.keras(told)
            if way == "jalon, direct":  # Keras adds its own bar to a list without one of its own
                told = [one for one in told if not isinstance(one, jalon.callbacks.ProgbarLogger)]
            began = time.perf_counter()
            model.fit(x, y, 32, epochs=options.epochs, validation_data=(x_val, y_val), callbacks=told, verbose=int(way != "none"))
            return (time.perf_counter() - began) / options.epochs * 1e3

    times: dict[str, list[float]] = {way: [] for way in WAYS}
    with terminal() as out:
        timed("none"), timed("keras"), timed("jalon, bridge")
        for turn in range(options.rounds):
            for at in range(len(WAYS)):
                way = WAYS[(turn + at) % len(WAYS)]
                times[way].append(timed(way))
        print(
            f"Keras {keras.__version__} on {keras.backend.backend()}, ms per epoch of 45 batches, {options.rounds} rounds",
            file=out,
        )
        for way in WAYS:
            ratio = statistics.median(own / peer for own, peer in zip(times[way], times["keras"], strict=True))
            print(f"{way:<14} {statistics.median(times[way]):7.2f} ms   {ratio:5.2f} x Keras's seven", file=out)


if __name__ == "__main__":
    main()
