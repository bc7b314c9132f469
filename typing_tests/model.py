"""``jalon.Model`` as its users write it. Only type checkers read this."""

from __future__ import annotations

from pathlib import Path
from typing import Any, assert_type

import numpy as np
import torch

import jalon
from jalon.callbacks import EarlyStopping, History
from jalon.core.run import Best

network = torch.nn.Linear(64, 10)
x, y = np.zeros((32, 64), np.float32), np.zeros(32, np.int64)

model = jalon.Model(network).compile(optimizer="adam", loss="cross_entropy", metrics=["accuracy"])
assert_type(model, jalon.Model)

history = model.fit(x, y, epochs=2, validation_data=(x, y), callbacks=[EarlyStopping()], verbose=2, seed=0)
assert_type(history, History)
assert_type(history.epoch, list[int])
assert_type(history.history, dict[str, list[Any]])
assert_type(history.stop_reason, str | None)
assert_type(history.best, Best | None)

model.fit(torch.zeros(32, 64), torch.zeros(32, dtype=torch.int64), batch_size=8, validation_split=0.25)
model.fit(torch.utils.data.TensorDataset(torch.zeros(32, 64), torch.zeros(32, dtype=torch.int64)), verbose=0)

model.save("model.safetensors")
model.save_weights(Path("weights.h5"))
model.load_weights("weights.h5")
assert_type(jalon.Model.from_checkpoint("model.safetensors", network), jalon.Model)
assert_type(model.stop_training, bool)
assert_type(model.get_weights(), list[Any])


class Doubled(jalon.Model):
    """Keeps its own type through ``compile``."""


assert_type(Doubled(network).compile(loss="mse"), Doubled)
