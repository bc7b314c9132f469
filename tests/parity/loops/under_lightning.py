"""Lightning's ``Trainer``, whose module logs a recorded curve."""

from __future__ import annotations

import warnings
from pathlib import Path

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader

import jalon
from jalon.callbacks import History


class Recorded(pl.LightningModule):
    """Logs what was recorded of each epoch; a double stays one where it is the only value of its epoch."""

    def __init__(self, curve: list[dict[str, float]]) -> None:
        super().__init__()
        self.curve = curve
        self.weight = torch.nn.Parameter(torch.ones(2))

    def log_recorded(self, *, validation: bool) -> None:
        for name, value in self.curve[self.current_epoch].items():
            if name.startswith("val_") == validation:
                self.log(name, torch.tensor(value, dtype=torch.float64), on_step=False, on_epoch=True, batch_size=1)

    def training_step(self, batch, batch_idx):
        self.log_recorded(validation=False)
        return self.weight.square().sum()

    def validation_step(self, batch, batch_idx):
        self.log_recorded(validation=True)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def train(callbacks: list, curve: list[dict[str, float]], folder: Path) -> History:
    """Train as many epochs as the curve has, each reporting the curve's metrics, and return the history."""
    conducted = jalon.bridges.lightning(callbacks)
    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)
    validates = any(name.startswith("val_") for row in curve for name in row)
    one = DataLoader(torch.zeros(1, 1))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning|torch")
        trainer = pl.Trainer(
            max_epochs=len(curve),
            accelerator="cpu",
            callbacks=[conducted],
            num_sanity_val_steps=0,
            default_root_dir=folder,
            **quiet,
        )
        trainer.fit(Recorded(curve), one, one if validates else None)
    return conducted.history
