"""How long a grid of 10,000 policies over a log of 1,000 epochs takes, beside as many replays as fit the same time.

python benchmarks/replay_grid.py [--policies 10000] [--epochs 1000]
"""

from __future__ import annotations

import argparse
import time

import numpy as np

import jalon
from jalon.callbacks import EarlyStopping, ModelCheckpoint, ReduceLROnPlateau


def curve(epochs: int, seed: int = 0) -> list[dict[str, float]]:
    """Return a noisy curve that falls, and rises again in the end."""
    rng = np.random.default_rng(seed)
    x = np.linspace(0, 1, epochs)
    values = np.exp(-6 * x) + 0.3 * x**2 + rng.normal(0, 0.01, epochs)
    return [{"loss": float(value) / 2, "val_loss": float(value)} for value in values]


def measured(action) -> float:
    """Return the seconds that an action takes."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policies", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=1_000)
    asked = parser.parse_args()
    rows = curve(asked.epochs)
    stopping = {
        "patience": list(range(1, 251)),
        "min_delta": [0.0, 1e-3, 3e-3, 0.01],
        "start_from_epoch": list(range(0, 100, 10)),
    }
    families = {
        "stopping": {EarlyStopping: stopping},
        "stopping, saving and rates": {
            EarlyStopping: stopping,
            ModelCheckpoint: {"filepath": "best.pt", "save_best_only": True},
            ReduceLROnPlateau: {"patience": list(range(2, 40)), "factor": [0.1, 0.2, 0.5]},
        },
    }
    for name, policies in families.items():
        seconds = measured(lambda policies=policies: jalon.replay_grid(rows, policies, sample=asked.policies))
        print(f"{name}: {asked.policies:,} policies x {asked.epochs:,} epochs in {seconds:.2f} s")
    callbacks = [EarlyStopping(patience=asked.epochs), ModelCheckpoint("best.pt", save_best_only=True)]
    one = measured(lambda: jalon.replay(rows, callbacks))
    print(f"one replay of {asked.epochs:,} epochs: {one * 1000:.0f} ms, {asked.policies:,} of them {one * asked.policies:.0f} s")


if __name__ == "__main__":
    main()
