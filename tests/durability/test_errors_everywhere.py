"""R5: whatever call fails, training goes on to the same end, what was saved is intact, and it is told once, with what to do."""

import errno
import random

import pytest
from faults import ERRORS, PLAN, Failure, calls, fault_with
from shim import Watch

SHARE = 8
"""Each call fails once with every eighth of the errors, so with one of them; which, is drawn at random."""
FIRST = random.SystemRandom().randrange(SHARE)


def faults(lab, failures, left=None):
    """Return what is wrong, and print how many failures were tried."""
    told = lab.on_all_cores(lambda failure: fault_with(lab, PLAN, failure, left), failures)
    bad = [fault for fault in told if fault is not None]
    print(f"\n{len(failures):,} failures, {len(bad)} bad", *bad, sep="\n")
    return bad


def one_each(mode, number):
    """Return a failure at each call, with one error after the other."""
    return [Failure(mode, at, ERRORS[at % len(ERRORS)]) for at in range(1, number + 1)]


@pytest.mark.slow
@pytest.mark.parametrize("code", ERRORS, ids=errno.errorcode.get)
def test_once(lab, code):
    """A call that fails once, any call and with any error, ends no training and spoils nothing; before the first batch it may be
    refused, with the reason."""
    first = 1 + (FIRST + ERRORS.index(code)) % SHARE

    assert [] == faults(lab, [Failure("fail once", at, code) for at in range(first, calls(lab, PLAN) + 1, SHARE)])


@pytest.mark.slow
@pytest.mark.parametrize("turn", [0, 3])
def test_for_good(lab, turn):
    """Where every call fails from some moment on, training ends with the same weights; started again later, all is saved."""
    moments = range(1 + (FIRST + turn) % 4, calls(lab, PLAN) + 1, 4)
    failures = [Failure("fail from", at, ERRORS[(at + turn) % len(ERRORS)]) for at in moments]

    assert [] == faults(lab, failures)


@pytest.mark.slow
def test_while_recovering(lab):
    """A call that fails while a killed training is gone on with costs nothing that was saved."""
    with lab.folder() as left:
        lab.run(left, PLAN, Watch("kill before", len(lab.reference(PLAN)["kinds"]) * 2 // 3))
        number = calls(lab, PLAN, left)

        assert [] == faults(lab, one_each("fail once", number), left)
