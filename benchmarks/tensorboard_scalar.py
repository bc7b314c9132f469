"""What a TensorBoard scalar costs, all of it: made, framed, buffered, and on its way to the disk.

Usage: python benchmarks/tensorboard_scalar.py [rounds]

Each side writes the same scalars, one tag, rising steps, into a file in a temporary folder, and flushes once per 100.
The sides take turns; the figures are medians over the rounds. The floor is a record framed by hand for this one tag,
into a buffer, with all that can be known beforehand computed once. The peers are run where they are installed.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from crc32c import crc32c

from jalon.sinks.tfevents import EventFileWriter

SCALARS = 2000
FLUSH_EVERY = 100
TAG = "epoch_loss"


def floor(folder: Path) -> None:
    tag = TAG.encode()
    value = b"\x0a" + bytes([len(tag)]) + tag + b"\x15"
    summary = b"\x2a" + bytes([len(value) + 6]) + b"\x0a" + bytes([len(value) + 4]) + value
    u32, u64, number, wall_time = (struct.Struct(code).pack for code in ("<I", "<Q", "<f", "<Bd"))
    heads: dict[int, bytes] = {}
    buffer = bytearray()
    with open(folder / "events.out.tfevents.floor", "wb", buffering=0) as file:
        for step in range(SCALARS):
            rest, varint = step, b""
            while rest > 0x7F:
                varint += u32(rest & 0x7F | 0x80)[:1]
                rest >>= 7
            event = wall_time(9, time.time()) + b"\x10" + varint + u32(rest)[:1] + summary + number(0.5)
            head = heads.get(len(event))
            if head is None:
                length = u64(len(event))
                crc = crc32c(length)
                head = heads[len(event)] = length + u32((((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)
            crc = crc32c(event)
            buffer += head + event + u32((((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)
            if step % FLUSH_EVERY == FLUSH_EVERY - 1:
                file.write(buffer)
                buffer.clear()


def ours(folder: Path) -> None:
    writer = EventFileWriter(folder)
    for step in range(SCALARS):
        writer.scalar(TAG, 0.5, step)
        if step % FLUSH_EVERY == FLUSH_EVERY - 1:
            writer.flush()
    writer.close()


def peer(make: Callable[[str], Any], folder: Path) -> None:
    writer = make(str(folder))
    for step in range(SCALARS):
        writer.add_scalar(TAG, 0.5, step)
        if step % FLUSH_EVERY == FLUSH_EVERY - 1:
            writer.flush()
    writer.close()


def peers() -> dict[str, Callable[[Path], None]]:
    found: dict[str, Callable[[Path], None]] = {}
    for module, name in (("torch.utils.tensorboard", "torch"), ("tensorboardX", "tensorboardX")):
        if importlib.util.find_spec(module.partition(".")[0]) and importlib.util.find_spec("tensorboard"):
            make = importlib.import_module(module).SummaryWriter
            found[f"{name} SummaryWriter"] = partial(peer, make)
            found[f"{name} SummaryWriter, queue of 100,000"] = partial(peer, partial(make, max_queue=100_000))
    return found


def microseconds(side: Callable[[Path], None]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        side(Path(folder))
        return (time.perf_counter() - begun) / SCALARS * 1e6


def main(rounds: int) -> None:
    sides: dict[str, Callable[[Path], None]] = {"hand-framed, buffered (floor)": floor, "jalon": ours, **peers()}
    for side in sides.values():
        microseconds(side)
    measured: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            measured[name].append(microseconds(side))
    medians = {name: statistics.median(values) for name, values in measured.items()}
    print(f"{SCALARS} scalars a round, a flush per {FLUSH_EVERY}, {rounds} interleaved rounds, {os.cpu_count()} cores; medians")
    for name, median in medians.items():
        print(f"{name:46} {median:7.2f} µs a scalar   {median / medians['jalon']:6.2f} × jalon")
    print(f"jalon / floor: {medians['jalon'] / medians['hand-framed, buffered (floor)']:.2f}")
    others = [median for name, median in medians.items() if "SummaryWriter" in name]
    if others:
        print(f"fastest peer / jalon: {min(others) / medians['jalon']:.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
