"""What the tests of the bridge to Lightning share: the digits, a module that logs, and a trainer that is quiet."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import jalon


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave Lightning's own warnings aside: of workers, of loggers, of what it uses of others."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore:::lightning"))
            item.add_marker(pytest.mark.filterwarnings("ignore:::pytorch_lightning"))
            item.add_marker(pytest.mark.filterwarnings("ignore:::torch"))


@pytest.fixture
def package() -> ModuleType:
    """Return Lightning."""
    return importlib.import_module("lightning.pytorch")


@pytest.fixture(params=["lightning.pytorch", "pytorch_lightning"])
def either_package(request: pytest.FixtureRequest) -> ModuleType:
    """Return Lightning, under both its names."""
    return importlib.import_module(request.param)


def _module(package: ModuleType, **overrides: Any) -> Any:

    class Digits(package.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(7)
            self.net = torch.nn.Sequential(torch.nn.Linear(64, 16), torch.nn.Dropout(0.1), torch.nn.Linear(16, 10))

        def loss(self, batch: Any) -> Any:
            return functional.cross_entropy(self.net(batch[0]), batch[1])

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.loss(batch)

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val_loss", self.loss(batch))

        def test_step(self, batch: Any, batch_idx: int) -> None:
            """Log the loss."""
            self.log("test_loss", self.loss(batch))

        def predict_step(self, batch: Any, batch_idx: int) -> Any:
            return self.net(batch[0]).argmax(1)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    return type("Digits", (Digits,), overrides)()


@pytest.fixture
def make_module() -> Callable[..., Any]:
    """Return a function that makes a module for the digits, with methods overridden."""
    return _module


@pytest.fixture
def loaders() -> tuple[Any, Any]:
    """Return six batches to train on and two to validate on."""
    x, y = load_digits(return_X_y=True)
    pixels, digits = torch.tensor(x[:512], dtype=torch.float32) / 16, torch.tensor(y[:512])
    train = TensorDataset(pixels[:384], digits[:384])
    return DataLoader(train, 64, shuffle=True), DataLoader(TensorDataset(pixels[384:], digits[384:]), 64)


@pytest.fixture
def make_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return a function that makes a trainer and what conducts callbacks in it, which works in a folder of the test."""
    monkeypatch.chdir(tmp_path)

    def make(package: ModuleType, callbacks: Any, *others: Any, **options: Any) -> tuple[Any, Any]:
        conducted = jalon.bridges.lightning(callbacks)
        quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary"), False)
        checkpointing = {"enable_checkpointing": any(isinstance(one, package.callbacks.Checkpoint) for one in others)}
        settings = {"accelerator": "cpu", "max_epochs": 3} | quiet | checkpointing | options
        return package.Trainer(callbacks=[conducted, *others], **settings), conducted

    return make


@pytest.fixture
def train(make_trainer: Callable[..., Any], loaders: tuple[Any, Any]) -> Callable[..., Any]:
    """Return a function that trains on the digits, and returns what conducted the callbacks."""

    def train(
        package: ModuleType, callbacks: Any, *others: Any, module: Any = None, ckpt_path: Any = None, **options: Any
    ) -> Any:
        trainer, conducted = make_trainer(package, callbacks, *others, **options)
        torch.manual_seed(3)
        trainer.fit(module or _module(package), *loaders, ckpt_path=ckpt_path)
        return conducted

    return train
