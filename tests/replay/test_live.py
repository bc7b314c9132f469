"""Trainings that were recorded, and what the callbacks decided in them while they ran."""

from __future__ import annotations

import shutil
import warnings

import numpy as np
import pytest

import jalon
from jalon.callbacks import CSVLogger, EarlyStopping, ModelCheckpoint, ReduceLROnPlateau, TensorBoard, TerminateOnNaN
from jalon.errors import JalonWarning

EPOCHS = 40


def deciding(folder):
    """Return the callbacks that decide, for one training or one replay of it."""
    return [
        ModelCheckpoint(folder / "{epoch:02d}.safetensors", monitor="val_accuracy", keep_best=3, keep_last=1),
        ModelCheckpoint(folder / "best.safetensors", save_best_only=True),
        ReduceLROnPlateau(patience=2, factor=0.5, min_delta=0.002, cooldown=1),
        EarlyStopping(patience=6, min_delta=0.0005, restore_best_weights=True),
        TerminateOnNaN(),
    ]


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    """Return a real training on handwritten digits: its folder, its history, and the rate at its end."""
    from jalon.engines.torch.demo import digits, network

    folder = tmp_path_factory.mktemp("live")
    data = digits(seed=0)
    model = jalon.Model(network(seed=0)).compile(optimizer="adam", loss="cross_entropy", metrics=["accuracy"])
    model.optimizer.learning_rate = 0.02
    loggers = [CSVLogger(folder / "training.csv"), TensorBoard(folder / "logs", write_graph=False)]
    history = model.fit(
        data.x_train,
        data.y_train,
        epochs=EPOCHS,
        validation_data=(data.x_val, data.y_val),
        seed=0,
        verbose=0,
        callbacks=[*deciding(folder), *loggers],
    )
    return folder, history, model


@pytest.mark.parametrize("source", ["training.csv", "logs"])
def test_a_real_training(live, source, tmp_path):
    """From its table and from its event files, a replay stops, saves, deletes and reduces the rate as the training did."""
    folder, history, model = live
    shutil.copytree(folder, tmp_path / "copy")
    result = jalon.replay(tmp_path / "copy" / source, deciding(folder))

    assert history.stop_reason == result.stop.reason
    assert history.epoch[-1] == result.stop.epoch < EPOCHS - 1
    assert {path for path in folder.iterdir() if path.suffix == ".safetensors"} == set(result.disk)
    assert history.bests["val_loss"].epoch == result.in_memory == result.disk[folder / "best.safetensors"]
    changed = [
        epoch for epoch, (one, other) in enumerate(np.lib.stride_tricks.sliding_window_view(rates(history), 2)) if one != other
    ]
    assert changed == [change.epoch for change in result.changes if change.epoch < history.epoch[-1]]
    assert len(changed) > 1
    assert model.optimizer.learning_rate == pytest.approx(result.changes[-1].after, rel=1e-6)
    assert result.departs_at is None


def rates(history):
    return np.array(history.history["learning_rate"])


def test_another_policy_on_the_same_training(live, tmp_path):
    """A replay with less patience ends before the recorded training did, and leaves its files alone."""
    folder, history, _ = live
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    with warnings.catch_warnings():
        warnings.simplefilter("error", JalonWarning)
        result = jalon.replay(
            folder / "training.csv", [EarlyStopping(patience=1), ModelCheckpoint(folder / "{epoch:02d}.safetensors", keep_last=1)]
        )

    assert result.epochs < len(history.epoch)
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_a_training_in_keras():
    """What Keras's fit returns, as it is or as a pandas frame, replays to the stop that Keras's own EarlyStopping made."""
    import keras
    import pandas

    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 4)).astype("f4")
    y = (x.sum(axis=1, keepdims=True) + rng.normal(size=(60, 1))).astype("f4")
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(16, "relu"), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.05), "mse")
    stopper = keras.callbacks.EarlyStopping(patience=3)
    history = model.fit(x[:40], y[:40], validation_data=(x[40:], y[40:]), epochs=60, verbose=0, callbacks=[stopper])

    for source in (history, pandas.DataFrame(history.history)):
        assert stopper.stopped_epoch == jalon.replay(source, EarlyStopping(patience=3)).stop.epoch > 0
