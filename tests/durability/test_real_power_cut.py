"""R3: a power cut on real file systems loses nothing that was said to be saved. ``benchmarks/power_cut.py`` makes hundreds."""

import random

import pytest
from kills import PLANS
from real_cuts import SIZES, bench, instants, longest, lost_in_a_cut, why_not

PLAN = PLANS[0]
CUTS = 5


@pytest.mark.slow
@pytest.mark.parametrize("kind", SIZES)
def test_power_cut(lab, kind):
    """Whenever power is cut, the snapshot and the best file that were promised are there, and training goes on to the same end;
    where nothing is synced, they are not."""
    reason = why_not(kind)
    if reason is not None:
        pytest.skip(reason)
    seed = random.SystemRandom().randrange(2**32)
    print(f"\nseed {seed}")
    with bench(kind) as made:
        last = longest(lab, made, PLAN)
        lost = [lost_in_a_cut(lab, made, PLAN, after) for after in instants(seed, CUTS, last)]

        assert [None] * CUTS == lost
        assert lost_in_a_cut(lab, made, PLAN, last / 2, unsynced="all") is not None
