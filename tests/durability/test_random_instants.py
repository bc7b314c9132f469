"""R2: killed at random instants, and again while it recovers, a training ends as if nothing had happened."""

import json
import random
import subprocess
import time
from dataclasses import asdict

import pytest
from harness import COMMAND, environment
from kills import KILLED, PLANS, RESTING, fault_after, fault_of, instants


@pytest.fixture
def seed():
    """Return a seed and print it: what it makes can be made again by writing it here."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"\nseed {seed}")
    return seed


def duration(lab, plan):
    """Return how long a training takes on this disk."""
    began = time.monotonic()
    with lab.folder() as root:
        lab.run(root, plan)
    return time.monotonic() - began


def end_of(lab, root, plan, kill_after=None):
    """Run a program of its own, kill it after some seconds, and return its exit code and how long it took."""
    began = time.monotonic()
    request = json.dumps({"root": str(root), "plan": asdict(plan)})
    process = subprocess.Popen([*COMMAND, request], env=environment(lab.shim))
    try:
        process.wait(kill_after)
    except subprocess.TimeoutExpired:
        process.kill()
    return process.wait(), time.monotonic() - began


@pytest.mark.slow
def test_random_instants(disk_lab, seed):
    """Killed at one of 200 random instants, on a disk, it goes on to the same end."""
    chains = [
        (plan, seconds)
        for number, plan in enumerate((*PLANS[:3], PLANS[-1], RESTING))
        for seconds in instants(seed + number, 40, 1, duration(disk_lab, plan))
    ]

    told = disk_lab.on_all_cores(lambda task: fault_after(disk_lab, *task), chains)

    assert [None] * 200 == told


@pytest.mark.slow
def test_chains(disk_lab, seed):
    """Killed twenty times in a row, mostly while it recovers, it goes on to the same end."""
    plan = PLANS[0]
    chains = instants(seed, 10, 20, duration(disk_lab, plan) / 2)

    told = disk_lab.on_all_cores(lambda seconds: fault_after(disk_lab, plan, seconds), chains)

    assert [None] * 10 == told


@pytest.mark.slow
def test_fresh_processes(disk_lab, seed):
    """Killed at random instants, imports included, a program that is started again goes on to the same end."""
    plan, draw = PLANS[0], random.Random(seed)
    with disk_lab.folder() as other:
        longest = sum(end_of(disk_lab, other, plan)[1:])
    with disk_lab.folder() as root:
        ends = [end_of(disk_lab, root, plan, draw.uniform(longest / 2, longest))[0] for _ in range(4)]
        resumed = disk_lab.run(root, plan, look=True)

    assert set(ends) <= {0, KILLED}
    assert fault_of(disk_lab, plan, resumed) is None
