"""A metric under the name that another library gives it, noticed after two days.

After Lightning-AI/pytorch-lightning#10718 and keras-team/keras#16734. To be found: JAL101, JAL304.
"""

import torch

import jalon
from jalon.callbacks import EarlyStopping, ModelCheckpoint

x, y = torch.randn(64, 4), torch.randint(0, 3, (64,))
model = jalon.Model(torch.nn.Linear(4, 3)).compile("adam", loss="cross_entropy", metrics=["accuracy"])
model.fit(
    x,
    y,
    epochs=100,
    validation_data=(x, y),
    callbacks=[
        ModelCheckpoint("runs/{epoch:03d}-{val_acc:.3f}.pt", save_weights_only=True),
        EarlyStopping(monitor="val_acc", mode="max", patience=10, restore_best_weights=True),
    ],
)
