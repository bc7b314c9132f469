"""R4: a power cut takes what was not synced, in any order, torn or as garbage; what was promised stays, and training goes on."""

import random

import pytest
from cuts import cuts, fault_after, record, sample
from kills import PLANS
from scenario import Plan

MOST = 24
"""How many combinations of what is not synced are tried at each cut."""
RESUMED = 120
"""How many of the cuts training is gone on from."""


@pytest.fixture
def draw():
    """Return what draws, and print its seed: what it draws can be drawn again by writing the seed here."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"\nseed {seed}")
    return random.Random(seed)


@pytest.mark.slow
@pytest.mark.parametrize("plan", PLANS[:3], ids=str)
def test_promises(lab, plan, draw):
    """Whatever a power cut takes, the snapshot and the best file that were said to be saved are there, whole, and training ends
    as if nothing had happened."""
    found = list(cuts(*record(lab, plan), draw, MOST))
    faults = [fault for _, fault in found if fault]
    resumed = sample((cut for cut, _ in found), draw, RESUMED)
    print(f"{len(found):,} states of the disk, {len(faults)} bad, {len(resumed)} gone on from")

    assert [] == faults
    assert [] == [told for told in lab.on_all_cores(lambda cut: fault_after(lab, plan, cut), resumed) if told]


@pytest.mark.slow
@pytest.mark.parametrize("unsynced", ["files", "folders"])
def test_without_sync(lab, unsynced, draw):
    """The test can fail: where files, or folders, are not synced, promises are broken."""
    found = cuts(*record(lab, Plan(), unsynced=unsynced), draw, MOST)

    assert any(fault for _, fault in found)
