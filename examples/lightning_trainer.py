"""Lightning's Trainer with jalon's callbacks: stop early, keep the best, reduce the rate, log; and go on after an interruption.

Usage: python examples/lightning_trainer.py

Kill it at any moment and start it again: it goes on with the epoch after the last one, and ends as if nothing had happened.
Takes a few seconds.
"""

import logging
import warnings

import lightning.pytorch as pl
import torch
from sklearn.datasets import load_digits
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset, random_split

import jalon
from jalon.callbacks import CSVLogger, EarlyStopping, ModelCheckpoint, ProgbarLogger, ReduceLROnPlateau, TensorBoard


class Digits(pl.LightningModule):
    """Tells digits apart."""

    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Dropout(0.2), torch.nn.Linear(64, 10))

    def training_step(self, batch, batch_idx):
        return functional.cross_entropy(self.net(batch[0]), batch[1])  # reported as "loss"

    def validation_step(self, batch, batch_idx):
        outputs = self.net(batch[0])
        right = (outputs.argmax(1) == batch[1]).float().mean()
        self.log_dict({"val_loss": functional.cross_entropy(outputs, batch[1]), "val_accuracy": right})

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=0.005)
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=25)]


warnings.filterwarnings("ignore", module="lightning")  # of what it uses of others, and of loaders without workers
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
torch.set_num_threads(1)  # the network is so small that several threads only wait for each other
pl.seed_everything(0, verbose=False)

x, y = load_digits(return_X_y=True)
train, val = random_split(TensorDataset(torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y)), [0.8, 0.2])

conducted = jalon.bridges.lightning(
    [
        ModelCheckpoint("best.safetensors", save_best_only=True),
        ReduceLROnPlateau(factor=0.2, patience=2),  # a multiplier on what the scheduler says
        EarlyStopping(patience=5, restore_best_weights=True),
        CSVLogger("training.csv"),
        TensorBoard("logs"),
        ProgbarLogger(),
    ]
)
trainer = pl.Trainer(
    max_epochs=25,
    accelerator="cpu",
    logger=False,
    enable_progress_bar=False,  # ours is shown
    enable_model_summary=False,
    callbacks=[conducted, pl.callbacks.ModelCheckpoint(dirpath="checkpoints", save_last=True)],  # where to go on from
)
trainer.fit(Digits(), DataLoader(train, 32, shuffle=True), DataLoader(val, 256), ckpt_path="last")
print(conducted.history.best)
