"""The workers of a ``DataLoader`` outlast signals that ask the training to leave, and end when it does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from jalon.core.signals import SIGNALS
from jalon.engines.torch.workers import opened

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows sends no signals")

PROGRAM = """
import os
import signal
import sys

import torch
from torch.utils.data import DataLoader, Dataset
from torch.utils.data._utils import worker as workers_of_torch

from jalon import Run
from jalon.core.signals import SIGNALS, leaving_on_signals
from jalon.engines.torch.workers import opened
from jalon.errors import Preempted
from jalon.testing import FakeTrainer

workers_of_torch.MP_STATUS_CHECK_INTERVAL = 0.1  # how often they look whether their parent lives

class Rows(Dataset):
    def __len__(self):
        return 48

    def __getitem__(self, index):
        for _ in range(100_000):
            pass
        return torch.tensor(index)

def loader(method, kept):
    kept = kept == "kept"
    return DataLoader(Rows(), batch_size=4, num_workers=2, multiprocessing_context=method, persistent_workers=kept)

def train(batches, when):
    run, seen = Run(FakeTrainer()), []
    try:
        with leaving_on_signals(run):
            for number, batch in enumerate(batches()):
                seen += batch.tolist()
                if number == when:
                    for signum in SIGNALS:
                        os.killpg(0, signum)
    except (Preempted, KeyboardInterrupt) as exc:
        print(len(seen), exc is run.left(), flush=True)
    else:
        print(len(seen), flush=True)
"""

SIGNALLED = """
if __name__ == "__main__":
    data = loader(*sys.argv[1:])
    train(lambda: opened(data), when=1)
    train(lambda: opened(data), when=None)
"""

SIGNALLED_AS_THEY_START = """
class Loader(DataLoader):
    def __iter__(self):
        started = super().__iter__()
        for signum in SIGNALS:
            os.killpg(0, signum)
        return started

train(lambda: opened(Loader(Rows(), batch_size=4, num_workers=2)), when=None)
"""

KILLED = """
batches = opened(loader("fork", sys.argv[1]))
next(batches), next(batches)  # one of each worker, which has begun to look after its parent then
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def run_program(tmp_path):
    """Return a function that runs a program as the leader of a group, until nothing of the group is left."""

    def run_program(program, *arguments):
        path = tmp_path / "program.py"
        path.write_text(PROGRAM + program)
        child = subprocess.Popen(
            [sys.executable, path, *arguments],
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        try:
            shown, complaints = child.communicate(timeout=120)  # until everyone who could write has ended
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
            raise
        return child.returncode, shown, complaints

    return run_program


@pytest.mark.parametrize(("method", "kept"), [("fork", "kept"), ("fork", "not kept"), ("spawn", "not kept")])
def test_workers_outlast_signals_and_end_with_the_process(run_program, method, kept):
    """Every batch arrives although the whole group is signalled; when the process ends its workers do, kept ones as well."""
    ended = run_program(SIGNALLED, method, kept)

    assert (0, "48 True\n48\n", "") == ended


def test_workers_outlast_signals_while_they_start(run_program):
    """Every batch arrives although the signals come before the workers are ready for them."""
    ended = run_program(SIGNALLED_AS_THEY_START)

    assert (0, "48 True\n", "") == ended


@pytest.mark.parametrize("kept", ["kept", "not kept"])
def test_workers_end_when_their_parent_is_killed(run_program, kept):
    """Nobody has to clean up after a training that was killed."""
    code, _, complaints = run_program(KILLED, kept)

    assert (-signal.SIGKILL, "") == (code, complaints)


def number_of_worker(numbers, worker):
    numbers[worker] = worker + 1


def test_the_users_own_beginning_of_a_worker_stays():
    """``worker_init_fn`` is called as ever, and is what it was afterwards."""
    numbers = torch.zeros(2).share_memory_()
    begin = partial(number_of_worker, numbers)
    loader = DataLoader(TensorDataset(torch.arange(8)), num_workers=2, worker_init_fn=begin)
    batches = [int(row) for (row,) in opened(loader)]

    assert (list(range(8)), [1, 2]) == (batches, numbers.tolist())
    assert begin is loader.worker_init_fn


class StartsPrograms(Dataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        return os.system("kill -TERM $$")


def test_a_program_that_a_worker_starts_can_be_ended():
    """It gets signals as ever, as a decoder that is given up."""
    ends = [int(end) for end in opened(DataLoader(StartsPrograms(), num_workers=1, batch_size=None))]

    assert [signal.SIGTERM] * 2 == ends


@pytest.mark.parametrize("data", [[1, 2, 3], DataLoader([1, 2, 3], batch_size=None)], ids=["a list", "a loader without workers"])
def test_what_has_no_workers_is_opened_as_it_is(data):
    """Any iterable will do."""
    assert [1, 2, 3] == list(opened(data))


def test_a_loader_that_fails_to_open_is_as_it_was():
    """Neither its function nor the signals are left changed."""

    class Broken(DataLoader):
        def __iter__(self):
            raise RuntimeError("no disk")

    loader = Broken([1, 2, 3], num_workers=1)
    with pytest.raises(RuntimeError, match="no disk"):
        opened(loader)

    assert loader.worker_init_fn is None
    assert set() == signal.pthread_sigmask(signal.SIG_BLOCK, ()) & set(SIGNALS)
