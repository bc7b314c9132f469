"""What the tests of the bridge to transformers share: the digits, a model that returns its loss, and a trainer that is quiet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from torch.nn import functional
from transformers import Trainer, TrainingArguments, set_seed

import jalon


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the trainer's own warnings aside."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore:::transformers"))
            item.add_marker(pytest.mark.filterwarnings("ignore:::accelerate"))
            item.add_marker(pytest.mark.filterwarnings("ignore:::torch"))


class Digits(torch.nn.Module):
    """Tells digits apart, and returns its loss as models of transformers do."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.net = torch.nn.Sequential(torch.nn.Linear(64, 16), torch.nn.Dropout(0.1), torch.nn.Linear(16, 10))

    def forward(self, pixels: Any, labels: Any = None) -> dict[str, Any]:
        logits = self.net(pixels)
        return {"loss": functional.cross_entropy(logits, labels), "logits": logits}


@pytest.fixture
def model() -> Digits:
    """Return a model for the digits."""
    return Digits()


@pytest.fixture(scope="session")
def digits() -> list[dict[str, Any]]:
    """Return the digits: the first 384 are six batches to train on, the 128 that follow two to validate on."""
    x, y = load_digits(return_X_y=True)
    pixels, labels = torch.tensor(x[:512], dtype=torch.float32) / 16, torch.tensor(y[:512])
    return [{"pixels": one, "labels": label} for one, label in zip(pixels, labels, strict=True)]


@pytest.fixture
def make_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digits: Any, model: Any) -> Callable[..., Any]:
    """Return a function that makes a trainer and what conducts callbacks in it, which works in a folder of the test."""
    monkeypatch.chdir(tmp_path)

    def make(callbacks: Any, *others: Any, kind: type[Trainer] = Trainer, **options: Any) -> tuple[Trainer, Any]:
        conducted = jalon.bridges.transformers(callbacks)
        batches = {"per_device_train_batch_size": 64, "per_device_eval_batch_size": 64}
        quiet = {"disable_tqdm": True, "report_to": [], "use_cpu": True, "save_strategy": "no"}
        settings = {"num_train_epochs": 3, "learning_rate": 0.01, "eval_strategy": "epoch"} | batches | quiet | options
        args = TrainingArguments("out", **settings)
        set_seed(3)
        train, validation = digits[:384], digits[384:]
        trainer = kind(model, args, train_dataset=train, eval_dataset=validation, callbacks=[conducted, *others])
        return trainer, conducted

    return make


@pytest.fixture
def train(make_trainer: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that trains on the digits, and returns what conducted the callbacks."""

    def train(callbacks: Any, *others: Any, resume: Any = None, **options: Any) -> Any:
        trainer, conducted = make_trainer(callbacks, *others, **options)
        trainer.train(resume_from_checkpoint=resume)
        return conducted

    return train
