"""A training that is killed, cut and refused in every way, and what is compared of its end.

Real digits, a small network with dropout, the callbacks of the tutorial and a backup every few batches. As set up here the
training improves, gets worse, has its rate reduced, improves again, gets worse and is stopped early, after six epochs.
"""

from __future__ import annotations

import hashlib
import random
import struct
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, chdir, contextmanager
from dataclasses import dataclass
from functools import cache, wraps
from pathlib import Path
from typing import Any, Literal

import numpy as np
import shim
import torch
from crc32c import crc32c
from tensorboard.compat.proto.event_pb2 import Event
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import jalon
from jalon.callbacks import BackupAndRestore, Callback, CSVLogger, EarlyStopping, ModelCheckpoint, ReduceLROnPlateau, TensorBoard
from jalon.core.run import Run
from jalon.engines.torch.demo import digits
from jalon.engines.torch.formats import read_checkpoint
from jalon.errors import CheckpointError
from jalon.store import atomic, writer
from jalon.store.snapshot import Damaged, Snapshots

SEED = 10
EPOCHS = 9
BATCHES = 4
ROWS = 24 * BATCHES


@dataclass(frozen=True, slots=True)
class Plan:
    """Is how the training is set up.

    Args:
        suffix: The format of the best file.
        backup: ``"epoch"``, or a number of batches. With ``run_dir`` it is the epoch.
        saves: In the ``background``, or in the ``foreground``, where each save is waited for.
        by: Whether the backup is a callback or comes with ``run_dir``; or a loop written by hand with the callback.
        epochs: The number of the epoch before which training ends.
        patience: Of the early stop.
        best_only: Whether the best file is that; otherwise it is every epoch's.
        rest: How many seconds pass between two writes of the backup at least.
    """

    suffix: str = ".safetensors"
    backup: Literal["epoch"] | int = 3
    saves: Literal["background", "foreground"] = "background"
    by: Literal["callback", "run_dir", "loop"] = "callback"
    epochs: int = EPOCHS
    patience: int = 2
    best_only: bool = True
    rest: float = 0.0


def best_file(root: Path, plan: Plan) -> Path:
    """Return where the best weights are."""
    return root / "saved" / f"best{plan.suffix}"


def backup_folder(root: Path) -> Path:
    """Return where the snapshots are, by callback and by ``run_dir`` alike."""
    return root / "run" / "backup"


# ---- the training ----------------------------------------------------------------------------------------------------------


class Seen(Callback):
    """Remembers which batches were trained on, as a callback of the user's with a state would."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def on_train_begin(self, logs: Any = None) -> None:
        self.batches = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.batches.append([self.run.epoch, batch])

    def state_dict(self) -> dict[str, Any]:
        return {"batches": [list(pair) for pair in self.batches]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.batches = [list(pair) for pair in state["batches"]]


class Recovered(Callback):
    """Notes how many file calls there were before the first batch."""

    lazy_logs = True

    def __init__(self) -> None:
        self.calls: int | None = None

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self.calls is None:
            self.calls = shim.calls()


@cache
def data() -> tuple[Any, Any, Any, Any]:
    """Return a slice of the digits to train on, and one to validate on."""
    all_of_them = digits(seed=0)
    return all_of_them.x_train[:ROWS], all_of_them.y_train[:ROWS], all_of_them.x_val[:48], all_of_them.y_val[:48]


def make_network() -> tuple[nn.Module, torch.optim.Optimizer]:
    """Return the network with its first weights, and what trains it."""
    torch.manual_seed(SEED)
    net = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 10))
    return net, torch.optim.SGD(net.parameters(), lr=0.5, momentum=0.9)


def make_model() -> jalon.Model:
    """Return the network, compiled."""
    net, optimizer = make_network()
    return jalon.Model(net).compile(optimizer, loss="cross_entropy", metrics=["accuracy"])


def make_callbacks(plan: Plan) -> list[Callback]:
    """Return the callbacks of the tutorial. What they write lies in the working folder, so that it can be moved."""
    root = Path()
    listed: list[Callback] = [
        ModelCheckpoint(best_file(root, plan), save_best_only=plan.best_only),
        ReduceLROnPlateau(factor=0.7, patience=1),
        EarlyStopping(patience=plan.patience, restore_best_weights=True),
        CSVLogger(root / "training.log"),
        TensorBoard(root / "logs", update_freq=2),
    ]
    if plan.by != "run_dir":
        foreground = plan.saves == "foreground"
        listed.append(
            BackupAndRestore(backup_folder(root), save_freq=plan.backup, delete_checkpoint=False, background=not foreground)
        )
    return listed


def train(root: Path, plan: Plan, *others: Callback, seen: Seen | None = None) -> dict[str, Any]:
    """Train to the end, or go on to it, and return what is to be the same however often training was interrupted.

    All but ``"recovery"``: the number of file calls before the first batch, ``None`` where there was none to train on.

    Args:
        root: Where everything is written.
        plan: The training.
        others: Callbacks that come last.
        seen: Remembers the batches; also of a training that is not done.
    """
    recovered = Recovered()
    seen = Seen() if seen is None else seen
    BackupAndRestore.rest_seconds = plan.rest
    with chdir(root), saving(plan.saves):
        callbacks = [*make_callbacks(plan), seen, recovered, *others]
        left = by_hand(plan, callbacks) if plan.by == "loop" else by_fit(plan, callbacks)
    return {"recovery": recovered.calls, **left, "seen": seen.batches}


def by_fit(plan: Plan, callbacks: list[Callback]) -> dict[str, Any]:
    """Train as ``Model.fit`` does, and return what is left in memory."""
    x, y, x_val, y_val = data()
    model = make_model()
    resumes: dict[str, Any] = {"run_dir": "run"} if plan.by == "run_dir" else {}
    model.fit(
        x,
        y,
        batch_size=ROWS // BATCHES,
        epochs=plan.epochs,
        verbose=0,
        callbacks=callbacks,
        validation_data=(x_val, y_val),
        seed=SEED,
        **resumes,
    )
    return result(model)


def by_hand(plan: Plan, callbacks: list[Callback]) -> dict[str, Any]:
    """Train in a loop of one's own, its rows in an order of its own, and return what is left in memory."""
    x, y, x_val, y_val = map(torch.as_tensor, data())
    torch.manual_seed(SEED), np.random.seed(SEED), random.seed(SEED)
    net, optimizer = make_network()
    train = DataLoader(TensorDataset(x, y), ROWS // BATCHES, shuffle=True)
    loop = jalon.Loop(callbacks, model=net, optimizer=optimizer, epochs=plan.epochs, verbose=0)
    for _ in loop:
        net.train()
        for rows, labels in loop.batches(train):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(rows), labels)
            loss.backward()
            optimizer.step()
            loop.log(loss=loss)
        with loop.validation():
            for rows, labels in loop.batches(DataLoader(TensorDataset(x_val, y_val), 24)):
                loop.log(loss=nn.functional.cross_entropy(net(rows), labels))
    return left_behind(net.state_dict(), optimizer.state_dict(), loop.run)


@contextmanager
def saving(how: Literal["background", "foreground"]) -> Iterator[None]:
    """Have saves waited for where they are to be in the foreground."""
    submit = writer.WRITER.submit

    def submit_and_wait(write: Any) -> Any:
        outcome = submit(write)
        outcome.exception()
        return outcome

    if how == "foreground":
        writer.WRITER.submit = submit_and_wait  # type: ignore[method-assign]
    try:
        yield
    finally:
        writer.WRITER.submit = submit  # type: ignore[method-assign]


@contextmanager
def acknowledging() -> Iterator[None]:
    """Put into the log of file calls what has been promised to last, at the moment from which on it is."""
    commit, replace = Snapshots.commit, atomic._replace

    @wraps(commit)
    def told_commit(self: Snapshots, *args: Any, **kwargs: Any) -> Any:
        made = commit(self, *args, **kwargs)
        shim.mark(f"snapshot {made.path}")
        return made

    @wraps(replace)
    def told_replace(temp: Path, target: Path) -> None:
        replace(temp, target)
        shim.mark(f"file {target}")

    with ExitStack() as undo:
        Snapshots.commit, atomic._replace = told_commit, told_replace  # type: ignore[method-assign]
        undo.callback(setattr, Snapshots, "commit", commit)
        undo.callback(setattr, atomic, "_replace", replace)
        yield


# ---- what is compared ------------------------------------------------------------------------------------------------------


def result(model: jalon.Model) -> dict[str, Any]:
    """Return what a training by ``fit`` has left in memory."""
    return left_behind(model.module.state_dict(), model.optimizer_state(), model._run)


def left_behind(weights: Any, optimizer: Any, run: Run) -> dict[str, Any]:
    """Return what a training has left in memory."""
    return {
        "weights": digest(weights),
        "optimizer": digest(optimizer),
        "random": digest([torch.get_rng_state(), random.getstate(), np.random.get_state()]),
        "history": run.history,
        "stop": [run.epoch, run.step, run.stop_reason],
        "bests": {name: [best.value, best.epoch, best.path and best.path.name] for name, best in run.bests.items()},
    }


def written(root: Path, plan: Plan) -> dict[str, Any]:
    """Return what a training has left on the disk, what it should not have left included."""
    return {
        "csv": read_text(root / "training.log"),
        "scalars": list(scalars(root / "logs")),
        "best file": best_content(root, plan),
        "temporary": sorted(str(path.relative_to(root)) for path in root.rglob("*tmp*")),
        "generations": sum(path.name.isdecimal() for path in backup_folder(root).glob("*")),
    }


def read_text(path: Path) -> str | None:
    return path.read_bytes().decode() if path.exists() else None


def best_content(root: Path, plan: Plan) -> str | None:
    """Return what the best file holds; ``None`` where there is none.

    Raises:
        CheckpointError: It is not whole.
    """
    path = best_file(root, plan)
    if not path.exists():
        return None
    checkpoint = read_checkpoint(path)
    return digest([checkpoint.weights, checkpoint.optimizer, checkpoint.about])


def look(root: Path, plan: Plan) -> dict[str, Any]:
    """Return how things stand on the disk before a training begins: the best file, the snapshots, and what is wrong with them."""
    stand: dict[str, Any] = {"best file": None, "snapshots": [], "faults": []}
    try:
        stand["best file"] = best_content(root, plan)
    except CheckpointError as exc:
        stand["faults"].append(str(exc))
    for found in Snapshots(backup_folder(root)).newest_first():
        if isinstance(found, Damaged):
            stand["faults"].append(str(found))
        else:
            stand["snapshots"].append(found.number)
    return stand


def digest(value: Any) -> str:
    """Return a short digest of plain data and tensors, in one another."""
    return hashlib.sha256("".join(_spelled(value)).encode()).hexdigest()[:16]


def _spelled(value: Any) -> Iterator[str]:
    if isinstance(value, (torch.Tensor, np.ndarray)):
        array = value.detach().numpy() if isinstance(value, torch.Tensor) else value
        yield f"<{array.dtype} {array.shape} {hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()}>"
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield f"{key!r}:"
            yield from _spelled(one)
    elif isinstance(value, (list, tuple)):
        yield "["
        for one in value:
            yield from _spelled(one)
        yield "]"
    else:
        yield f"{value!r},"


def scalars(folder: Path) -> Iterator[list[Any]]:
    """Yield every scalar and graph in every event file, in order of folder, tag and step, twice where it is there twice."""
    rows = []
    for path in sorted(folder.rglob("events.out.tfevents.*")):
        part, events = str(path.parent.relative_to(folder)), list(map(Event.FromString, records(path)))
        if not events or events[0].file_version != "brain.Event:2":
            raise ValueError(f"{path} does not begin as event files do")
        for event in events:
            rows += [[part, value.tag, event.step, value.simple_value] for value in event.summary.value]
            if event.graph_def:
                rows.append([part, "the graph", 0, len(event.graph_def)])
    yield from sorted(rows)


def records(path: Path) -> Iterator[bytes]:
    """Yield the records of an event file.

    Raises:
        ValueError: It does not end with a whole one, or one has not its checksum.
    """
    data, at = path.read_bytes(), 0
    while at < len(data):
        (size,) = struct.unpack_from("<Q", data, at) if len(data) - at >= 8 else (len(data),)
        end = at + 12 + size + 4
        if end > len(data):
            raise ValueError(f"{path} has half a record at {at} of {len(data)} bytes")
        body = data[at + 12 : end - 4]
        crc = crc32c(body)
        if struct.unpack_from("<I", data, end - 4)[0] != (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF:
            raise ValueError(f"{path} has a damaged record at {at}")
        yield body
        at = end


@contextmanager
def hearing() -> Iterator[list[str]]:
    """Collect the warnings that are given, each as its class and its text."""
    heard: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield heard
        finally:
            heard += [f"{warning.category.__name__}: {warning.message}" for warning in caught]
