"""Cuts the power of a recorded training at every sync, and says what is lost that was promised to last."""

from __future__ import annotations

import hashlib
import random
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from harness import Lab, memory_folder
from kills import fault_of
from replay import Call, Disk, read_log
from scenario import Plan, backup_folder, best_file

from jalon.engines.torch.formats import read_checkpoint
from jalon.errors import CheckpointError
from jalon.store.snapshot import Snapshot, Snapshots

State = dict[str, bytes | None]


@dataclass
class Promises:
    """Is what a process has been told is on the disk.

    Attributes:
        snapshot: The number of the newest snapshot; 0 before the first one.
        files: What may be in each file. More than one content where it is being replaced.
    """

    snapshot: int = 0
    files: dict[str, list[bytes | None]] = field(default_factory=dict)

    def hear(self, call: Call, disk: Disk) -> None:
        """Take in what a call promises, or takes back. Before the disk does it."""
        path = call.path
        if call.kind == "mark":
            what, path = call.path.split(" ", 1)
            path = str(disk.root / path)
            if what == "snapshot":
                self.snapshot = int(Path(path).name)
            elif not Path(path).parent.name.isdecimal():  # a file in a snapshot counts once the snapshot does
                self.files[path] = [disk.content(path)]
        elif call.kind == "rename" and call.to in self.files:
            self.files[call.to].append(disk.content(path))
        elif call.kind in ("unlink", "write", "truncate"):
            self.files.pop(path, None)


@dataclass(frozen=True, slots=True)
class Cut:
    """Is what a power cut has left.

    Args:
        when: After how many calls.
        state: The files.
        promised: The newest snapshot that was promised.
    """

    when: int
    state: State
    promised: int

    def put(self, root: Path) -> None:
        """Put the files where a training finds them."""
        for name, content in self.state.items():
            path = root / name
            if content is None:
                path.mkdir(exist_ok=True)
            else:
                path.write_bytes(content)


def record(lab: Lab, plan: Plan, *, unsynced: Literal["files", "folders"] | None = None) -> tuple[Path, list[Call]]:
    """Train once, and return the folder and the file calls. What is ``unsynced`` is not synced, though the program thinks so."""
    with tempfile.TemporaryDirectory(dir=memory_folder()) as elsewhere, lab.folder() as root:
        log = Path(elsewhere, "log")
        report = lab.run(root, plan, log=str(log), unsynced=unsynced)
        if report["status"] != 0:
            raise RuntimeError(report.get("trace") or f"the training ended with {report['status']}")
        return root, read_log(log)


def cuts(root: Path, calls: list[Call], draw: random.Random, most: int) -> Iterator[tuple[Cut, str | None]]:
    """Yield what power cuts may leave, each once, and which promise is broken.

    Power is cut before each sync, when most is at stake, and after each promise.
    """
    disk, promises, known = Disk(root), Promises(), set()
    for number, call in enumerate([*calls, Call("end", "", "", 0, b"")]):
        promises.hear(call, disk)
        if call.kind in ("fsync", "mark", "end"):
            for state in disk.cuts(draw, most):
                identity = digest(state)
                if identity not in known:
                    known.add(identity)
                    cut = Cut(number, state, promises.snapshot)
                    yield cut, broken(cut, promises, root)
        if call.kind not in ("mark", "end"):
            disk.do(call)


def digest(state: State) -> bytes:
    whole = hashlib.sha256()
    for name, content in sorted(state.items()):
        whole.update(f"{name} {None if content is None else len(content)} ".encode())
        whole.update(content or b"")
    return whole.digest()


def broken(cut: Cut, promises: Promises, root: Path) -> str | None:
    """Return which promise a power cut has broken, or ``None``."""
    for path, contents in promises.files.items():
        name = str(Path(path).relative_to(root))
        if cut.state.get(name) not in contents:
            return f"call {cut.when}: {name} is not what was promised"
    with tempfile.TemporaryDirectory(dir=memory_folder()) as place:
        cut.put(Path(place))
        whole = [found.number for found in Snapshots(backup_folder(Path(place))).newest_first() if isinstance(found, Snapshot)]
        if max(whole, default=0) < promises.snapshot:
            return f"call {cut.when}: snapshot {promises.snapshot} was promised; whole are {whole}"
        return half_file(Path(place), cut.when)


def half_file(place: Path, when: int) -> str | None:
    for suffix in (".safetensors", ".h5", ".pt"):
        path = best_file(place, Plan(suffix))
        try:
            if path.exists():
                read_checkpoint(path)
        except CheckpointError as exc:
            return f"call {when}: {exc}"
    return None


def fault_after(lab: Lab, plan: Plan, cut: Cut) -> str | None:
    """Return what is wrong with the training that goes on after a power cut, or ``None``."""
    with lab.folder() as root:
        cut.put(root)
        fault = fault_of(lab, plan, lab.run(root, plan))
    return fault and f"call {cut.when}: {fault}"


def sample(found: Iterable[Cut], draw: random.Random, number: int) -> list[Cut]:
    """Return some power cuts, all where there are no more."""
    listed = list(found)
    return listed if len(listed) <= number else draw.sample(listed, number)
