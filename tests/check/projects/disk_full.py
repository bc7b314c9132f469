"""A file for each epoch of a training without an end in sight.

After mlfoundations/open_lm#154. To be found: JAL307.
"""

import torch

import jalon
from jalon.callbacks import ModelCheckpoint

x, y = torch.randn(64, 1000), torch.randn(64, 1000)
model = jalon.Model(torch.nn.Linear(1000, 1000)).compile("adam", loss="mse")
model.fit(x, y, epochs=1_000_000_000, callbacks=ModelCheckpoint("checkpoints/{epoch:09d}.safetensors"))
