"""Damages files, snapshots and runs, reads them, and counts what came of it.

    python read_damaged.py KIND NUMBER SEED

``KIND`` is the suffix of a checkpoint, ``plain``, ``snapshot`` or ``resume``. Prints, as JSON, how many mutants came to each
outcome, and of the last two which they were:

- ``refused``: a ``CheckpointError`` that names what is damaged;
- ``fell back``: the damage of the newest snapshot is named, and the one before is what is read or gone on from;
- ``harmless``: what is read is exactly what was saved, then or by the save before;
- ``silent``: anything else;
- ``crashed``: reading ended the process, or took longer than 20 seconds.

Mutants are read by forked children, since a crash ends the one that reads.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import h5py  # noqa: F401  # before the children are forked, so that they need not import it
import torch
from damaged_files import SUFFIXES, files, plain_data
from damaged_runs import resumes
from damaged_snapshots import snapshots

BATCH = 200
SECONDS = 20
OUTCOMES = ("refused", "fell back", "harmless", "silent", "crashed")

Case = tuple[str, Callable[[], str]]
"""What the damage is called, and what does it, reads and says the outcome."""

CASES = dict.fromkeys(SUFFIXES, files) | {"plain": plain_data, "snapshot": snapshots, "resume": resumes}


def main(kind: str, number: int, seed: int) -> None:
    """Print what came of so many mutants.

    Args:
        kind: What is damaged.
        number: How many mutants.
        seed: Decides what they are.
    """
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # torch warns of what it finds in a damaged file before it refuses it
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        cases = CASES[kind](kind, Path(folder), random.Random(f"{kind} {seed}"))
        counts: Counter[str] = Counter(dict.fromkeys(OUTCOMES, 0))
        bad = []
        for place, (name, outcome) in enumerate(_outcomes(islice(cases, number))):
            counts[outcome] += 1
            if outcome in ("silent", "crashed"):
                bad.append([place, name, outcome])
    print(json.dumps({"kind": kind, "seed": seed, "counts": counts, "bad": bad[:20]}))


def _outcomes(cases: Iterator[Case]) -> Iterator[tuple[str, str]]:
    while batch := list(islice(cases, BATCH)):
        outcomes = _by_a_child(batch)
        if outcomes is None:
            outcomes = [one for case in batch for one in _by_a_child([case]) or ["crashed"]]
        yield from zip((name for name, _ in batch), outcomes, strict=True)


def _by_a_child(batch: Sequence[Case]) -> list[str] | None:
    """Return the outcomes as a forked child sees them; ``None`` where it did not come to the end."""
    receiving, sending = os.pipe()
    child = os.fork()
    if not child:
        with open(sending, "w") as answer:
            json.dump([_in_time(read) for _, read in batch], answer)
        os._exit(0)
    os.close(sending)
    with open(receiving) as answer:
        text = answer.read()
    return json.loads(text) if os.waitpid(child, 0)[1] == 0 else None


def _in_time(read: Callable[[], str]) -> str:
    signal.alarm(SECONDS)
    return read()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
