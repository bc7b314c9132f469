"""The best model is chosen by what a few batches of an epoch came to, before it is measured.

After Lightning-AI/pytorch-lightning#17417 and #20185. To be found: JAL106.
"""

import torch

import jalon
from jalon.callbacks import ModelCheckpoint

net = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
batches = [(torch.ones(8, 4) * n, torch.ones(8, 1) * n) for n in range(200)]
saver = ModelCheckpoint("best.safetensors", monitor="loss", save_best_only=True, save_freq=50)
for _ in jalon.Loop(saver, model=net, optimizer=optimizer, epochs=10, steps=len(batches)):
    for x, y in batches:
        loss = torch.nn.functional.mse_loss(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
