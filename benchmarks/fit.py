"""Time ``fit`` against the bare hand-written loop, in one run.

    .venv/bin/python benchmarks/fit.py [--pairs 15] [--only short]

The floor is a hand-written PyTorch loop over tensors in memory: one shuffle per epoch, loss and accuracy accumulated as
tensors and read once an epoch, validation each epoch in batches of the same size, nothing logged. The task: scikit-learn's
digits, an MLP 64-64-10, batch 32, one thread. Each block of ours stands between two blocks of the floor; a pair's ratio is
ours against their mean. Printed: the median of the ratios and its 95 % interval (order statistics).
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn

import jalon
from jalon.callbacks import (
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    ModelCheckpoint,
    ProgbarLogger,
    ReduceLROnPlateau,
    TensorBoard,
)

BATCH = 32


def digits(repeats: int) -> tuple[torch.Tensor, ...]:
    data = load_digits()
    x = torch.tensor(data.data / 16, dtype=torch.float32)
    y = torch.tensor(data.target, dtype=torch.int64)
    train = 1437
    return x[:train].repeat(repeats, 1), y[:train].repeat(repeats), x[train:], y[train:]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def bare(data: tuple[torch.Tensor, ...], epochs: int) -> float:
    x, y, x_val, y_val = data
    net = network()
    optimizer = torch.optim.Adam(net.parameters())
    criterion = nn.CrossEntropyLoss()
    began = time.perf_counter()
    for _ in range(epochs):
        net.train()
        order = torch.randperm(len(x))
        xs, ys = x[order], y[order]
        total, correct = torch.zeros(()), torch.zeros((), dtype=torch.int64)
        for start in range(0, len(x), BATCH):
            xb, yb = xs[start : start + BATCH], ys[start : start + BATCH]
            optimizer.zero_grad()
            output = net(xb)
            loss = criterion(output, yb)
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(xb)
            correct += (output.argmax(1) == yb).sum()
        measured = [total.item() / len(x), correct.item() / len(x)]
        net.eval()
        total, correct = torch.zeros(()), torch.zeros((), dtype=torch.int64)
        with torch.no_grad():
            for start in range(0, len(x_val), BATCH):
                xb, yb = x_val[start : start + BATCH], y_val[start : start + BATCH]
                output = net(xb)
                total += criterion(output, yb) * len(xb)
                correct += (output.argmax(1) == yb).sum()
        measured += [total.item() / len(x_val), correct.item() / len(x_val)]
    return time.perf_counter() - began


def seven(folder: Path, *, saving: bool) -> list[jalon.Callback]:
    never = {"save_best_only": True, "mode": "min", "initial_value_threshold": -1.0}
    return [
        ModelCheckpoint(folder / "model.safetensors", **({} if saving else never)),
        ReduceLROnPlateau(patience=1000),
        EarlyStopping(patience=1000),
        CSVLogger(folder / "training.log"),
        ProgbarLogger(),
        TensorBoard(folder / "logs"),
        LambdaCallback(on_epoch_end=lambda epoch, logs: f"{epoch} {logs['loss']}"),
    ]


def ours(data: tuple[torch.Tensor, ...], epochs: int, *, callbacks: bool, saving: bool = False, auto: bool = False) -> float:
    x, y, x_val, y_val = data
    net = network()
    optimizer = "adam" if auto else torch.optim.Adam(net.parameters())
    model = jalon.Model(net).compile(optimizer, loss=nn.CrossEntropyLoss(), metrics=["accuracy"])
    with tempfile.TemporaryDirectory() as folder:
        told = seven(Path(folder), saving=saving) if callbacks else None
        began = time.perf_counter()
        model.fit(
            x, y, batch_size=BATCH, epochs=epochs, validation_data=(x_val, y_val), callbacks=told, verbose=1 if callbacks else 0
        )
        return time.perf_counter() - began


@contextmanager
def terminal():
    """Let standard output be a real terminal, read by another process."""
    master, slave = os.openpty()
    reader = subprocess.Popen(["cat"], stdin=master, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    kept = sys.stdout
    with open(slave, "w") as sys.stdout:
        try:
            yield kept
        finally:
            sys.stdout = kept
            os.close(master)
            reader.kill()
            reader.wait()


def interval(values: list[float]) -> tuple[float, float]:
    """Return the 95 % interval of the median by order statistics."""
    ordered, n = sorted(values), len(values)
    reach = int(0.98 * n**0.5)
    return ordered[max(0, n // 2 - reach)], ordered[min(n - 1, n // 2 + reach)]


def compare(name: str, floor: Callable[[], float], subject: Callable[[], float], pairs: int, epochs: int, goal: float) -> None:
    with terminal() as out:
        floor(), subject()
        before, ratios, floors = floor(), [], []
        for _ in range(pairs):
            here = subject()
            after = floor()
            ratios.append(2 * here / (before + after))
            floors.append(after)
            before = after
        low, high = interval(ratios)
        epoch = statistics.median(floors) / epochs * 1000
        print(
            f"{name:<52} {statistics.median(ratios):6.3f}  [{low:.3f}, {high:.3f}]  {goal:5.2f}  {epoch:8.2f} ms",
            file=out,
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--only", choices=["short", "long"])
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'ratio to the bare loop':<52} {'median':>6}  {'95 % interval':<14}  {'goal':>5}  {'floor, an epoch':>11}")
    for length, repeats, epochs, no_save, each_save, picked in (
        ("short", 1, 20, 1.05, 1.15, 0.95),
        ("long", 8, 4, 1.05, 1.05, 0.85),
    ):
        if given.only not in (None, length):
            continue
        data = digits(repeats)
        floor = lambda data=data, epochs=epochs: bare(data, epochs)  # noqa: E731
        for name, goal, how in (
            ("no callbacks", 1.02, {"callbacks": False}),
            ("seven, no file saved", no_save, {"callbacks": True}),
            ("seven, each epoch saves", each_save, {"callbacks": True, "saving": True}),
            ('seven, each epoch saves, optimizer="adam"', picked, {"callbacks": True, "saving": True, "auto": True}),
        ):
            subject = lambda data=data, epochs=epochs, how=how: ours(data, epochs, **how)  # noqa: E731
            compare(f"{length}: {name}", floor, subject, given.pairs, epochs, goal)


if __name__ == "__main__":
    main()
