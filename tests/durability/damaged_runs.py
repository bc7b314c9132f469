"""A killed training whose backup is damaged before it is started again by the same command."""

from __future__ import annotations

import os
import random
import shutil
import signal
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from damage import KINDS, mutants
from damaged_files import network, same

import jalon
from jalon.callbacks import BackupAndRestore, CSVLogger, EarlyStopping, ModelCheckpoint, ReduceLROnPlateau, TensorBoard
from jalon.cli.contents import event_files
from jalon.errors import CheckpointError, JalonWarning
from jalon.store.snapshot import MANIFEST

NAMES = ("model.safetensors", "state.safetensors", MANIFEST)
EPOCHS = 4
BATCHES = 7


class Kill(jalon.Callback):
    """Kill the process in the third epoch, in the middle of it."""

    def on_train_batch_end(self, batch, logs=None):
        if (self.run.epoch, batch) == (2, 5):
            os.kill(os.getpid(), signal.SIGKILL)


def train(folder: Path, *callbacks: jalon.Callback) -> dict[str, Any]:
    """Train as the program does that is started again and again, and return all that there is to compare."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(64, 12)).astype("f4"), rng.normal(size=(64, 3)).astype("f4")
    torch.manual_seed(0)
    model = jalon.Model(network()).compile("adam", "mse")
    BackupAndRestore.rest_seconds = 0.0
    own = [
        ModelCheckpoint(folder / "best.safetensors", save_best_only=True, monitor="loss"),
        ReduceLROnPlateau("loss", patience=1, min_delta=1.0),
        EarlyStopping("loss", patience=9),
        CSVLogger(folder / "training.csv"),
        TensorBoard(folder / "logs", write_graph=False),
        BackupAndRestore(folder / "backup", save_freq=3, delete_checkpoint=False),
    ]
    history = model.fit(x, y, epochs=EPOCHS, batch_size=10, seed=1, verbose=0, callbacks=[*own, *callbacks])
    points: Counter[str] = Counter()
    for path in sorted((folder / "logs").rglob("*.v2")):
        found = event_files.look(path)
        points.update({tag: one["points"] for tag, one in found.facts["tags"].items()})
    return {
        "weights": dict(model.module.state_dict()),
        "history": history.history,
        "epochs": history.epoch,
        "best": (folder / "best.safetensors").read_bytes(),
        "table": (folder / "training.csv").read_bytes(),
        "points": dict(sorted(points.items())),
    }


def resumes(kind: str, folder: Path, rng: random.Random) -> Iterator[tuple[str, Callable[[], str]]]:
    """Yield damages to what a killed training has left, without end."""
    killed, place = folder / "killed", folder / "run"
    if not (child := os.fork()):
        train(place, Kill())
    if os.WTERMSIG(os.waitpid(child, 0)[1]) != signal.SIGKILL:
        raise RuntimeError("the training was not killed")
    place.rename(killed)
    reference = train(folder / "reference")
    older, newer = sorted(path.parent.name for path in (killed / "backup").glob(f"*/{MANIFEST}"))[-2:]
    while True:
        for name in (f"{newer}/{name}" for name in NAMES):
            before = (killed / "backup" / older / Path(name).name).read_bytes()
            for word, mutant in islice(mutants((killed / "backup" / name).read_bytes(), before, rng), len(KINDS)):
                yield f"{word} in {name}", lambda name=name, mutant=mutant: _go_on(killed, place, reference, {name: mutant})
        for name in ("history.jsonl", "run.json"):
            content = (killed / "backup" / name).read_bytes()
            for word, mutant in islice(mutants(content, content[: len(content) // 2], rng), len(KINDS)):
                yield f"{word} in {name}", lambda name=name, mutant=mutant: _go_on(killed, place, reference, {name: mutant})


def _go_on(killed: Path, place: Path, reference: dict[str, Any], damaged: dict[str, bytes]) -> str:
    """Damage files of a backup, and go on as the same command does."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(killed, place)
    for name, content in damaged.items():
        (place / "backup" / name).write_bytes(content)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            ended = train(place)
        except CheckpointError as exc:
            return "refused" if str(place) in str(exc) else "silent"
        except Exception:
            return "silent"
    told = [str(warning.message) for warning in heard if issubclass(warning.category, JalonWarning)]
    if not same(ended, reference):
        return "silent"
    return "fell back" if any(str(place) in one and "the backup before it" in one for one in told) else "harmless"
