"""Keras's ``fit``, whose steps return a recorded curve."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

import jalon
from jalon.callbacks import History


class Recorded(keras.Model):
    """Returns what was recorded of each epoch; there is one batch in each."""

    def __init__(self, curve: list[dict[str, float]]) -> None:
        super().__init__()
        self.curve = curve
        self.inner = keras.layers.Dense(1)
        self.rows = {True: iter(curve), False: iter(curve)}

    def get_config(self):
        return {"curve": self.curve}

    def call(self, x):
        return self.inner(x)

    def _told(self, arguments, *, validation):
        row = next(self.rows[validation])
        logs = {name.removeprefix("val_"): value for name, value in row.items() if name.startswith("val_") == validation}
        return logs if len(arguments) == 1 else (logs, arguments[0])  # on JAX there is a state too

    def get_metrics_result(self):
        return {}  # those that were told stand

    def train_step(self, *arguments):
        return self._told(arguments, validation=False)

    def test_step(self, *arguments):
        """Tell what was recorded of a validation."""
        return self._told(arguments, validation=True)


def train(callbacks: list, curve: list[dict[str, float]], folder: Path) -> History:  # as every loop's
    """Train as many epochs as the curve has, each reporting the curve's metrics, and return the history."""
    model = Recorded(curve)
    one = np.ones((1, 1), "float32")
    model.build((1, 1))
    model.compile(optimizer=keras.optimizers.SGD(0.1), run_eagerly=True)
    history = History()
    model.fit(
        one, one, epochs=len(curve), validation_data=(one, one), verbose=0, callbacks=jalon.bridges.keras([*callbacks, history])
    )
    return history
