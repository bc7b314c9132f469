"""R1: killed at any file call, and started again by the same command, a training ends as if nothing had happened."""

import random
from collections import Counter

import pytest
from kills import PLANS, fault_at, points, points_of_recovery
from shim import Watch

SHARE = 5
"""Of every plan but the first, every fifth point is tried, from a random one on."""
STRIDE = 200
"""Of the calls at which a training is killed for the first time, every so many-th is tried, from a random one on."""

TORN_AND_WHOLE = 0.95
"""The share of points that have to be reached: threads take turns, so that a process has a call more or less than another."""


def bad(told, kind):
    """Return what is wrong, and print how many points were tried."""
    counted = Counter("missed" if fault == "missed" else "bad" if fault else "good" for fault in told)
    print(f"\n{kind}: {len(told):,} points, {counted['bad']} bad, {counted['missed']} not reached")
    assert counted["missed"] <= (1 - TORN_AND_WHOLE) * len(told)
    return [fault for fault in told if fault not in (None, "missed")]


@pytest.mark.slow
@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_training(lab, plan):
    """Killed before each call and within each write of a training, it goes on to the same end, and no file is half."""
    every = list(points(lab.reference(plan)["kinds"]))
    tried = every if plan is PLANS[0] else every[random.SystemRandom().randrange(SHARE) :: SHARE]

    assert [] == bad(lab.on_all_cores(lambda point: fault_at(lab, plan, point), tried), f"training, {plan}")


@pytest.mark.slow
@pytest.mark.parametrize("plan", PLANS[:2], ids=str)
def test_recovery(lab, plan):
    """Killed once, and a second time at each call before the first batch of what goes on, it goes on to the same end."""
    told = []
    for at in range(random.SystemRandom().randrange(1, STRIDE), len(lab.reference(plan)["kinds"]), STRIDE):
        with lab.folder() as left:
            lab.run(left, plan, Watch("kill before", at))
            every = points_of_recovery(lab, plan, left)
            told += lab.on_all_cores(lambda point, left=left: fault_at(lab, plan, point, left), every)

    assert [] == bad(told, f"recovery, {plan}")


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_scenario(lab, plan):
    """The training that is killed improves, has its rate reduced, improves again and is stopped early: it has a state to lose."""
    reference = lab.reference(plan)
    history, (_, _, reason) = reference["result"]["history"], reference["result"]["stop"]
    best = reference["result"]["bests"]["val_loss"][1]

    assert len(set(history["learning_rate"])) > 1
    assert 0 < best < len(history["loss"]) - 1
    assert "no improvement in val_loss for 2 epochs" == reason
    assert [] == reference["warnings"]
    assert [] == reference["disk"]["temporary"]
