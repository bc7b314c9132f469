"""Trains in two processes, of which the second asks for a stop, and prints what each came to.

Usage: processes.py FOLDER
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from typing import Any

import lightning.pytorch as pl
import torch
from sklearn.datasets import load_digits
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import jalon
from jalon import Callback
from jalon.callbacks import CSVLogger, ModelCheckpoint, ReduceLROnPlateau, TensorBoard


class Stops(Callback):
    """Asks for a stop in the second process alone."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if (self.run.rank, self.run.epoch, batch) == (1, 2, 1):
            self.run.stop("seen enough")


class Digits(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Linear(64, 10)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return functional.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", functional.cross_entropy(self.net(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def main() -> None:
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    os.chdir(sys.argv[1])
    pl.seed_everything(1, verbose=False)
    x, y = load_digits(return_X_y=True)
    pixels, digits = torch.tensor(x[:512], dtype=torch.float32) / 16, torch.tensor(y[:512])
    saving = ModelCheckpoint("{epoch}.safetensors")
    reducing = ReduceLROnPlateau("val_loss", factor=0.5, patience=1, min_delta=100)
    conducted = jalon.bridges.lightning([Stops(), reducing, saving, CSVLogger("log.csv"), TensorBoard("events")])
    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)
    trainer = pl.Trainer(max_epochs=9, accelerator="cpu", devices=2, strategy="ddp", callbacks=[conducted], **quiet)
    train, validation = TensorDataset(pixels[:384], digits[:384]), TensorDataset(pixels[384:], digits[384:])
    trainer.fit(Digits(), DataLoader(train, 32, shuffle=True), DataLoader(validation, 32))
    history = conducted.history
    told = (
        trainer.global_rank,
        trainer.global_step,
        history.stop_reason,
        history.history["val_loss"],
        history.history["learning_rate"],
    )
    sys.stdout.write(f"\nREPORT {told!r}\n")


if __name__ == "__main__":
    main()
