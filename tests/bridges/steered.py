"""Trains in two processes, whose training is steered from its folder, and prints what each came to.

Usage: steered.py lightning|transformers FOLDER, twice, by torchrun; steered.py xgboost FOLDER PORT, twice.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

from sklearn.datasets import load_digits

import jalon
from jalon.callbacks import Callback, Journal, Steering
from jalon.store.control import answer_to, send

COMMANDS = {
    3: [("pause", {}), ("resume", {})],
    5: [("set", {"name": "learning_rate", "value": 0.5}), ("note", {"text": "a rate by hand"})],
    9: [("stop", {"at": "batch"})],
}


class Sends(Callback):
    """Sends commands at given steps from the main process, as somebody else would, and notes what all of them see."""

    def __init__(self, folder: Path, at: str) -> None:
        self.folder, self.at = folder, at
        self.sent: list[str] = []
        self.rates: list[float] = []

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self.at == "batch":
            self._send(self.run.step)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if self.at == "epoch":
            self._send(epoch)

    def _send(self, step: int) -> None:
        self.rates += self.trainer.learning_rates()
        for name, arguments in COMMANDS.get(step, ()) if self.run.is_main else ():
            self.sent.append(send(self.folder, name, arguments, time=1.0 + len(self.sent)))


def callbacks(folder: Path, at: str = "batch") -> list[Callback]:
    Steering.every_seconds, Steering.rest = 0.0, 0  # the folder is looked at after every batch
    return [Sends(folder, at), Journal(folder), Steering(folder)]


def by_lightning(told: list[Callback]) -> None:
    import lightning.pytorch as pl
    import torch
    from torch.nn import functional
    from torch.utils.data import DataLoader, TensorDataset

    class Digits(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Linear(64, 10)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return functional.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    x, y = load_digits(return_X_y=True)
    data = TensorDataset(torch.tensor(x[:384], dtype=torch.float32) / 16, torch.tensor(y[:384]))
    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)
    conducted = jalon.bridges.lightning(told)
    trainer = pl.Trainer(max_epochs=9, accelerator="cpu", devices=2, strategy="ddp", callbacks=[conducted], **quiet)
    trainer.fit(Digits(), DataLoader(data, 32))


def by_transformers(told: list[Callback]) -> None:
    import torch
    from torch.nn import functional
    from transformers import Trainer, TrainingArguments

    class Digits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Linear(64, 10)

        def forward(self, pixels: Any, labels: Any) -> Any:
            scores = self.net(pixels)
            return {"loss": functional.cross_entropy(scores, labels), "logits": scores}

    x, y = load_digits(return_X_y=True)
    rows = [
        {"pixels": torch.tensor(one, dtype=torch.float32) / 16, "labels": int(label)}
        for one, label in zip(x[:384], y[:384], strict=True)
    ]
    quiet = {"report_to": "none", "disable_tqdm": True, "save_strategy": "no", "use_cpu": True}
    args = TrainingArguments("unused", num_train_epochs=9, per_device_train_batch_size=32, learning_rate=0.1, **quiet)
    Trainer(Digits(), args, train_dataset=rows, callbacks=[jalon.bridges.transformers(told)]).train()


def by_xgboost(told: list[Callback], port: str) -> None:
    import xgboost
    from xgboost import collective

    x, y = load_digits(return_X_y=True)
    with collective.CommunicatorContext(dmlc_communicator="rabit", dmlc_tracker_uri="127.0.0.1", dmlc_tracker_port=int(port)):
        part = slice(collective.get_rank(), None, 2)
        train = xgboost.DMatrix(x[part], y[part])
        params = {"objective": "multi:softprob", "num_class": 10, "eta": 0.1, "nthread": 1}
        xgboost.train(params, train, 40, evals=[(train, "train")], callbacks=[jalon.bridges.xgboost(told)], verbose_eval=False)


def main(kind: str, folder: str, *where: str) -> None:
    warnings.simplefilter("ignore")
    told = callbacks(Path(folder), "epoch" if kind == "xgboost" else "batch")
    {"lightning": by_lightning, "transformers": by_transformers, "xgboost": by_xgboost}[kind](told, *where)
    sends = told[0]
    run = sends.run
    answers = [answer_to(Path(folder), one) for one in sends.sent]
    report = {
        "rank": run.rank,
        "step": run.step,
        "epoch": run.epoch,
        "stopped": run.stop_reason,
        "rates": sends.rates,
        "answers": [answer and (answer.command, answer.outcome) for answer in answers],
    }
    sys.stdout.write(f"\nREPORT {json.dumps(report)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
