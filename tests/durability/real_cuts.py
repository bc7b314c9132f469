"""Cuts the power of a real file system while a training saves to it.

The file system lies in a file on a btrfs, behind a loop device. A clone of that file, which btrfs makes in one moment, is what a
disk would hold if power failed then: what the file system has not yet handed to its disk is not in it. The clone is mounted in
its place, as after a power cut, and training goes on there.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness import Lab
from kills import best_contents, fault_of
from replay import read_log
from scenario import Plan, backup_folder, best_content

from jalon.errors import CheckpointError
from jalon.store.snapshot import Snapshot, Snapshots

SIZES = {"ext4": "64M", "xfs": "300M", "btrfs": "256M"}
"""The file systems, each with about the least size that it can have."""


def why_not(kind: str) -> str | None:
    """Return why power cannot be cut here, or ``None`` where it can."""
    if os.geteuid() != 0:
        return "mounting needs root"
    if not Path("/dev/loop-control").exists():
        return "there are no loop devices"
    tool = next((name for name in ("mkfs.btrfs", f"mkfs.{kind}") if shutil.which(name) is None), None)
    return None if tool is None else f"there is no {tool}"


@dataclass(frozen=True, slots=True)
class Bench:
    """Is where disks are made, cloned and mounted.

    Args:
        kind: The file system.
        images: A folder on a btrfs.
        place: Where disks are mounted.
    """

    kind: str
    images: Path
    place: Path

    def clone(self, source: str, target: str) -> None:
        """Copy a disk in one moment."""
        subprocess.run(["cp", "--reflink=always", self.images / source, self.images / target], check=True)

    @contextmanager
    def mounted(self, disk: str) -> Iterator[Path]:
        """Mount a disk, and return a folder on it."""
        subprocess.run(["mount", "-o", "loop", self.images / disk, self.place], check=True)
        try:
            yield self.place / "training"
        finally:
            subprocess.run(["umount", self.place], check=True)
            if self.kind == "btrfs":  # which would take the clone, of the same name, for the disk that it knows
                subprocess.run(["btrfs", "device", "scan", "--forget"], check=True, stdout=subprocess.DEVNULL)


@contextmanager
def bench(kind: str) -> Iterator[Bench]:
    """Make a btrfs to clone disks on, and an empty disk with a folder."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as undo:
        folder = Path(name)
        outer, images, place = folder / "outer", folder / "images", folder / "place"
        images.mkdir()
        place.mkdir()
        made = Bench(kind, images, place)
        _format("btrfs", outer, "4G")
        subprocess.run(["mount", "-o", "loop", outer, images], check=True)
        undo.callback(subprocess.run, ["umount", images], check=True)
        _format(kind, images / "empty", SIZES[kind])
        with made.mounted("empty") as root:
            root.mkdir()
        yield made


def _format(kind: str, image: Path, size: str) -> None:
    subprocess.run(["truncate", "-s", size, image], check=True)
    subprocess.run([f"mkfs.{kind}", "-q", image], check=True)


def longest(lab: Lab, bench: Bench, plan: Plan) -> float:
    """Return how long a training takes on such a disk."""
    bench.clone("empty", "disk")
    with bench.mounted("disk") as root:
        began = time.monotonic()
        lab.run(root, plan)
        return time.monotonic() - began


def lost_in_a_cut(lab: Lab, bench: Bench, plan: Plan, after: float, *, unsynced: str | None = None) -> str | None:
    """Cut the power some seconds after a training has begun, and return what is lost of what was promised, or ``None``.

    Args:
        lab: Runs the training.
        bench: Where.
        plan: The training.
        after: Seconds.
        unsynced: What the training does not sync, though it thinks so.
    """
    bench.clone("empty", "disk")
    with tempfile.TemporaryDirectory() as elsewhere, ThreadPoolExecutor(1) as pool, bench.mounted("disk") as root:
        log = Path(elsewhere, "log")
        log.touch()
        training = pool.submit(lab.run, root, plan, log=str(log), unsynced=unsynced)
        time.sleep(after)
        promised = [call.path for call in read_log(log) if call.kind == "mark"]
        bench.clone("disk", "cut")
        training.result()
    with bench.mounted("cut") as root:
        fault = broken(lab, plan, root, promised) or fault_of(lab, plan, lab.run(root, plan, look=True))
    return fault and f"{bench.kind}, cut after {after} s: {fault}"


def broken(lab: Lab, plan: Plan, root: Path, promised: list[str]) -> str | None:
    """Return which promise is not kept on a disk, or ``None``."""
    newest = max((int(Path(word).name) for word in promised if word.startswith("snapshot ")), default=0)
    whole = [found.number for found in Snapshots(backup_folder(root)).newest_first() if isinstance(found, Snapshot)]
    if max(whole, default=0) < newest:
        return f"snapshot {newest} was promised; whole are {whole}"
    bests = list(dict.fromkeys(best_contents(lab, plan)))
    number = sum(word.startswith("file saved/") for word in promised)
    try:
        kept = bests.index(best_content(root, plan))
    except (CheckpointError, ValueError) as exc:
        return f"the best file is not whole: {exc}"
    return None if kept >= number else f"best file {number} was promised; it is {kept}"


def instants(seed: int, number: int, longest: float) -> list[float]:
    """Return random instants."""
    draw = random.Random(seed)
    return [draw.uniform(0, longest) for _ in range(number)]
