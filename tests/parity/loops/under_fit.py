"""``jalon.Model.fit``, whose loss is a recorded curve."""

from __future__ import annotations

from pathlib import Path

import torch

import jalon
from jalon.callbacks import History


def train(callbacks: list, curve: list[dict[str, float]], folder: Path) -> History:  # as every loop's
    """Train as many epochs as the curve has, each reporting the curve's metrics, and return the history."""
    module = torch.nn.Linear(1, 1).double()
    told = {True: iter(curve), False: iter(curve)}

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        row, moving = next(told[module.training]), outputs.mean()
        return row["loss" if module.training else "val_loss"] + (moving - moving.detach())

    model = jalon.Model(module)
    model.compile(torch.optim.SGD(module.parameters(), lr=0.1), loss)
    one = torch.ones(1, 1, dtype=torch.float64)
    return model.fit(one, one, epochs=len(curve), validation_data=(one, one), callbacks=callbacks, verbose=0)
