"""Damages files and snapshots, reads them, and counts what came of it.

    python read_damaged.py KIND NUMBER SEED

``KIND`` is ``.safetensors``, ``.h5``, ``.pt``, ``plain`` or ``snapshot``. Prints, as JSON, how many mutants came to each outcome:

- ``refused``: a ``CheckpointError`` that names what is damaged;
- ``fell back``: the damage of the newest snapshot is named, and the one before is read as it was saved;
- ``harmless``: what is read is exactly what was saved, then or by the save before;
- ``silent``: anything else;
- ``crashed``: reading ended the process, or took longer than 20 seconds.

and of the last two, which mutants they were. Mutants are read by forked children, since a crash ends the one that reads.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import h5py  # noqa: F401  # before the children are forked, so that they need not import it
import numpy as np
import torch
from damage import KINDS, mutants
from torch import nn

from jalon.engines.torch.formats import Checkpoint, read_checkpoint, write_checkpoint
from jalon.errors import CheckpointError
from jalon.store import plain
from jalon.store.snapshot import MANIFEST, Damaged, Snapshot, Snapshots

BATCH = 200
SECONDS = 20
OUTCOMES = ("refused", "fell back", "harmless", "silent", "crashed")

Case = tuple[str, Callable[[], str]]
"""What the damage is called, and what does it, reads and says the outcome."""


def main(kind: str, number: int, seed: int) -> None:
    """Print what came of so many mutants.

    Args:
        kind: What is damaged.
        number: How many mutants.
        seed: Decides what they are.
    """
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # torch warns of what it finds in a damaged file before it refuses it
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        cases = {"snapshot": snapshots, "plain": plain_data}.get(kind, files)(kind, Path(folder), random.Random(f"{kind} {seed}"))
        counts: Counter[str] = Counter(dict.fromkeys(OUTCOMES, 0))
        bad = []
        for place, (name, outcome) in enumerate(_outcomes(islice(cases, number))):
            counts[outcome] += 1
            if outcome in ("silent", "crashed"):
                bad.append([place, name, outcome])
    print(json.dumps({"kind": kind, "seed": seed, "counts": counts, "bad": bad[:20]}))


def _outcomes(cases: Iterator[Case]) -> Iterator[tuple[str, str]]:
    while batch := list(islice(cases, BATCH)):
        outcomes = _by_a_child(batch)
        if outcomes is None:
            outcomes = [one for case in batch for one in _by_a_child([case]) or ["crashed"]]
        yield from zip((name for name, _ in batch), outcomes, strict=True)


def _by_a_child(batch: Sequence[Case]) -> list[str] | None:
    """Return the outcomes as a forked child sees them; ``None`` where it did not come to the end."""
    receiving, sending = os.pipe()
    child = os.fork()
    if not child:
        signal.alarm(SECONDS)
        with open(sending, "w") as answer:
            json.dump([read() for _, read in batch], answer)
        os._exit(0)
    os.close(sending)
    with open(receiving) as answer:
        text = answer.read()
    return json.loads(text) if os.waitpid(child, 0)[1] == 0 else None


def same(one: Any, two: Any) -> bool:
    """Return whether two states are the same, bit for bit, in types and order too."""
    if isinstance(one, (torch.Tensor, np.ndarray)):
        alike = type(one) is type(two) and one.dtype == two.dtype and one.shape == two.shape
        return alike and bool((one == two).all())
    if isinstance(one, dict):
        return isinstance(two, dict) and list(one) == list(two) and all(same(value, two[key]) for key, value in one.items())
    if isinstance(one, (list, tuple)):
        return type(one) is type(two) and len(one) == len(two) and all(map(same, one, two))
    return type(one) is type(two) and one == two


# ---- files -----------------------------------------------------------------------------------------------------------


def checkpoint(epoch: int) -> Checkpoint:
    """Return a small model with its optimizer and what was told; values differ from epoch to epoch, sizes do not."""
    torch.manual_seed(epoch)
    net = nn.Sequential(nn.Linear(12, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01 / (1 + epoch))
    for _ in range(1 + epoch):
        optimizer.zero_grad()
        net(torch.randn(16, 12)).square().sum().backward()
        optimizer.step()
    state = {"class": "jalon.callbacks.standardize.Standardize", "state": {"mean": {"x": [0.5, epoch / 7]}}}
    about = {"epoch": epoch, "monitor": "val_loss", "value": 0.5 / (1 + epoch), "transforms": [state]}
    return Checkpoint(net.state_dict(), optimizer.state_dict(), about)


def files(suffix: str, folder: Path, rng: random.Random) -> Iterator[Case]:
    """Yield mutants of a checkpoint file, without end."""
    path = folder / f"mutant{suffix}"
    saved = [checkpoint(1), checkpoint(0)]
    contents = []
    for one in saved:
        write_checkpoint(path, one)
        contents.append(path.read_bytes())
    states = [(one.weights, one.optimizer, one.about) for one in saved]
    for name, mutant in mutants(*contents, rng):
        yield name, lambda mutant=mutant: _read_file(path, mutant, states)


def _read_file(path: Path, mutant: bytes, saved: Sequence[Any]) -> str:
    path.write_bytes(mutant)
    try:
        read = read_checkpoint(path)
    except CheckpointError as exc:
        return "refused" if str(path) in str(exc) else "silent"
    except Exception:
        return "silent"
    return "harmless" if any(same((read.weights, read.optimizer, read.about), one) for one in saved) else "silent"


def state(epoch: int) -> dict[str, Any]:
    """Return plain data as a snapshot has it: what callbacks keep, counters, random numbers."""
    rng = np.random.default_rng(epoch)
    stopping = {"best": 0.5 / (1 + epoch), "wait": epoch, "weights": {"0.weight": rng.normal(size=(8, 12)).astype("f4")}}
    return {
        "callbacks": {"EarlyStopping": stopping, "CSVLogger": {"length": 100 + epoch}},
        "numpy": rng.integers(0, 2**32, 624, "u4"),
    }


def plain_data(kind: str, folder: Path, rng: random.Random) -> Iterator[Case]:
    """Yield mutants of plain data, which has no checksum of its own: to be refused, or to be what can be checked further on."""

    def read(mutant: bytes) -> str:
        try:
            plain.decode(mutant)
        except CheckpointError:
            return "refused"
        except Exception:
            return "silent"
        return "harmless"

    for name, mutant in mutants(plain.encode(state(1)), plain.encode(state(0)), rng):
        yield name, lambda mutant=mutant: read(mutant)


# ---- snapshots -------------------------------------------------------------------------------------------------------

NAMES = ("model.safetensors", "state.safetensors", MANIFEST)


def snapshots(kind: str, root: Path, rng: random.Random) -> Iterator[Case]:
    """Yield damages to the newer of two snapshots, and to both, without end."""

    for epoch in (0, 1):
        folder = Snapshots(root).begin()
        write_checkpoint(folder / NAMES[0], checkpoint(epoch))
        (folder / NAMES[1]).write_bytes(plain.encode(state(epoch)))
        Snapshots(root).commit(folder, {"epoch": epoch, "batch": 0, "bests": {"loss": 0.5}})
    saved = {path: path.read_bytes() for path in sorted(root.glob("*/*"))}
    older, newer = sorted(root.iterdir())
    while True:
        for name in NAMES:
            pair = (saved[newer / name], saved[older / name])
            for word, mutant in islice(mutants(*pair, rng), len(KINDS)):
                yield f"{word} in {name}", lambda name=name, mutant=mutant: _read(root, saved, {newer / name: mutant})
            for word, damage in _of_folders(older, newer, name):
                yield f"{word} {name}", lambda damage=damage: _read(root, saved, {}, damage)
        names = [rng.choice(NAMES) for _ in range(2)]
        both = {
            folder / name: rng.choice(KINDS)(saved[folder / name], saved[newer / name], rng)
            for folder, name in zip((older, newer), names, strict=True)
        }
        yield "both", lambda both=both: _read(root, saved, both)


def _of_folders(older: Path, newer: Path, name: str) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield what can become of a file as a whole."""
    path, other = newer / name, newer / next(one for one in NAMES if one != name)

    def in_place(put: Callable[[], object]) -> None:
        path.unlink()
        put()

    yield "deleted", path.unlink
    yield "of the snapshot before:", lambda: shutil.copyfile(older / name, path)
    yield "of another name:", lambda: shutil.copyfile(other, path)
    yield "a link in place of", lambda: in_place(lambda: path.symlink_to(older / name))
    yield "a link to the same in place of", lambda: (path.rename(newer / "moved"), path.symlink_to("moved"))
    yield "a folder in place of", lambda: in_place(path.mkdir)
    yield "one file more than", lambda: (newer / "more.safetensors").write_bytes(b"more")
    yield (
        "all but the manifest, of the snapshot before:",
        lambda: [shutil.copyfile(older / one, newer / one) for one in NAMES[:2]],
    )


def _read(root: Path, saved: dict[Path, bytes], mutants: dict[Path, bytes], damage: Callable[[], object] = lambda: None) -> str:
    """Damage snapshots, read them as a resume does, and mend them."""
    for path, mutant in mutants.items():
        path.write_bytes(mutant)
    damage()
    try:
        return _outcome(root, saved)
    except Exception:
        return "silent"
    finally:
        for folder in {path.parent for path in saved}:
            shutil.rmtree(folder)
            folder.mkdir()
        for path, content in saved.items():
            path.write_bytes(content)


def _outcome(root: Path, saved: dict[Path, bytes]) -> str:
    there = list(Snapshots(root).newest_first())
    at = next((at for at, one in enumerate(there) if isinstance(one, Snapshot)), None)
    newest = max(path.parent for path in saved)
    is_named = all(isinstance(one, Damaged) and str(root) in str(one) for one in there[:at])
    if at is None:
        return "refused" if is_named else "silent"
    snapshot = there[at]
    as_saved = all((snapshot.path / name).read_bytes() == saved[snapshot.path / name] for name in snapshot.manifest.files)
    if not as_saved or set(snapshot.manifest.files) != set(NAMES[:2]) or snapshot.about["epoch"] != snapshot.number - 1:
        return "silent"
    if snapshot.path == newest:
        return "harmless"
    # Without its manifest the newest does not exist, and there is nothing to name.
    return "fell back" if is_named and (at > 0 or not (newest / MANIFEST).exists()) else "silent"


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
