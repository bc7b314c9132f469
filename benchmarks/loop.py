"""Time ``jalon.Loop`` against the same loop without jalon, in one run.

    .venv/bin/python benchmarks/loop.py [--pairs 15] [--only short]

The data and the network are those of ``benchmarks/fit.py``. Both loops take the same slices, steps and measures; the floor adds
loss and accuracy up as tensors and reads them once an epoch, the other one logs them and leaves the rest to the seven callbacks
of the tutorial. Each block of ours stands between two blocks of the floor; a pair's ratio is ours against their mean. Printed:
the median of the ratios and its 95 % interval (order statistics).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from fit import BATCH, compare, digits, network, seven
from torch import nn

import jalon

Data = tuple[torch.Tensor, ...]


def slices(x: torch.Tensor, y: torch.Tensor, *, shuffle: bool) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    if shuffle:
        order = torch.randperm(len(x))
        x, y = x[order], y[order]
    for start in range(0, len(x), BATCH):
        yield x[start : start + BATCH], y[start : start + BATCH]


def without_jalon(data: Data, epochs: int) -> float:
    x, y, x_val, y_val = data
    net = network()
    optimizer, criterion = torch.optim.Adam(net.parameters()), nn.CrossEntropyLoss()
    began = time.perf_counter()
    for _ in range(epochs):
        net.train()
        losses, accuracies = torch.zeros(()), torch.zeros(())
        for xb, yb in slices(x, y, shuffle=True):
            optimizer.zero_grad()
            output = net(xb)
            loss = criterion(output, yb)
            loss.backward()
            optimizer.step()
            losses += loss.detach() * len(xb)
            accuracies += (output.argmax(1) == yb).float().mean() * len(xb)
        measured = [losses.item() / len(x), accuracies.item() / len(x)]
        net.eval()
        losses, accuracies = torch.zeros(()), torch.zeros(())
        with torch.no_grad():
            for xb, yb in slices(x_val, y_val, shuffle=False):
                output = net(xb)
                losses += criterion(output, yb) * len(xb)
                accuracies += (output.argmax(1) == yb).float().mean() * len(xb)
        measured += [losses.item() / len(x_val), accuracies.item() / len(x_val)]
    return time.perf_counter() - began


def with_jalon(data: Data, epochs: int, *, callbacks: bool, saving: bool = False) -> float:
    x, y, x_val, y_val = data
    net = network()
    optimizer, criterion = torch.optim.Adam(net.parameters()), nn.CrossEntropyLoss()
    with tempfile.TemporaryDirectory() as folder:
        told = seven(Path(folder), saving=saving) if callbacks else None
        began = time.perf_counter()
        loop = jalon.Loop(told, model=net, optimizer=optimizer, epochs=epochs, verbose=1 if callbacks else 0)
        for _ in loop:
            net.train()
            for xb, yb in loop.batches(slices(x, y, shuffle=True)):
                optimizer.zero_grad()
                output = net(xb)
                loss = criterion(output, yb)
                loss.backward()
                optimizer.step()
                loop.log(loss=loss, accuracy=(output.argmax(1) == yb).float().mean())
            with loop.validation():
                for xb, yb in loop.batches(slices(x_val, y_val, shuffle=False)):
                    output = net(xb)
                    loop.log(loss=criterion(output, yb), accuracy=(output.argmax(1) == yb).float().mean())
        return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--only", choices=["short", "long"])
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'ratio to the loop without jalon':<52} {'median':>6}  {'95 % interval':<14}  {'goal':>5}  {'floor, an epoch':>11}")
    for length, repeats, epochs in (("short", 1, 20), ("long", 8, 4)):
        if given.only not in (None, length):
            continue
        data = digits(repeats)
        for name, goal, how in (
            ("no callbacks", 1.02, {"callbacks": False}),
            ("seven, no file saved", 1.05, {"callbacks": True}),
            ("seven, each epoch saves", 1.15, {"callbacks": True, "saving": True}),
        ):
            floor = lambda data=data, epochs=epochs: without_jalon(data, epochs)  # noqa: E731
            subject = lambda data=data, epochs=epochs, how=how: with_jalon(data, epochs, **how)  # noqa: E731
            compare(f"{length}: {name}", floor, subject, given.pairs, epochs, goal)


if __name__ == "__main__":
    main()
