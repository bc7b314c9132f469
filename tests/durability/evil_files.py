"""Files that would run code, read what is elsewhere, or fill the memory, if whoever reads them let them.

Each is in a folder of its own, named as the file. What runs code makes a file in the folder of canaries.
"""

from __future__ import annotations

import importlib
import shutil
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import h5py
import torch
from torch import nn

Write = Callable[[Path, "Places"], None]

GIANT = 1 << 33
"""More bytes than any reader may take."""
BOMB = 0xF000_0000
"""As many as a zip of the plain kind can say."""
WEIGHTS = frozenset({"load_weights", "from_checkpoint", "read_checkpoint"})
WEIGHTS_ALONE = frozenset({"load_weights", "from_checkpoint", "program.read"})
PROGRAMS = WEIGHTS_ALONE | frozenset({"from_checkpoint without a module", "program.load"})


@dataclass(frozen=True)
class Places:
    """Is where things are.

    Args:
        name: The file's name.
        canary: The file that is made where code in it runs.
        outside: A folder that no reader may look into.
    """

    name: str
    canary: Path
    outside: Path

    @property
    def command(self) -> str:
        """What a shell would run."""
        return f"touch {self.canary}"

    @property
    def code(self) -> str:
        """What Python would run."""
        return f"open({str(self.canary)!r}, 'w').close()"


@dataclass(frozen=True)
class Evil:
    """Is a file that is evil.

    Args:
        name: Its name; a folder's, where it is one.
        write: Writes it.
        read_by: The readers that may read it, since they leave alone what is evil in it.
    """

    name: str
    write: Write
    read_by: frozenset[str] = frozenset()


VICTIM = "as it was\n" * 100
"""What is in a file outside, before and after."""

FILES: list[Evil] = []
BACKUPS: dict[str, Write] = {}
"""What makes the backup in a sound run's folder evil."""


def evil(name: str, *, read_by: Iterable[str] = ()) -> Callable[[Write], Write]:
    """Return what takes a function among those that write evil files."""

    def taken(write: Write) -> Write:
        FILES.append(Evil(name, write, frozenset(read_by)))
        return write

    return taken


def of_backup(name: str) -> Callable[[Write], Write]:
    """Return what takes a function among those that make a backup evil."""

    def taken(change: Write) -> Write:
        BACKUPS[f"backup_{name}"] = change
        return change

    return taken


def know_all() -> None:
    """Import the modules that hold the evil files, so that all are known."""
    for part in ("pickles", "arrays", "keras", "snapshots", "programs"):
        importlib.import_module(f"evil_{part}")


def write_all(folder: Path, canaries: Path, outside: Path) -> None:
    """Write every evil file into a folder of its own.

    Args:
        folder: Where.
        canaries: Where code that runs leaves its traces.
        outside: Where a file with weights and a text are, which no reader may open.
    """
    outside.mkdir(parents=True)
    canaries.mkdir()
    with h5py.File(outside / "weights.h5", "w") as file:
        file.update({name: value.numpy() for name, value in weights().items()})
    (outside / "victim.txt").write_text(VICTIM)
    for one in FILES:
        path = folder / one.name / one.name
        path.parent.mkdir(parents=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            one.write(path, Places(one.name, canaries / one.name, outside))


def network() -> nn.Module:
    """Return the module that the files are for."""
    return nn.Linear(4, 3)


def weights() -> dict[str, torch.Tensor]:
    """Return weights that fit it."""
    return {"weight": torch.arange(12.0).reshape(3, 4), "bias": torch.ones(3)}


def write_backups(folder: Path, made: Path, canaries: Path, outside: Path) -> None:
    """Write every evil backup into a folder of its own.

    Args:
        folder: Where.
        made: The folder of a sound run.
        canaries: As in ``write_all``.
        outside: As in ``write_all``.
    """
    for name, change in BACKUPS.items():
        shutil.copytree(made, folder / name)
        change(folder / name / "backup", Places(name, canaries / name, outside))
