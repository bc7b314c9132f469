"""Trains in children that are killed and started again, and prints what each training came to.

Usage: training.py FOLDER SETTING
"""

from __future__ import annotations

import gc
import hashlib
import json
import logging
import os
import signal
import sys
import traceback
import warnings
from contextlib import chdir
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from sklearn.datasets import load_digits
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import jalon
from jalon import Callback
from jalon.callbacks import CSVLogger, EarlyStopping, ModelCheckpoint, ReduceLROnPlateau, TensorBoard

KILLS = ((0, 2), (2, 1), (2, "end"), "after")
SETTINGS: dict[str, dict[str, Any]] = {
    "scheduler": {},
    "steps": {"max_epochs": -1, "max_steps": 45},
    "several validations": {"val_check_interval": 0.5},
    "own checkpoints": {},
}


class Killed(Callback):
    """Kills the process, as nothing can be done about it.

    Args:
        at: Epoch and batch, an epoch and its ``"end"``, or ``"after"`` the last one; never if it is None.
    """

    lazy_logs = True

    def __init__(self, at: Any) -> None:
        self.at = at

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.look((self.run.epoch, batch))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.look((epoch, "end"))

    def on_train_end(self, logs: Any = None) -> None:
        self.look("after")

    def look(self, place: Any) -> None:
        if place == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


class Digits(pl.LightningModule):
    def __init__(self, setting: str) -> None:
        super().__init__()
        self.setting = setting
        self.net = torch.nn.Sequential(torch.nn.Linear(64, 16), torch.nn.Dropout(0.2), torch.nn.Linear(16, 10))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        outputs = self.net(batch[0])
        self.log("train_right", (outputs.argmax(1) == batch[1]).float().mean(), on_step=False, on_epoch=True)
        return functional.cross_entropy(outputs, batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", functional.cross_entropy(self.net(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=0.05)
        if self.setting != "scheduler":
            return optimizer
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.9)]


def train(setting: str, at: Any) -> Any:
    """Train in the present folder, killed at a place, and return what the training came to."""
    pl.seed_everything(1, verbose=False)
    x, y = load_digits(return_X_y=True)
    pixels, digits = torch.tensor(x[:512], dtype=torch.float32) / 16, torch.tensor(y[:512])
    train = DataLoader(TensorDataset(pixels[:384], digits[:384]), 64, shuffle=True)
    validation = DataLoader(TensorDataset(pixels[384:], digits[384:]), 64)
    callbacks = [
        EarlyStopping(patience=2, restore_best_weights=True),
        ReduceLROnPlateau(factor=0.5, patience=1, min_delta=0.2),
        CSVLogger("log.csv"),
        Killed(at),
        TensorBoard("events"),
        ModelCheckpoint("best.safetensors", save_best_only=True),
    ]
    own = setting == "own checkpoints"
    if own:
        callbacks.insert(1, ModelCheckpoint("saved/last.ckpt"))
    conducted = jalon.bridges.lightning(callbacks)
    others = [] if own else [pl.callbacks.ModelCheckpoint(dirpath="saved", save_last=True)]
    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary"), False)
    settings = {"max_epochs": 8, "accelerator": "cpu", "enable_checkpointing": not own} | quiet | SETTINGS[setting]
    module = Digits(setting)
    last = str(Path("saved/last.ckpt")) if Path("saved/last.ckpt").exists() else None
    pl.Trainer(callbacks=[conducted, *others], **settings).fit(module, train, validation, ckpt_path=last)
    return outcome(module, conducted.history)


def outcome(module: torch.nn.Module, history: Any) -> dict[str, Any]:
    """Return what a training came to, as JSON."""
    weights = b"".join(value.numpy().tobytes() for value in module.state_dict().values())
    events = {}
    for part in ("train", "validation"):
        found = EventAccumulator(f"events/{part}", size_guidance={"scalars": 0}).Reload()
        for tag in found.Tags()["scalars"]:
            events[f"{part} {tag}"] = [(event.step, event.value) for event in found.Scalars(tag)]
    return {
        "weights": hashlib.sha256(weights).hexdigest(),
        "best": hashlib.sha256(Path("best.safetensors").read_bytes()).hexdigest(),
        "table": Path("log.csv").read_text(),
        "events": events,
        "history": history.rows,
        "stop_reason": history.stop_reason,
    }


def child(folder: Path, setting: str, at: Any) -> int:
    """Train in a child, and return how it ended."""
    folder.mkdir(exist_ok=True)
    pid = os.fork()
    if pid == 0:
        try:
            os.chdir(folder)
            Path("outcome.json").write_text(json.dumps(train(setting, at)))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main(root: Path, setting: str) -> None:
    """Print the outcome of a training that is not killed, and of those that are."""
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    (root / "first").mkdir()
    with chdir(root / "first"):
        train(setting, None)  # so that a child imports nothing
    gc.collect()
    gc.freeze()  # a child that collects garbage would copy all of it
    outcomes = []
    for number, at in enumerate((None, *KILLS)):
        folder = root / str(number)
        if at is not None and child(folder, setting, at) != -signal.SIGKILL:
            raise RuntimeError(f"the training was not killed at {at}")
        if child(folder, setting, None) != 0:
            raise RuntimeError(f"the training that was killed at {at} did not go on")
        outcomes.append(json.loads((folder / "outcome.json").read_text()))
    sys.stdout.write("\n" + json.dumps(outcomes) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), sys.argv[2])
