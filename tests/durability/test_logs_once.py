"""Every row and every point is there once, after kills and resumes, in each of TensorBoard's readers, attached or not."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from event_readers import READERS, Accumulator, DataServer, FileByFile, LiveReader, Points, PythonReader, why_not

from jalon.callbacks import CSVLogger, TensorBoard
from jalon.core.callback_list import CallbackList
from jalon.core.run import Run
from jalon.store import plain
from jalon.testing import FakeModel, FakeTrainer, ManualClock

BATCHES = 4
STEPS = 6 * BATCHES

by_every_reader = pytest.mark.parametrize("reader", READERS)


class Start:
    """Is one start of a training that is driven by hand, from a backup or from the beginning, until it is killed.

    Time stands still: all starts are within one second.

    Args:
        root: Where its logs go.
        backup: What ``backup`` of an earlier start returned.
        run: The name of the run.
        options: Of its ``TensorBoard``.
    """

    def __init__(self, root: Path, backup: tuple[bytes, int] | None = None, *, run: str = "run", **options: Any) -> None:
        self.board = TensorBoard(root / "logs", **({"update_freq": "batch", "histogram_freq": 2} | options))
        self.callbacks = CallbackList([self.board, CSVLogger(root / "training.log")])
        self.trainer = FakeTrainer()
        self.run = Run(self.trainer, clock=ManualClock(1_700_000_000))
        self.run.id, self.run.resumed = run, backup is not None
        self.callbacks.begin(self.run, FakeModel(self.trainer, self.run), {"epochs": 6, "steps": BATCHES, "verbose": 0})
        self.callbacks.on_train_begin()
        if backup is not None:
            state, step = backup
            for _ in range(step):
                self._step()
            if step % BATCHES:
                self.callbacks.on_epoch_begin(step // BATCHES)
            self.callbacks.load_state_dict(plain.decode(state))

    def _step(self) -> None:
        self.trainer.step()
        self.run.step += 1

    def train(self, until: int = STEPS) -> Start:
        """Train up to a step, with a validation after each epoch. The metric ``rare`` comes in every third epoch alone."""
        while self.run.step < until:
            epoch, batch = divmod(self.run.step, BATCHES)
            if batch == 0:
                self.callbacks.on_epoch_begin(epoch)
            self._step()
            self.callbacks.tell_batch("on_train_batch_end", batch, {"loss": 1 / self.run.step})
            if batch == BATCHES - 1:
                self.callbacks.on_test_end({"loss": 2 / self.run.step})
                rare = {"rare": float(epoch)} if epoch % 3 == 2 else {}
                self.callbacks.on_epoch_end(epoch, {"loss": 1 / self.run.step, "val_loss": 2 / self.run.step, **rare})
        return self

    def backup(self) -> tuple[bytes, int]:
        """Return what a backup would hold at this moment."""
        return plain.encode(self.callbacks.state_dict()), self.run.step

    def kill(self, *, held: bool = False) -> None:
        """End as by a kill: nothing is done any more. What the callbacks hold back is on the disk or, if so said, is lost."""
        for writer in self.board._writers.values():
            if held:
                writer._buffer.clear()
            writer.close()
        self.callbacks.callbacks[1].close()

    def end(self) -> None:
        self.callbacks.on_train_end()


class Attached:
    """Attaches readers to all logs of this module, each when it is first asked."""

    def __init__(self, root: Path, until: ExitStack) -> None:
        self.root = root
        self._until = until
        self._readers: dict[type[LiveReader], LiveReader] = {}
        self._numbers = count()

    def place(self) -> Path:
        """Make a folder of its own for the logs of one training."""
        folder = self.root / str(next(self._numbers))
        folder.mkdir()
        return folder

    def points(self, kind: type[LiveReader], folder: Path) -> Points:
        """Return what an attached reader has of a folder by now."""
        reason = why_not(kind)
        if reason is not None:
            pytest.skip(reason)
        if kind not in self._readers:
            self._readers[kind] = self._until.enter_context(kind(self.root))
        return self._readers[kind].points(str(folder.relative_to(self.root)))

    def anew(self, kind: type[LiveReader], folder: Path) -> Points:
        """Return what a reader has that has not seen a folder before: of a copy, since it is attached."""
        copy = self.root / "copies" / folder.parent.name
        shutil.copytree(folder, copy, dirs_exist_ok=True)
        return self.points(kind, copy)


@pytest.fixture(scope="module")
def attached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attached]:
    with ExitStack() as until:
        yield Attached(tmp_path_factory.mktemp("logs"), until)


@pytest.fixture
def place(attached: Attached) -> Callable[[], Path]:
    """Return a function that makes a folder that the readers are attached to."""
    return attached.place


def whole(place: Callable[[], Path], **options: Any) -> Path:
    """Return where a training has logged that was never interrupted."""
    root = place()
    Start(root, **options).train().end()
    return root


CHAINS = {
    "in an epoch": [(6, 7)],
    "epochs after the backup": [(4, 15)],
    "at the backup": [(8, 8)],
    "before the first batch was backed up": [(0, 3)],
    "again and again": [(4, 15), (6, 9), (6, 6), (9, 11), (14, 23)],
}


@by_every_reader
@pytest.mark.parametrize("chain", CHAINS)
def test_every_point_once(reader, chain, attached, place):
    """However often a training is killed and gone on with, each reader has its points once, also one that was attached."""
    expected, root = whole(place), place()
    backup, start = None, Start(root)
    for backed_up, killed in CHAINS[chain]:
        backup = start.train(backed_up).backup()
        start.train(killed).kill()
        attached.points(reader, root / "logs")
        start = Start(root, backup)
        attached.points(reader, root / "logs")
    start.train().end()

    points = attached.anew(reader, expected / "logs")
    assert {"batch_loss", "epoch_loss", "epoch_rare", "kernel/histogram"} < points["train"].keys()
    assert points == attached.points(reader, root / "logs")
    assert points == attached.anew(reader, root / "logs")
    assert (expected / "training.log").read_bytes() == (root / "training.log").read_bytes()


@pytest.mark.parametrize("reader", [reader for reader in READERS if reader is not DataServer])
def test_what_was_not_to_be_is_gone_at_once(reader, attached, place):
    """An attached reader in Python has, as soon as training goes on, what the backup counts on and nothing else."""
    expected, root = place(), place()
    Start(expected).train(8).end()
    start = Start(root)
    backup = start.train(8).backup()
    start.train(19).kill()
    before = attached.points(reader, root / "logs")
    Start(root, backup).kill()

    points = attached.points(reader, expected / "logs")
    assert len(points["train"]["batch_loss"]) < len(before["train"]["batch_loss"])
    assert points == attached.points(reader, root / "logs")


@by_every_reader
def test_a_torn_record(reader, attached, place):
    """Half a record, or half a row, at the end of a file does no harm to what comes after it."""
    expected, root = whole(place), place()
    start = Start(root)
    backup = start.train(8).backup()
    start.train(11).kill()
    for path in (root / "logs").rglob("*tfevents*"):
        path.write_bytes(path.read_bytes() + path.read_bytes()[-40:-5])
    with open(root / "training.log", "ab") as file:
        file.write(b'2,0.25,"torn')
    attached.points(reader, root / "logs")
    Start(root, backup).train().end()

    points = attached.anew(reader, expected / "logs")
    assert points == attached.points(reader, root / "logs")
    assert points == attached.anew(reader, root / "logs")
    assert (expected / "training.log").read_bytes() == (root / "training.log").read_bytes()


@by_every_reader
def test_lost_with_the_process(reader, attached, place):
    """What was held back in memory when the process was killed is written by the next one."""
    expected, root = whole(place), place()
    start = Start(root)
    backup = start.train(6).backup()
    start.train(7).kill(held=True)
    Start(root, backup).train().end()

    assert attached.anew(reader, expected / "logs") == attached.anew(reader, root / "logs")


@by_every_reader
def test_shorter_the_second_time(reader, attached, place):
    """Where the resumed training ends earlier and writes less, no point of the interrupted one stays."""
    expected, root = place(), place()
    for place_, killed in ((expected, 12), (root, 23)):
        start = Start(place_)
        backup = start.train(12).backup()
        start.train(killed).kill()
        attached.points(reader, place_ / "logs")
        Start(place_, backup, update_freq="epoch").train(16).end()

    points = attached.anew(reader, expected / "logs")
    assert 12 == len(points["train"]["batch_loss"])
    assert points == attached.points(reader, root / "logs")
    assert points == attached.anew(reader, root / "logs")


@by_every_reader
def test_killed_before_the_first_backup(reader, attached, place):
    """A start that was killed before its first backup leaves nothing that the next start, of the same run, has twice."""
    expected, root = whole(place), place()
    Start(root).train(10).kill()
    attached.points(reader, root / "logs")
    Start(root).train().end()

    points = attached.anew(reader, expected / "logs")
    assert points == attached.points(reader, root / "logs")
    assert points == attached.anew(reader, root / "logs")


@by_every_reader
def test_beside_another_training(reader, attached, place):
    """Points of another training in the same folder stay, whatever happens to this one."""
    expected, root = place(), place()
    for place_, killed in ((expected, 8), (root, 19)):
        Start(place_, run="earlier").train(12).end()
        start = Start(place_)
        backup = start.train(8).backup()
        start.train(killed).kill()
        Start(place_, backup).train().end()

    points = attached.anew(reader, expected / "logs")
    assert points == attached.anew(reader, root / "logs")
    assert (STEPS if reader is DataServer else STEPS + 12) == len(points["train"]["batch_loss"])


def test_the_data_server_stays_right_beside_another_training(attached, place):
    """TensorBoard's data server, attached, has the points once beside another training too."""
    root = place()
    Start(root, run="earlier").train(12).end()
    start = Start(root)
    backup = start.train(8).backup()
    start.train(19).kill()
    attached.points(DataServer, root / "logs")
    Start(root, backup).train().end()

    points = attached.points(DataServer, root / "logs")
    assert [float(step) for step in range(1, STEPS + 1)] == [step for step, _ in points["train"]["batch_loss"]]


def test_files_do_not_pile_up(place):
    """A resume without anything to take away goes on with the file there; with something, only heads stay of those before."""
    root = place()
    start = Start(root)
    for step in (8, 12, 16):
        backup = start.train(step).backup()
        start.kill()
        start = Start(root, backup)
    start.train(18).kill()
    Start(root, backup).kill()

    assert {"train": 2, "validation": 1} == {folder.name: len(list(folder.iterdir())) for folder in (root / "logs").iterdir()}


# ---- real trainings, really killed ---------------------------------------------------------------------------------------------

PROGRAM = """
import os, signal, sys
import torch
import jalon
from jalon.callbacks import Callback, CSVLogger, TensorBoard
from jalon.engines.torch.demo import digits

root, last = sys.argv[1], int(sys.argv[2])

class Killer(Callback):
    lazy_logs = True

    def on_train_batch_end(self, batch, logs=None):
        if self.run.step == last:
            os.kill(os.getpid(), signal.SIGKILL)

data = digits(seed=0)
torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Linear(64, 16), torch.nn.ReLU(), torch.nn.Dropout(0.2), torch.nn.Linear(16, 10))
model = jalon.Model(net).compile("adam", loss="cross_entropy", metrics=["accuracy"])
model.fit(
    data.x_train[:256], data.y_train[:256], batch_size=32, epochs=6, verbose=0, seed=1,
    validation_data=(data.x_val[:64], data.y_val[:64]), run_dir=f"{root}/run",
    callbacks=[CSVLogger(f"{root}/training.log"), TensorBoard(f"{root}/logs", update_freq=2, histogram_freq=2), Killer()],
)
"""


def fit(root: Path, *, killed_at: int = 0) -> None:
    """Train on digits in a process of its own; ``killed_at`` is the step at whose end it is killed."""
    child = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(root), str(killed_at)],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )

    assert (-signal.SIGKILL if killed_at else 0) == child.returncode, child.stderr


@pytest.mark.slow
def test_fit_killed_and_started_again(attached, place):
    """``fit``, killed twice and started again by the same command, has logged in the end what it logs uninterrupted."""
    kinds = [kind for kind in (PythonReader, Accumulator, FileByFile, DataServer) if why_not(kind) is None]
    expected, root = place(), place()
    fit(expected)
    for step in (11, 30, 0):
        fit(root, killed_at=step)
        for kind in kinds:
            attached.points(kind, root / "logs")

    for kind in kinds:
        points = attached.anew(kind, expected / "logs")
        assert 6 == len(points["train"]["epoch_loss"]) == len(points["validation"]["evaluation_loss_vs_iterations"])
        assert points == attached.points(kind, root / "logs")
        assert points == attached.anew(kind, root / "logs")
    assert (expected / "training.log").read_bytes() == (root / "training.log").read_bytes()
