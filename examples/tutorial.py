"""The callbacks of the Keras tutorial around a PyTorch network, on scikit-learn's digits.

Usage: python examples/tutorial.py

Writes model.h5, training.log and logs/ into the current folder. Takes a few seconds.
"""

import torch
from sklearn.datasets import load_digits

import jalon
from jalon.callbacks import (
    CSVLogger,
    EarlyStopping,
    ModelCheckpoint,
    ProgbarLogger,
    ReduceLROnPlateau,
    Standardize,
    TensorBoard,
)


class CustomCallback(jalon.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        print(f"End of epoch {epoch}, loss: {logs['loss']}")


def network():
    return torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))


torch.set_num_threads(1)  # the network is so small that several threads only wait for each other
x, y = load_digits(return_X_y=True)
model = jalon.Model(network()).compile(optimizer="adam", loss="cross_entropy", metrics=["accuracy"])
history = model.fit(
    x,
    y,
    epochs=50,
    validation_split=0.2,
    seed=0,
    callbacks=[
        Standardize(),  # learned from the training part, saved with the model, applied in predict too
        ModelCheckpoint(filepath="model.h5", save_best_only=True),
        ReduceLROnPlateau(monitor="val_loss", factor=0.2, patience=3, min_lr=1e-5),
        EarlyStopping(monitor="val_loss", patience=6),
        CSVLogger("training.log"),
        ProgbarLogger(),
        TensorBoard(log_dir="./logs"),
        CustomCallback(),
    ],
)
print(history.stop_reason, history.best)

# Later, anywhere: the best weights, behind the same preparation of the data.
best = jalon.Model.from_checkpoint("model.h5", network())
print("the first digit is", best.predict(x[:1], verbose=0).argmax())
