"""A process killed while Keras writes leaves the old file, whole."""

import signal
import subprocess
import sys

import keras
import numpy as np
import pytest

CHILD = """
import os, signal, sys, warnings
warnings.simplefilter("ignore")
import keras
import jalon

path, weights_only, part = sys.argv[1], sys.argv[2] == "weights", float(sys.argv[3])
model = keras.Sequential([keras.layers.Input((64,)), keras.layers.Dense(256), keras.layers.Dense(256)])
model.compile("sgd", "mse")
saver = jalon.callbacks.ModelCheckpoint(path, save_weights_only=weights_only)
saver.set_model(model)
saver.on_train_begin()
calls, last = 0, None

def count(frame, event, arg):
    global calls
    calls += 1
    if calls == last:
        os.kill(os.getpid(), signal.SIGKILL)

for epoch in (1, 2, 3):
    model.set_weights([weight * 0 + epoch for weight in model.get_weights()])
    last = int(part * calls) if epoch == 3 else None
    calls = 0
    sys.setprofile(count)
    saver.on_epoch_end(epoch, {})
    sys.setprofile(None)
    saver.on_train_end()
"""


def weights_in(path, kind):
    if kind != "weights":
        return keras.saving.load_model(path, compile=False).get_weights()
    model = keras.Sequential([keras.layers.Input((64,)), keras.layers.Dense(256), keras.layers.Dense(256)])
    model.load_weights(path)
    return model.get_weights()


@pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer:UserWarning")
@pytest.mark.parametrize("part", [0.5, 0.9])
@pytest.mark.parametrize(("name", "kind"), [("model.keras", "model"), ("model.h5", "model"), ("model.weights.h5", "weights")])
def test_killed_while_overwriting(tmp_path, name, kind, part):
    """Killed after a part of the calls that a save makes, the file of the save before is there and loads."""
    path = tmp_path / name
    child = subprocess.run([sys.executable, "-c", CHILD, str(path), kind, str(part)], stderr=subprocess.PIPE, text=True)

    assert -signal.SIGKILL == child.returncode, child.stderr
    assert {2.0} == {float(value) for weight in weights_in(path, kind) for value in np.unique(weight)}
