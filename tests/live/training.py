"""A training to look at: real digits, slow enough to be steered. ``python training.py RUN_DIR EPOCHS [live]``."""

from __future__ import annotations

import sys
import time

import jalon
from jalon.callbacks import Callback, EarlyStopping, ReduceLROnPlateau
from jalon.engines.torch.demo import digits, network


class Slow(Callback):
    """Takes a twentieth of a second for a batch, and tells the rate that the optimizer has when training ends."""

    def on_train_batch_end(self, batch, logs=None):
        time.sleep(0.05)

    def on_train_end(self, logs=None):
        print("rate", self.model.optimizer.learning_rate, "step", self.run.step, "stop", self.run.stop_reason, flush=True)


if __name__ == "__main__":
    data = digits(seed=0)
    model = jalon.Model(network(seed=0)).compile("adam", loss="cross_entropy", metrics=["accuracy"])
    model.fit(
        data.x_train[:128],
        data.y_train[:128],
        epochs=int(sys.argv[2]),
        validation_data=(data.x_val, data.y_val),
        verbose=0 if len(sys.argv) < 4 else 2,
        run_dir=sys.argv[1],
        live=len(sys.argv) > 3,
        callbacks=[ReduceLROnPlateau(patience=50), EarlyStopping(patience=100), Slow()],
    )
