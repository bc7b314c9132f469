"""Time the trainers of Lightning and transformers: jalon's callbacks against each trainer's own equivalents.

    .venv/bin/python benchmarks/trainers.py [--rounds 7] [--epochs 10]

The model is a small network on scikit-learn's digits, 45 batches of 32 an epoch, validated each epoch. It is trained in turn
with no callbacks, with the trainer's own, and with jalon's through the bridge; the order changes from round to round. Printed:
the median time of a step, validation and saves included, by the clock and of the processor (all threads, that which writes too,
so that a busy machine matters less), each with the median ratio to the trainer's own in the same round. Both keep the best,
stop early, show progress and write the metrics of each epoch for TensorBoard; under Lightning both write a table and watch the
rate too. Files hold weights and optimizer under Lightning, weights alone under transformers. Progress goes to a terminal that
nobody looks at.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from fit import terminal
from sklearn.datasets import load_digits
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset
from transformers import EarlyStoppingCallback, PrinterCallback, Trainer, TrainingArguments
from transformers.integrations import TensorBoardCallback

import jalon
from jalon import callbacks as ours

STEPS = 45
WAYS = ("none", "its own", "jalon's")


def network() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))


def jalons(folder: Path, *, weights_only: bool = False) -> list[Any]:
    """Return what both trainers are given of jalon's."""
    return [
        ours.ModelCheckpoint(folder / "best.safetensors", save_best_only=True, save_weights_only=weights_only),
        ours.EarlyStopping(patience=1000),
        ours.TensorBoard(folder / "events", write_graph=False),
        ours.ProgbarLogger(),
    ]


class Digits(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = network()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = functional.cross_entropy(self.net(batch[0]), batch[1])
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", functional.cross_entropy(self.net(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def lightning(way: str, folder: Path, epochs: int, x: torch.Tensor, y: torch.Tensor) -> Callable[[], object]:
    """Return what trains under Lightning."""
    callbacks: list[Any] = []
    loggers: list[Any] = []
    if way == "its own":
        callbacks = [
            pl.callbacks.ModelCheckpoint(folder, monitor="val_loss"),
            pl.callbacks.EarlyStopping("val_loss", patience=1000),
            pl.callbacks.LearningRateMonitor("epoch"),
            pl.callbacks.TQDMProgressBar(),
        ]
        loggers = [pl.loggers.CSVLogger(folder), pl.loggers.TensorBoardLogger(folder)]
    elif way == "jalon's":
        callbacks = [jalon.bridges.lightning([*jalons(folder), ours.CSVLogger(folder / "log.csv")])]
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=callbacks,
        logger=loggers,
        enable_progress_bar=way == "its own",
        enable_checkpointing=way == "its own",
        enable_model_summary=False,
        default_root_dir=folder,
        log_every_n_steps=STEPS,
        num_sanity_val_steps=0,
    )
    train = DataLoader(TensorDataset(x[:1440], y[:1440]), 32, shuffle=True)
    validation = DataLoader(TensorDataset(x[1440:], y[1440:]), 128)
    return lambda: trainer.fit(Digits(), train, validation)


class Losing(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = network()

    def forward(self, pixels: Any, labels: Any) -> dict[str, Any]:
        logits = self.net(pixels)
        return {"loss": functional.cross_entropy(logits, labels), "logits": logits}


def transformers(way: str, folder: Path, epochs: int, x: torch.Tensor, y: torch.Tensor) -> Callable[[], object]:
    """Return what trains under transformers. Its own way to keep the best is a checkpoint an epoch."""
    own = way == "its own"
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(folder / "logs")
    kept = {"save_strategy": "best", "metric_for_best_model": "eval_loss", "save_total_limit": 1, "save_only_model": True}
    args = TrainingArguments(
        str(folder / "out"),
        num_train_epochs=epochs,
        per_device_train_batch_size=32,
        per_device_eval_batch_size=128,
        eval_strategy="epoch",
        logging_strategy="epoch",
        disable_tqdm=not own,
        report_to=[],
        use_cpu=True,
        **(kept if own else {"save_strategy": "no"}),
    )
    callbacks: list[Any] = [EarlyStoppingCallback(1000), TensorBoardCallback()] if own else []
    if way == "jalon's":
        callbacks = [jalon.bridges.transformers(jalons(folder, weights_only=True))]
    data = [{"pixels": one, "labels": label} for one, label in zip(x, y, strict=True)]
    trainer = Trainer(Losing(), args, train_dataset=data[:1440], eval_dataset=data[1440:], callbacks=callbacks)
    trainer.remove_callback(PrinterCallback)
    return trainer.train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in ("lightning.pytorch", "transformers", "accelerate"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_num_threads(1)
    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)

    def timed(make: Callable[..., Callable[[], object]], way: str) -> tuple[float, float]:
        with tempfile.TemporaryDirectory() as folder:
            train = make(way, Path(folder), options.epochs, x, y)
            began = time.perf_counter(), time.process_time()
            train()
            steps = options.epochs * STEPS
            return (time.perf_counter() - began[0]) / steps * 1e6, (time.process_time() - began[1]) / steps * 1e6

    with terminal() as out:
        for make in (lightning, transformers):
            times: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
            for way in WAYS:
                timed(make, way)
            for turn in range(options.rounds):
                for at in range(len(WAYS)):
                    way = WAYS[(turn + at) % len(WAYS)]
                    times[way].append(timed(make, way))
            print(f"{make.__name__}, microseconds per step, {options.rounds} rounds of {options.epochs} epochs", file=out)
            for way in WAYS:
                told = [f"{way:<8}"]
                for place, name in enumerate(("clock", "processor")):
                    mine, peers = ([each[place] for each in times[which]] for which in (way, "its own"))
                    ratio = statistics.median(one / peer for one, peer in zip(mine, peers, strict=True))
                    told.append(f"{name} {statistics.median(mine):6.0f} us, {ratio:4.2f} x its own")
                print("   ".join(told), file=out)


if __name__ == "__main__":
    main()
