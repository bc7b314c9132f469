"""The callbacks around `partial_fit`: a linear classifier of scikit-learn on its digits, a batch at a time.

Usage: python examples/loop_sklearn.py

Writes best.safetensors and training.log into the current folder. Takes a few seconds.
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

import jalon
from jalon.callbacks import CSVLogger, EarlyStopping, ModelCheckpoint, ProgbarLogger, ReduceLROnPlateau

x, y = load_digits(return_X_y=True)
x_train, x_val, y_train, y_val = train_test_split(x / 16, y, test_size=0.2, random_state=0)
classes = np.unique(y)

model = SGDClassifier(loss="log_loss", learning_rate="constant", eta0=0.1, random_state=0)
loop = jalon.Loop(
    [
        ModelCheckpoint("best.safetensors", save_best_only=True),
        ReduceLROnPlateau(factor=0.5, patience=3),
        EarlyStopping(patience=8, restore_best_weights=True),
        CSVLogger("training.log"),
        ProgbarLogger(),
    ],
    model=model,
    epochs=60,
)
for epoch in loop:
    for rows in loop.batches(np.array_split(np.arange(len(x_train)), 20)):
        model.partial_fit(x_train[rows], y_train[rows], classes=classes)
        loop.log(loss=log_loss(y_train[rows], model.predict_proba(x_train[rows]), labels=classes))
    with loop.validation():
        loop.log(loss=log_loss(y_val, model.predict_proba(x_val)), accuracy=model.score(x_val, y_val))

print(loop.run.stop_reason, loop.history.best)
print("accuracy of the best epoch, which the model has again:", model.score(x_val, y_val))
