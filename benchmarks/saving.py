"""Time what a save of 200 MB holds training up, and how long it takes until the file is on the disk.

    .venv/bin/python benchmarks/saving.py [--rounds 25] [--folder .]

The model has 64 MiB of weights and Adam's state, 192 MiB in 128 tensors. Each side is run once beforehand; then the sides take
turns, and the figures are medians. What they are measured against:

- copying the same tensors, one after another, into memory that was used before,
- writing as many bytes from memory with ``os.write`` over an old file, and ``fsync``,
- ``safetensors.torch.save_file`` of the same tensors over an old file, and ``fsync``.

A virtual disk is at times ten times as slow as at others, so that a median takes many rounds. The last lines are for a small
model, a network of 64-64-10: what a save holds training up, and what the other thread takes where syncing costs nothing.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

import jalon
from jalon.engines.torch import saving
from jalon.engines.torch.formats import lay_out

ABOUT = {"epoch": 3, "monitor": "val_loss", "value": 0.4823}
IN_MEMORY = Path("/dev/shm")


def trained(*layers: nn.Module, features: int) -> jalon.Model:
    """Return a model whose optimizer has made a step, so that there is all its state."""
    model = jalon.Model(nn.Sequential(*layers)).compile("adam", loss="cross_entropy")
    model.fit(torch.randn(8, features), torch.zeros(8, dtype=torch.int64), verbose=0)
    return model


class Sides:
    """Is what is compared: each method does its part once and returns how many seconds it took."""

    def __init__(self, folder: Path) -> None:
        self.model = trained(*(nn.Linear(1024, 1024) for _ in range(16)), features=1024)
        self.path = folder / "net.safetensors"
        self.folder = folder
        _, self.tensors = lay_out(saving.content(self.model, weights_only=False, about={}))
        memory = torch.zeros(sum(value.nbytes for value in self.tensors.values()), dtype=torch.uint8)
        pieces = memory.split([value.nbytes for value in self.tensors.values()])
        into = zip(pieces, self.tensors.values(), strict=True)
        self.copies = [piece.view(value.dtype).view(value.shape) for piece, value in into]
        self.bytes = memory.numpy().data

    def copy(self) -> float:
        begun = time.perf_counter()
        with torch.no_grad():
            for into, value in zip(self.copies, self.tensors.values(), strict=True):
                into.copy_(value)
        return time.perf_counter() - begun

    def freeze(self) -> float:
        """What training waits for; what follows is the other thread's."""
        begun = time.perf_counter()
        write = saving.freeze(self.model, self.path, weights_only=False, about=ABOUT)
        taken = time.perf_counter() - begun
        write()
        return taken

    def write(self) -> float:
        """What the other thread does until the file is on the disk."""
        write = saving.freeze(self.model, self.path, weights_only=False, about=ABOUT)
        return seconds(write)

    def disk(self) -> float:
        return seconds(self._write_plainly)

    def save(self) -> float:
        return seconds(lambda: self.model.save(self.folder / "saved.safetensors"))

    def save_file(self) -> float:
        return seconds(self._save_file)

    def _write_plainly(self) -> None:
        descriptor = os.open(self.folder / "plain", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        written = 0
        while written < len(self.bytes):
            written += os.write(descriptor, self.bytes[written:])
        os.fsync(descriptor)
        os.close(descriptor)

    def _save_file(self) -> None:
        path = self.folder / "theirs.safetensors"
        safetensors.torch.save_file(self.tensors, path)
        descriptor = os.open(path, os.O_RDWR)
        os.fsync(descriptor)
        os.close(descriptor)


def seconds(side: Callable[[], object]) -> float:
    begun = time.perf_counter()
    side()
    return time.perf_counter() - begun


def medians(sides: Sides, rounds: int) -> dict[str, float]:
    names = ("copy", "freeze", "disk", "write", "save_file", "save")
    taken: dict[str, list[float]] = {name: [] for name in names}
    for counted in range(-1, rounds):
        for at in range(len(names)):
            name = names[(at + counted) % len(names)]  # what one leaves in the caches is not always the same one's
            one = getattr(sides, name)()
            if counted >= 0:
                taken[name].append(one)
    return {name: statistics.median(values) for name, values in taken.items()}


def small(rounds: int) -> tuple[float, float]:
    """Return the medians of what a save of a small model takes of training, and of the other thread, in seconds."""
    model = trained(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10), features=64)
    stalls, writes = [], []
    with tempfile.TemporaryDirectory(dir=IN_MEMORY if IN_MEMORY.is_dir() else None) as folder:
        for _ in range(rounds):
            begun = time.perf_counter()
            write = saving.freeze(model, Path(folder, "net.safetensors"), weights_only=False, about=ABOUT)
            stalls.append(time.perf_counter() - begun)
            writes.append(seconds(write))
    return statistics.median(stalls), statistics.median(writes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--folder", type=Path, help="on the disk to measure; defaults to that of temporary files")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        sides = Sides(Path(folder))
        took = medians(sides, arguments.rounds)
    size, count = len(sides.bytes) / 1e6, len(sides.copies)
    print(f"{size:.0f} MB in {count} tensors, {arguments.rounds} rounds, {os.cpu_count()} cores; medians")
    for name, median in took.items():
        print(f"{name:10} {median * 1e3:8.1f} ms")
    print(f"stall / copy into warm memory:        {took['freeze'] / took['copy']:5.2f}  (goal: at most 1.3)")
    print(f"on the disk / one write and fsync:    {took['write'] / took['disk']:5.2f}  (goal: at most 1.3)")
    print(f"speed of save / save_file and fsync:  {took['save_file'] / took['save']:5.2f}  (goal: at least 0.9)")
    stall, write = small(2000)
    print(f"small model: {stall * 1e6:.0f} µs of training (goal: 100), {write * 1e6:.0f} µs in the other thread")


if __name__ == "__main__":
    main()
