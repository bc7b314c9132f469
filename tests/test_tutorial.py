"""The tutorial's code, its import line changed, on a real network and real data."""

from __future__ import annotations

import csv
import textwrap

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

import jalon
from jalon.errors import IneffectiveCallback, OlderSpelling

TUTORIAL = textwrap.dedent(
    """
    from jalon.callbacks import ModelCheckpoint
    checkpoint = ModelCheckpoint(filepath='model.h5', save_best_only=True)

    from jalon.callbacks import ReduceLROnPlateau
    reduce_lr = ReduceLROnPlateau(monitor='val_loss', factor=0.2, patience=5, min_lr=0.001)

    from jalon.callbacks import EarlyStopping
    early_stopping = EarlyStopping(monitor='val_loss', patience=10)

    from jalon.callbacks import CSVLogger
    csv_logger = CSVLogger('training.log')

    from jalon.callbacks import ProgbarLogger
    progbar = ProgbarLogger(count_mode='steps')

    from jalon.callbacks import TensorBoard
    tensorboard = TensorBoard(log_dir='./logs')

    import jalon
    class CustomCallback(jalon.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            print(f"End of epoch {epoch}, loss: {logs['loss']}")

    custom_callback = CustomCallback()

    callbacks = [checkpoint, reduce_lr, early_stopping, csv_logger, progbar, tensorboard, custom_callback]

    history = model.fit(x_train, y_train, epochs=50, validation_data=(x_val, y_val), callbacks=callbacks)
    """
)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


@pytest.fixture
def trained(tmp_path, monkeypatch, capsys):
    """The names that the tutorial's code leaves behind, and what it printed."""
    monkeypatch.chdir(tmp_path)
    x, y = load_digits(return_X_y=True)
    x_train, x_val, y_train, y_val = train_test_split(x / 16, y, random_state=0)
    torch.manual_seed(1)
    model = jalon.Model(network()).compile("adam", loss="cross_entropy", metrics=["accuracy"])
    names = {"model": model, "x_train": x_train, "y_train": y_train, "x_val": x_val, "y_val": y_val}
    with pytest.warns(OlderSpelling, match="count_mode"), pytest.warns(IneffectiveCallback, match="starts at 0.001"):
        exec(TUTORIAL, names)
    return names | {"printed": capsys.readouterr().out, "folder": tmp_path}


def test_the_tutorial_trains_and_all_seven_callbacks_do_their_work(trained):
    """The tutorial's code trains the network; each callback leaves what it promises."""
    history, folder = trained["history"], trained["folder"]
    epochs = len(history.epoch)

    assert history.history["val_accuracy"][-1] > 0.95

    losses = history.history["val_loss"]
    best = int(np.argmin(losses))
    model = jalon.Model.from_checkpoint(folder / "model.h5", network()).compile(loss="cross_entropy")
    assert losses[best] == pytest.approx(model.evaluate(trained["x_val"], trained["y_val"], verbose=0), rel=1e-5)

    assert {0.001} == set(history.history["learning_rate"])

    assert (epochs == best + 11 and "val_loss" in history.stop_reason) or epochs == 50

    with open(folder / "training.log", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [str(epoch) for epoch in range(epochs)] == [row["epoch"] for row in rows]
    assert losses == [float(row["val_loss"]) for row in rows]

    assert f"Epoch {epochs}/50" in trained["printed"]
    assert "\r" not in trained["printed"]

    assert 1 == len(list((folder / "logs" / "train").iterdir())) == len(list((folder / "logs" / "validation").iterdir()))

    assert f"End of epoch {epochs - 1}, loss: {history.history['loss'][-1]}" in trained["printed"]


class LossAndErrorPrinting(jalon.callbacks.Callback):
    """Written for Keras: prints by batch and by epoch."""

    def on_train_batch_end(self, batch, logs=None):
        print("Up to batch {}, the average loss is {:7.2f}.".format(batch, logs["loss"]))

    def on_test_batch_end(self, batch, logs=None):
        print("Up to batch {}, the average loss is {:7.2f}.".format(batch, logs["loss"]))

    def on_epoch_end(self, epoch, logs=None):
        keys = list(logs.keys())
        print(f"End epoch {epoch} of training; got log keys: {keys}")


class EarlyStoppingAtMinLoss(jalon.callbacks.Callback):
    """Written for Keras: keeps the best weights with get_weights and puts them back with set_weights."""

    def __init__(self, patience=0):
        super().__init__()
        self.patience = patience
        self.best_weights = None

    def on_train_begin(self, logs=None):
        self.wait = 0
        self.stopped_epoch = 0
        self.best = np.inf

    def on_epoch_end(self, epoch, logs=None):
        current = logs.get("loss")
        if np.less(current, self.best):
            self.best = current
            self.wait = 0
            self.best_weights = self.model.get_weights()
        else:
            self.wait += 1
            if self.wait >= self.patience:
                self.stopped_epoch = epoch
                self.model.stop_training = True
                self.model.set_weights(self.best_weights)

    def on_train_end(self, logs=None):
        if self.stopped_epoch > 0:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping")


class CustomLearningRateScheduler(jalon.callbacks.Callback):
    """Written for Keras: sets the rate at each epoch's begin."""

    def __init__(self, schedule):
        super().__init__()
        self.schedule = schedule

    def on_epoch_begin(self, epoch, logs=None):
        if not hasattr(self.model.optimizer, "learning_rate"):
            raise ValueError('Optimizer must have a "learning_rate" attribute.')
        lr = self.model.optimizer.learning_rate
        scheduled_lr = self.schedule(epoch, lr)
        self.model.optimizer.learning_rate = scheduled_lr
        print(f"\nEpoch {epoch}: Learning rate is {float(np.array(scheduled_lr))}.")


def test_callbacks_written_for_keras_run_as_they_are(capsys):
    """The callbacks of Keras's own guide, their base changed, do what they do in Keras."""
    x, y = load_digits(return_X_y=True)
    model = jalon.Model(network()).compile("sgd", loss="cross_entropy")
    callbacks = [
        LossAndErrorPrinting(),
        EarlyStoppingAtMinLoss(patience=1),
        CustomLearningRateScheduler(lambda epoch, lr: 0.05 if epoch < 2 else lr * 1e6),
    ]

    history = model.fit(x / 16, y, epochs=9, validation_split=0.1, callbacks=callbacks, verbose=0)

    printed = capsys.readouterr().out
    assert "End epoch 0 of training; got log keys: ['loss', 'val_loss']" in printed
    assert "Epoch 2: Learning rate is 50000.0." in printed
    assert f"Epoch {len(history.epoch)}: early stopping" in printed
    assert "EarlyStoppingAtMinLoss set model.stop_training" == history.stop_reason
    best = callbacks[1].best_weights
    assert all(np.array_equal(one, other) for one, other in zip(best, model.get_weights(), strict=True))
