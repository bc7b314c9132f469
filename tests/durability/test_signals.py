"""R7: asked to leave by a signal at any instant, a training loses nothing and goes on to the same end."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from dataclasses import asdict

import pytest
from harness import HERE, ForkServer, Lab, difference, environment
from kills import PLANS, fault_of
from scenario import BATCHES, Plan

EXIT_CODES = {signal.SIGTERM: 143, signal.SIGUSR1: 138, signal.SIGINT: -signal.SIGINT}
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
    done = "result" in left
    if left["status"] not in ({0, -signum, EXIT_CODES[signum]} if done else {EXIT_CODES[signum]}):
        return f"it ended with {left['status']}: {left['complaints']}"
    epoch, batch = left["kept"]
    if left["steps"] != epoch * BATCHES + batch:
        return f"{left['steps']} steps were done, and {epoch} epochs and {batch} batches are kept"
    return fault_of(lab, plan, resumed)
