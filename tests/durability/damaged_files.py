"""Checkpoint files of every format, and plain data, damaged and read."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from damage import mutants
from torch import nn

import jalon
from jalon.engines.torch import program
from jalon.engines.torch.formats import Checkpoint, read_checkpoint, write_checkpoint
from jalon.errors import CheckpointError
from jalon.store import plain

PROGRAM = ".pt2"
SUFFIXES = (".safetensors", ".h5", ".pt", PROGRAM)


def same(one: Any, two: Any) -> bool:
    """Return whether two states are the same, bit for bit, in types and order too."""
    if isinstance(one, (torch.Tensor, np.ndarray)):
        alike = type(one) is type(two) and one.dtype == two.dtype and one.shape == two.shape
        return alike and bool((one == two).all())
    if isinstance(one, dict):
        return isinstance(two, dict) and list(one) == list(two) and all(same(value, two[key]) for key, value in one.items())
    if isinstance(one, (list, tuple)):
        return type(one) is type(two) and len(one) == len(two) and all(map(same, one, two))
    return type(one) is type(two) and one == two


def network() -> nn.Module:
    """Return a small module, with weights that do not learn too."""
    return nn.Sequential(nn.Linear(12, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))


def checkpoint(epoch: int) -> Checkpoint:
    """Return a small model with its optimizer and what was told; values differ from epoch to epoch, sizes do not."""
    torch.manual_seed(epoch)
    net = network()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01 / (1 + epoch))
    for _ in range(1 + epoch):
        optimizer.zero_grad()
        net(torch.randn(16, 12)).square().sum().backward()
        optimizer.step()
    state = {"class": "jalon.callbacks.standardize.Standardize", "state": {"mean": {"x": [0.5, epoch / 7]}}}
    about = {"epoch": epoch, "monitor": "val_loss", "value": 0.5 / (1 + epoch), "transforms": [state]}
    return Checkpoint(net.state_dict(), optimizer.state_dict(), about)


def program_of(epoch: int, path: Path) -> Checkpoint:
    """Write a small model as a program, and return what there is to read of it."""
    torch.manual_seed(epoch)
    model = jalon.Model(network()).compile("sgd", "mse")
    model.fit(torch.randn(16, 12), torch.randn(16, 3), verbose=0)
    program.freeze(model, path, {"epoch": epoch})()
    return program.read(path)


def files(suffix: str, folder: Path, rng: random.Random) -> Iterator[tuple[str, Callable[[], str]]]:
    """Yield mutants of a checkpoint file, without end."""
    path = folder / f"mutant{suffix}"
    contents, saved = [], []
    for epoch in (1, 0):
        if suffix == PROGRAM:
            saved.append(program_of(epoch, path))
        else:
            saved.append(checkpoint(epoch))
            write_checkpoint(path, saved[-1])
        contents.append(path.read_bytes())
    for name, mutant in mutants(*contents, rng):
        yield name, lambda mutant=mutant: _read_file(path, mutant, saved)


def _read_file(path: Path, mutant: bytes, saved: Sequence[Checkpoint]) -> str:
    path.write_bytes(mutant)
    try:
        read = (program.read if path.suffix == PROGRAM else read_checkpoint)(path)
    except CheckpointError as exc:
        return "refused" if str(path) in str(exc) else "silent"
    except Exception:
        return "silent"
    found = (read.weights, read.optimizer, read.about)
    return "harmless" if any(same(found, (one.weights, one.optimizer, one.about)) for one in saved) else "silent"


def state(epoch: int) -> dict[str, Any]:
    """Return plain data as a snapshot has it: what callbacks keep, counters, random numbers."""
    rng = np.random.default_rng(epoch)
    stopping = {"best": 0.5 / (1 + epoch), "wait": epoch, "weights": {"0.weight": rng.normal(size=(8, 12)).astype("f4")}}
    return {
        "callbacks": {"EarlyStopping": stopping, "CSVLogger": {"length": 100 + epoch}},
        "numpy": rng.integers(0, 2**32, 624, "u4"),
    }


def plain_data(kind: str, folder: Path, rng: random.Random) -> Iterator[tuple[str, Callable[[], str]]]:
    """Yield mutants of plain data, whose checksum is in the manifest beside it: what is read is refused or left to that."""
    for name, mutant in mutants(plain.encode(state(1)), plain.encode(state(0)), rng):
        yield name, lambda mutant=mutant: _read_plain(mutant)


def _read_plain(mutant: bytes) -> str:
    try:
        plain.decode(mutant)
    except CheckpointError:
        return "refused"
    except Exception:
        return "silent"
    return "harmless"
