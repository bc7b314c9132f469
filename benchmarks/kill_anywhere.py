"""Kill trainings everywhere, and count those that do not end as if nothing had happened.

    .venv/bin/python benchmarks/kill_anywhere.py [points random chains errors] [--seed N] [--folder PATH]

points: before every file call and within every write of a training, and again of what goes on, in every format, saved in the
        background and waited for, backed up by batches and by epochs: more than 10,000.
random: 1,000 random instants.
chains: 100 times twenty random instants in a row, most of them while the training recovers.
errors: every file call fails, once and for good, with each of eight errors.

Without a name, the first three. It needs Linux and a C compiler. Half an hour on two cores; the goal is 0 bad. A seed that was
printed makes the same instants again.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "durability"))

from faults import ERRORS, PLAN, Failure, calls, fault_with
from harness import Lab, memory_folder, opened_lab
from kills import ALL_PLANS, PLANS, fault_after, fault_at, instants, points, points_of_recovery
from shim import Watch

Told = Iterator[tuple[str, list[str | None]]]
RECOVERIES = 8
"""From how many places in a training it is killed while it recovers."""


def every_point(lab: Lab, _: int) -> Told:
    for plan in ALL_PLANS:
        kinds = lab.reference(plan)["kinds"]
        yield f"{plan}: training", lab.on_all_cores(partial(fault_at, lab, plan), points(kinds))
        told = []
        for at in range(len(kinds) // RECOVERIES, len(kinds), len(kinds) // RECOVERIES):
            with lab.folder() as left:
                lab.run(left, plan, Watch("kill before", at))
                again = partial(fault_at, lab, plan, left=left)
                told += lab.on_all_cores(again, points_of_recovery(lab, plan, left))
        yield f"{plan}: recovery", told


def random_instants(lab: Lab, seed: int, number: int = 1000, length: int = 1) -> Told:
    for at, plan in enumerate(PLANS):
        longest = duration(lab, plan) / (1 if length == 1 else 2)
        chains = instants(seed + at, number // len(PLANS), length, longest)
        yield f"{plan}: {length} kills", lab.on_all_cores(partial(fault_after, lab, plan), chains)


def duration(lab: Lab, plan: object) -> float:
    """Return how long a training takes here."""
    began = time.monotonic()
    with lab.folder() as root:
        lab.run(root, plan)
    return time.monotonic() - began


def every_error(lab: Lab, _: int) -> Told:
    every = range(1, calls(lab, PLAN) + 1)
    for mode, code in product(("fail once", "fail from"), ERRORS):
        failures = [Failure(mode, at, code) for at in every]
        yield f"{failures[0]} and later", lab.on_all_cores(partial(fault_with, lab, PLAN), failures)


KINDS: dict[str, Callable[[Lab, int], Told]] = {
    "points": every_point,
    "random": random_instants,
    "chains": partial(random_instants, number=100, length=20),
    "errors": every_error,
}


def count(kind: str, told: Told) -> int:
    """Print what came of each part, and return how many were bad."""
    tried = bad = missed = 0
    for what, faults in told:
        wrong = [fault for fault in faults if fault not in (None, "missed")]
        tried, bad, missed = tried + len(faults), bad + len(wrong), missed + faults.count("missed")
        print(f"{len(faults):>6,} {len(wrong):>3} bad   {what}", *wrong[:5], sep="\n         ", flush=True)
    print(f"{kind}: {tried:,} tried, {missed} not reached, {bad} bad (goal: 0)\n", flush=True)
    return bad


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", choices=[[], *KINDS], default=[])
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--folder", default=memory_folder(), help="where trainings write; by default in memory")
    given = parser.parse_args()
    print(f"seed {given.seed}")
    with tempfile.TemporaryDirectory(dir=given.folder) as place, opened_lab(Path(place)) as lab:
        bad = sum(count(kind, KINDS[kind](lab, given.seed)) for kind in given.kinds or ["points", "random", "chains"])
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
