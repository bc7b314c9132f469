"""The Trainer of transformers with jalon's callbacks: stop early, keep the best, reduce the rate, log; go on when interrupted.

Usage: python examples/transformers_trainer.py

Kill it at any moment and start it again: it goes on from the last checkpoint, and ends as if nothing had happened. Takes a few
seconds.
"""

from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch.nn import functional
from transformers import PrinterCallback, Trainer, TrainingArguments, set_seed

import jalon
from jalon.callbacks import CSVLogger, EarlyStopping, ModelCheckpoint, ProgbarLogger, ReduceLROnPlateau, TensorBoard


class Digits(torch.nn.Module):
    """Tells digits apart; returns its loss, as models of transformers do."""

    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Dropout(0.2), torch.nn.Linear(64, 10))

    def forward(self, pixels, labels):
        logits = self.net(pixels)
        return {"loss": functional.cross_entropy(logits, labels), "logits": logits}


def accuracy(found):
    return {"accuracy": float((found.predictions.argmax(1) == found.label_ids).mean())}  # reported as "val_accuracy"


torch.set_num_threads(1)  # the network is so small that several threads only wait for each other
set_seed(0)
x, y = load_digits(return_X_y=True)
data = [{"pixels": torch.tensor(pixels / 16, dtype=torch.float32), "labels": label} for pixels, label in zip(x, y, strict=True)]

conducted = jalon.bridges.transformers(
    [
        ModelCheckpoint("best.safetensors", save_best_only=True),
        ReduceLROnPlateau(factor=0.2, patience=2),  # a multiplier on what the trainer's scheduler says
        EarlyStopping(patience=5, restore_best_weights=True),
        CSVLogger("training.csv"),
        TensorBoard("logs"),
        ProgbarLogger(),
    ]
)
args = TrainingArguments(
    "checkpoints",
    num_train_epochs=25,
    per_device_train_batch_size=32,
    per_device_eval_batch_size=128,
    learning_rate=0.005,
    eval_strategy="epoch",
    save_strategy="epoch",  # where to go on from
    save_total_limit=2,
    disable_tqdm=True,  # ours is shown
    report_to=[],
    use_cpu=True,
)
trainer = Trainer(
    Digits(), args, train_dataset=data[:1440], eval_dataset=data[1440:], compute_metrics=accuracy, callbacks=[conducted]
)
trainer.remove_callback(PrinterCallback)
trainer.train(resume_from_checkpoint=any(Path("checkpoints").glob("checkpoint-*")))
print(conducted.history.best)
