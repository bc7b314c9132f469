"""Saves in one rhythm and validations in another, and the newest files alone are kept.

After huggingface/transformers#39560 and mosaicml/composer#2303. To be found: JAL308, JAL401.
"""

import torch

import jalon
from jalon.callbacks import ModelCheckpoint

x, y = torch.randn(64, 4), torch.randint(0, 3, (64,))
model = jalon.Model(torch.nn.Linear(4, 3)).compile("adam", loss="cross_entropy")
model.fit(
    x,
    y,
    epochs=60,
    validation_data=(x, y),
    validation_freq=5,
    callbacks=[
        ModelCheckpoint("best/{epoch:02d}.pt", monitor="val_loss", keep_best=1, save_freq=jalon.every(epochs=2)),
        ModelCheckpoint("last/{epoch:02d}.pt", keep_last=2),
    ],
)
