"""Damage checkpoints, snapshots and runs a million times, read them, and count those that are silently wrong.

    .venv/bin/python benchmarks/damaged_files.py [--number N] [--seed N]

Files of every format, plain data and pairs of snapshots share the number equally; of whole runs, which are trained to their
end after the damage, there are a two-thousandth. The goal is 0 silent and 0 crashed. A seed that was printed makes the same
damages again. About an hour on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

READER = Path(__file__).parents[1] / "tests" / "durability" / "read_damaged.py"
KINDS = (".safetensors", ".h5", ".pt", ".pt2", "plain", "snapshot")
SHARE = 10_000
"""How many mutants one process reads."""


def tasks(number: int, seed: int) -> Iterator[tuple[str, int, int]]:
    """Yield what each process damages: the kind, how many mutants, and the seed."""
    yield "resume", max(1, number // 2000), seed
    for kind in KINDS:
        left = number // len(KINDS)
        for place in range(0, left, SHARE):
            yield kind, min(SHARE, left - place), seed + place


def read(task: tuple[str, int, int]) -> dict[str, Any]:
    """Damage and read in a process of its own."""
    command = [sys.executable, str(READER), *map(str, task)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    return json.loads(done.stdout)


def main() -> int:
    """Print what came of each kind, and return 1 if a damage was silent or ended a process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    given = parser.parse_args()
    print(f"seed {given.seed}")
    counts: dict[str, Counter[str]] = {}
    bad: list[Any] = []
    say = partial(print, flush=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for found in pool.map(read, tasks(given.number, given.seed)):
            counts.setdefault(found["kind"], Counter()).update(found["counts"])
            bad += [[found["kind"], found["seed"], *one] for one in found["bad"]]
            say(f"{sum(map(Counter.total, counts.values())):>9,} read, {len(bad)} bad", end="\r")
    for kind, outcomes in counts.items():
        say(f"{kind:<13}{outcomes.total():>10,}  {', '.join(f'{name} {number:,}' for name, number in outcomes.items())}")
    say(*bad, sep="\n")
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
