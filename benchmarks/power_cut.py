"""Cut the power of trainings on real file systems, and count those that lost what was said to be saved.

    sudo .venv/bin/python benchmarks/power_cut.py [ext4 xfs btrfs] [--cuts 200] [--seed N]

A file system lies in a file on a btrfs; a clone of that file, made in one moment, is what a power cut would have left. It needs
root, loop devices, a C compiler, and mkfs of btrfs and of the file systems. The goal is 0 lost. Then fsync is taken out, and
nearly all must be lost: what the figure is worth.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "durability"))

from harness import Lab, memory_folder, opened_lab
from kills import PLANS
from real_cuts import SIZES, bench, instants, longest, lost_in_a_cut, why_not

PLAN = PLANS[0]


def count(lab: Lab, kind: str, cuts: int, seed: int) -> int:
    """Print how many cuts of one file system lost something, and return how many did although all was synced."""
    with bench(kind) as made:
        last = longest(lab, made, PLAN)
        moments = instants(seed, cuts, last)
        lost = [fault for after in moments if (fault := lost_in_a_cut(lab, made, PLAN, after))]
        control = [last * (1 + part) / 22 for part in range(20)]
        without = [fault for after in control if (fault := lost_in_a_cut(lab, made, PLAN, after, unsynced="all"))]
    print(f"{kind}: {len(lost)} of {cuts} lost something (goal: 0); with fsync taken out {len(without)} of {len(control)}")
    print(*lost[:10], sep="\n", flush=True)
    return len(lost) + (len(without) == 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", default=list(SIZES), help="ext4, xfs, btrfs; by default all")
    parser.add_argument("--cuts", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    given = parser.parse_args()
    print(f"seed {given.seed}")
    for kind in given.kinds:
        reason = why_not(kind)
        if reason is not None:
            sys.exit(f"{kind}: {reason}")
    with tempfile.TemporaryDirectory(dir=memory_folder()) as place, opened_lab(Path(place)) as lab:
        sys.exit(bool(sum(count(lab, kind, given.cuts, given.seed) for kind in given.kinds)))


if __name__ == "__main__":
    main()
