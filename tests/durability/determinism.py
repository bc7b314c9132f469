"""A process that forks itself for each training whose end is compared bit for bit, and has some of them killed.

Reads the name of a way to read the data on a line, and answers with the cases in which a kill made a difference.
"""

from __future__ import annotations

import gc
import itertools
import json
import os
import random
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import memory_folder
from scenario import digest
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler, TensorDataset, get_worker_info

import jalon
from jalon.callbacks import BackupAndRestore, Callback
from jalon.core.run import Run
from jalon.engines.torch.demo import digits
from jalon.store.snapshot import Snapshots

BATCH, BATCHES, EPOCHS = 16, 4, 3
ROWS = BATCH * BATCHES - 5


# ---- how the data is read ----------------------------------------------------------------------------------------------------


@cache
def data() -> tuple[torch.Tensor, torch.Tensor]:
    """Return the rows of both, to train on and to validate on."""
    all_of_them = digits(seed=0)
    return torch.as_tensor(all_of_them.x_train[:ROWS]), torch.as_tensor(all_of_them.y_train[:ROWS])


class Noisy(Dataset[Any]):
    """Adds random numbers to each row as it is read."""

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, row: int) -> tuple[torch.Tensor, torch.Tensor]:
        x, y = data()
        return x[row] + 0.1 * torch.rand(x[row].shape), y[row]


class Stream(IterableDataset[Any]):
    """Yields one row after another, each worker its share, with random numbers added."""

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        for row in range(first, ROWS, step):
            yield Noisy()[row]


class Own(Sampler[int]):
    """Draws its order from a generator of its own."""

    def __init__(self) -> None:
        self.draw = np.random.default_rng(3)

    def __len__(self) -> int:
        return ROWS

    def __iter__(self) -> Iterator[int]:
        return iter(self.draw.permutation(ROWS).tolist())


def endless() -> Iterator[Any]:
    """Yield batches, each pass in an order of its own."""
    (x, y), draw = data(), np.random.default_rng(4)
    while True:
        order = draw.permutation(ROWS)
        yield from ((x[rows], y[rows]) for rows in np.split(order, range(BATCH, ROWS, BATCH)))


READ_BY: dict[str, Callable[[], dict[str, Any]]] = {
    "arrays": lambda: {"x": data()[0], "y": data()[1], "batch_size": BATCH},
    "loader": lambda: {"x": DataLoader(TensorDataset(*data()), BATCH, shuffle=True)},
    "loader, 2 workers": lambda: {"x": DataLoader(Noisy(), BATCH, shuffle=True, num_workers=2)},
    "random rows": lambda: {"x": DataLoader(Noisy(), BATCH, shuffle=True, generator=torch.Generator().manual_seed(5))},
    "own sampler": lambda: {"x": DataLoader(TensorDataset(*data()), BATCH, sampler=Own())},
    "iterable": lambda: {"x": DataLoader(Stream(), BATCH)},
    "iterable, 2 workers": lambda: {"x": DataLoader(Stream(), BATCH, num_workers=2)},
    "generator": lambda: {"x": endless(), "steps_per_epoch": BATCHES},
}

ITERATED: dict[str, Callable[[], tuple[Any, int | None]]] = {
    "by hand, list": lambda: (list(islice(endless(), BATCHES)), None),
    "by hand, loader": lambda: (DataLoader(Noisy(), BATCH, shuffle=True), None),
    "by hand, generator": lambda: (endless(), BATCHES),
}
"""What a loop written by hand iterates over, and how many batches of it in an epoch."""


# ---- the training and its kills -----------------------------------------------------------------------------------------------


class Kill(Callback):
    """Kills the process in a hook, at its epoch and batch."""

    order = sys.maxsize - 1  # after every other callback, before the backup
    lazy_logs = True

    def __init__(self, *at: Any) -> None:
        self.at = at

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._at("on_epoch_begin", epoch)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._at("on_train_batch_end", self.run.epoch, batch)

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        self._at("on_test_batch_end", self.run.epoch, batch)

    def _at(self, *now: Any) -> None:
        if now == self.at:
            kill()


def kill(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def in_the_third_save() -> Kill:
    """Kill the process when the files of its third backup are written, before that backup exists."""
    commit, numbers = Snapshots.commit, itertools.count(1)
    Snapshots.commit = lambda self, *args, **named: (kill if next(numbers) == 3 else commit)(self, *args, **named)  # type: ignore[method-assign]
    return Kill()


KILLS: dict[str, Callable[[], Kill]] = {
    "first batch": partial(Kill, "on_train_batch_end", 0, 0),
    "middle": partial(Kill, "on_train_batch_end", 1, 1),
    "last batch": partial(Kill, "on_train_batch_end", 1, BATCHES - 1),
    "validation": partial(Kill, "on_test_batch_end", 1, 0),
    "in a save": in_the_third_save,
    "between epochs": partial(Kill, "on_epoch_begin", 2),
}
BACKUPS = (1, 3, "epoch")


def train(read_by: str, seed: int, *callbacks: Callback) -> dict[str, str]:
    """Train, and return a digest of each thing that is left."""
    torch.manual_seed(seed), np.random.seed(seed), random.seed(seed)
    net = nn.Sequential(nn.Linear(64, 12), nn.ReLU(), nn.Dropout(0.3), nn.Linear(12, 10))
    return (by_hand if read_by in ITERATED else by_fit)(net, read_by, list(callbacks))


def by_fit(net: nn.Module, read_by: str, callbacks: list[Callback]) -> dict[str, str]:
    model = jalon.Model(net).compile("adam", loss="cross_entropy", metrics=["accuracy"])
    validation = DataLoader(Noisy(), 32)
    model.fit(**READ_BY[read_by](), epochs=EPOCHS, validation_data=validation, callbacks=callbacks, verbose=0)
    return digests(net, model.optimizer_state(), model._run)


def by_hand(net: nn.Module, read_by: str, callbacks: list[Callback]) -> dict[str, str]:
    optimizer, (data, steps) = torch.optim.Adam(net.parameters()), ITERATED[read_by]()
    loop = jalon.Loop(callbacks, model=net, optimizer=optimizer, epochs=EPOCHS, verbose=0)
    for _ in loop:
        net.train()
        for x, y in loop.batches(data, steps):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
            loop.log(loss=loss)
        with loop.validation():
            for x, y in loop.batches(DataLoader(Noisy(), 32)):
                loop.log(loss=nn.functional.cross_entropy(net(x), y))
    return digests(net, optimizer.state_dict(), loop.run)


def digests(net: nn.Module, optimizer: Any, run: Run) -> dict[str, str]:
    return {
        **{f"weight {name}": digest(value) for name, value in net.state_dict().items()},
        "optimizer": digest(optimizer),
        "random numbers": digest([torch.get_rng_state(), random.getstate(), np.random.get_state()]),
        "history": digest(run.history),
        "steps": str(run.step),
    }


def in_child(work: Callable[[], dict[str, str]]) -> dict[str, str] | int:
    """Return what a child of this process comes to, or how it ended."""
    ear, mouth = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(mouth, json.dumps(work()).encode())
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(mouth)
    with open(ear, "rb") as file:
        told = file.read()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return json.loads(told) if status == 0 else status


def differences(read_by: str, seed: int, turn: int, place: Path) -> Iterator[list[Any]]:
    """Yield for each kill how it went, and what is not what it is without a kill.

    Args:
        read_by: How the data is read.
        seed: Of the training.
        turn: Which rhythm of backups the first kill has; the next has the next.
        place: Where the backups are.
    """
    expected = in_child(lambda: train(read_by, seed))
    for number, name in enumerate(KILLS, start=turn):
        save_freq = BACKUPS[number % len(BACKUPS)]
        backup = partial(BackupAndRestore, place / name, save_freq, delete_checkpoint=False)
        status = in_child(lambda: train(read_by, seed, KILLS[name](), backup()))  # noqa: B023
        actual = in_child(lambda: train(read_by, seed + 1, backup()))  # noqa: B023  # as of a program that seeds nothing
        if status != -signal.SIGKILL or not isinstance(actual, dict) or not isinstance(expected, dict):
            yield [seed, name, save_freq, f"{status}, {actual}"]
        else:
            yield [seed, name, save_freq, [one for one in expected if actual[one] != expected[one]]]


def main(seed: int) -> None:
    """Answer each line with what was found for that way of reading.

    Args:
        seed: Of the trainings; decides how often what is backed up, too.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a training prints is no answer
    torch.set_num_threads(1)
    BackupAndRestore.rest_seconds = 0.0
    train("arrays", 0), train("by hand, loader", 0)  # so that a child imports nothing
    gc.collect()
    gc.freeze()  # a child that collects garbage would copy all of it
    for turn, line in enumerate(sys.stdin, start=seed):
        with tempfile.TemporaryDirectory(dir=memory_folder()) as place:
            found = list(differences(line.strip(), seed, turn, Path(place)))
        answers.write(json.dumps(found) + "\n")
        answers.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
