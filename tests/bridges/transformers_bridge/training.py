"""Trains in children that are killed and started again, and prints what each training came to.

Usage: training.py FOLDER SETTING
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import signal
import sys
import traceback
import warnings
from contextlib import chdir
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.nn import functional
from transformers import Trainer, TrainingArguments, set_seed

import jalon
from jalon import Callback
from jalon.callbacks import CSVLogger, EarlyStopping, ModelCheckpoint, ReduceLROnPlateau, TensorBoard

KILLS = ((0, 1), (2, 1), (2, "end"), "after")
SETTINGS: dict[str, dict[str, Any]] = {
    "epochs": {"eval_strategy": "epoch", "save_strategy": "epoch"},
    "steps": {"eval_strategy": "steps", "eval_steps": 3, "save_strategy": "steps", "save_steps": 2},
    "evaluation by epochs, saving by steps": {"eval_strategy": "epoch", "save_strategy": "steps", "save_steps": 3},
    "accumulation": {"eval_strategy": "epoch", "save_strategy": "epoch", "gradient_accumulation_steps": 2},
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


class Digits(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(64, 16), torch.nn.Dropout(0.2), torch.nn.Linear(16, 10))

    def forward(self, pixels: Any, labels: Any = None) -> dict[str, Any]:
        logits = self.net(pixels)
        return {"loss": functional.cross_entropy(logits, labels), "logits": logits}


def train(setting: str, at: Any) -> dict[str, Any]:
    """Train in the present folder, killed at a place, and return what the training came to."""
    set_seed(1)
    x, y = load_digits(return_X_y=True)
    pixels, labels = torch.tensor(x[:512], dtype=torch.float32) / 16, torch.tensor(y[:512])
    data = [{"pixels": one, "labels": label} for one, label in zip(pixels, labels, strict=True)]
    conducted = jalon.bridges.transformers(
        [
            EarlyStopping(patience=2, restore_best_weights=True),
            ReduceLROnPlateau(factor=0.5, patience=1, min_delta=0.2),
            CSVLogger("log.csv"),
            Killed(at),
            TensorBoard("events"),
            ModelCheckpoint("best.safetensors", save_best_only=True),
        ]
    )
    fixed = {"per_device_train_batch_size": 64, "disable_tqdm": True, "report_to": [], "use_cpu": True, "save_total_limit": 2}
    args = TrainingArguments("out", num_train_epochs=8, learning_rate=0.05, **fixed, **SETTINGS[setting])
    model = Digits()
    begun = any(Path("out").glob("checkpoint-*"))
    trainer = Trainer(model, args, train_dataset=data[:384], eval_dataset=data[384:], callbacks=[conducted])
    trainer.train(resume_from_checkpoint=begun)
    return outcome(model, conducted.history)


def outcome(model: torch.nn.Module, history: Any) -> dict[str, Any]:
    """Return what a training came to, as JSON."""
    weights = b"".join(value.numpy().tobytes() for value in model.state_dict().values())
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
