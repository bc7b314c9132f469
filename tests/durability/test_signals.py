"""R7: asked to leave by a signal at any instant, a training loses nothing and goes on to the same end."""

from __future__ import annotations

import itertools
import random
import signal
import subprocess
import sys

import pytest
from harness import HERE, ForkServer, Lab, difference, environment
from kills import PLANS, fault_of
from scenario import BATCHES

EXIT_CODES = {signal.SIGTERM: {143}, signal.SIGUSR1: {138}, signal.SIGINT: {-signal.SIGINT, 1}}
"""Python ends itself by SIGINT where nobody catches Ctrl-C; once torch's optimizers are loaded, it ends with 1."""
SIGNALS = [pytest.param(signum, id=signum.name) for signum in EXIT_CODES]
INSTANTS = 200


class SignalServer(ForkServer):
    """Is a process that forks itself for each training that gets a signal.

    Args:
        shim: The watcher of file calls.
    """

    def __init__(self, shim):
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "signalled.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(shim),
        )


@pytest.fixture(scope="module")
def signal_lab(lab):
    """Return what runs trainings in children that get signals, in the same place."""
    servers = [SignalServer(lab.shim) for _ in lab.servers]
    yield Lab(lab.place, servers, lab.shim)
    for server in servers:
        server.close()


@pytest.fixture
def seed():
    """Return a seed and print it: what it makes can be made again by writing it here."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"\nseed {seed}")
    return seed


def what_is_lost(lab, plan, left, resumed, signum):
    """Return what is wrong with a training that was left and with the one that went on, or ``None``."""
    done = "result" in left or left["kept"]["finished"]  # the signal came too late to leave
    if left["status"] not in ({0, -signum, *EXIT_CODES[signum]} if done else EXIT_CODES[signum]):
        return f"it ended with {left['status']}: {left['complaints']}"
    kept = left["kept"]["epoch"] * BATCHES + left["kept"]["batch"]
    if left["steps"] != kept:
        return f"{left['steps']} steps were done, and {kept} are kept"
    if left["kept"]["finished"]:
        return difference(lab.reference(plan), resumed, ignore=("random", "seen"))
    return fault_of(lab, plan, resumed)


def fault_at(lab, signal_lab, plan, signum, **where):
    """Send a signal, let the training go on in another process, and return what is wrong, or ``None``."""
    with lab.folder() as root:
        left = signal_lab.run(root, plan, signal=int(signum), **where)
        fault = what_is_lost(lab, plan, left, lab.run(root, plan, look=True), signum)
    return fault and f"{plan} {where}: {fault}"


@pytest.mark.slow
def test_random_instants(lab, signal_lab, seed):
    """At 200 random instants: the exit code is the signal's, no step is lost, and the end is that of one never interrupted."""
    draw = random.Random(seed)
    longest = {}
    for plan in PLANS[:4]:
        with lab.folder() as root:
            longest[plan] = signal_lab.run(root, plan, brief=True)["seconds"]
    ways = itertools.cycle(itertools.product(longest, EXIT_CODES))
    tasks = [(plan, signum, draw.uniform(0, longest[plan])) for plan, signum in itertools.islice(ways, INSTANTS)]

    def fault(task):
        plan, signum, after = task
        return fault_at(lab, signal_lab, plan, signum, after=after, brief=True)

    assert [None] * INSTANTS == lab.on_all_cores(fault, tasks)


PLACES = [
    "on_train_begin",
    "on_epoch_begin",
    "on_train_batch_begin",
    "on_before_optimizer_step",
    "on_train_batch_end",
    "on_test_begin",
    "on_test_batch_begin",
    "on_test_batch_end",
    "on_test_end",
    "on_epoch_end",
    "on_train_end",
    "copying",
    "writing",
    "leaving",
]


@pytest.mark.parametrize("signum", SIGNALS)
def test_every_place(lab, signal_lab, signum):
    """In every hook, validation's too, while a backup is copied and written, and while a first signal is being heeded."""
    tasks = [(plan, place) for plan in PLANS[:2] for place in PLACES]

    def fault(task):
        plan, place = task
        return fault_at(lab, signal_lab, plan, signum, at=place, brief=True)

    assert [None] * len(tasks) == lab.on_all_cores(fault, tasks)


@pytest.mark.parametrize("signum", SIGNALS)
def test_the_end_of_the_program(lab, signal_lab, signum):
    """Left to itself the interpreter ends with the code too, and nothing is lost by its end."""
    assert fault_at(lab, signal_lab, PLANS[0], signum, at="on_test_batch_begin") is None


def test_again_and_again(lab, signal_lab, seed):
    """Left at random instants again and again, a training does each of its steps once and comes to the same end."""
    plan, draw = PLANS[1], random.Random(seed)

    def fault(_):
        done = 0
        with lab.folder() as root:
            for _ in range(30):
                left = signal_lab.run(root, plan, signal=int(signal.SIGTERM), after=draw.uniform(0, 0.03), brief=True)
                done += left["steps"]
                if "result" in left or left["kept"]["finished"]:
                    break
                kept = left["kept"]["epoch"] * BATCHES + left["kept"]["batch"]
                if (143, done) != (left["status"], kept):
                    return f"it ended with {left['status']} after {done} steps, and {kept} are kept: {left['complaints']}"
            resumed = lab.run(root, plan, look=True)
        return difference(lab.reference(plan), resumed, ignore=("random", "seen"))

    assert [None] * 10 == lab.on_all_cores(fault, range(10))


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_second_signal_ends_it_at_once(lab, signal_lab, signum):
    """It is not left but ended, as without jalon: in the middle of a batch. What was backed up before is gone on from."""
    plan = PLANS[2]  # what is written is waited for
    with lab.folder() as root:
        ended = signal_lab.run(root, plan, signal=int(signum), at="on_before_optimizer_step", twice=True, brief=True)
        fault = fault_of(lab, plan, lab.run(root, plan, look=True))

    assert (-signum, BATCHES + 0) == (ended["status"], ended["steps"])
    assert (0, 3) == (ended["kept"]["epoch"], ended["kept"]["batch"])
    assert fault is None


@pytest.mark.parametrize("signum", SIGNALS)
def test_worker_processes_outlast_it(lab, signal_lab, signum):
    """Sent to the whole group, a signal leaves the workers the time to finish the batch; the end is the same."""
    with lab.folder() as root:
        expected = signal_lab.run(root, PLANS[0], workers=True)
    with lab.folder() as root:
        left = signal_lab.run(root, PLANS[0], workers=True, signal=int(signum), at="on_train_batch_begin", to="group")
        resumed = signal_lab.run(root, PLANS[0], workers=True)

    assert left["status"] in EXIT_CODES[signum], left["complaints"]
    assert BATCHES + 1 == left["steps"]
    assert "DataLoader worker" not in left["complaints"]
    assert (1, 1) == (left["kept"]["epoch"], left["kept"]["batch"])
    assert expected["result"] == resumed["result"]
