"""Runs trainings in children that can be killed, on all cores, and tells how their ends differ."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scenario import Plan
    from shim import Watch

HERE = Path(__file__).parent
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


COMMAND = (sys.executable, str(HERE / "forkserver.py"))


def environment(shim: Path) -> dict[str, str]:
    """Return the environment of a process that is watched: one thread, since those of a library do not survive a fork."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return os.environ | threads | {"LD_PRELOAD": str(shim)}


def build_shim(folder: Path) -> Path:
    """Compile the watcher of file calls and return the library."""
    library = folder / "shim.so"
    source = str(HERE / "shim.c")
    subprocess.run(["cc", "-O2", "-fPIC", "-shared", "-o", str(library), source, "-ldl", "-lpthread"], check=True)
    return library


def why_not() -> str | None:
    """Return why no file call can be watched here, or ``None`` where they can."""
    if not sys.platform.startswith("linux"):
        return "file calls are watched by LD_PRELOAD, on Linux alone"
    return None if shutil.which("cc") else "there is no C compiler 'cc' to build the watcher of file calls"


class ForkServer:
    """Is a process that has imported everything and forks itself for each training.

    Args:
        shim: The watcher of file calls.
    """

    def __init__(self, shim: Path) -> None:
        self._process = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(shim))

    @cached_property
    def _ready(self) -> bool:
        return self._process.stdout.readline() == "ready\n"

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Have a training run and return what became of it."""
        if not self._ready:
            raise RuntimeError("the fork server did not start; its standard error says why")
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


@dataclass
class Lab:
    """Runs trainings, one a core at a time, each in a folder of its own.

    Args:
        place: Where the folders are made.
        servers: The processes that fork.
        shim: The watcher of file calls.
    """

    place: Path
    servers: list[ForkServer]
    shim: Path
    _idle: SimpleQueue[ForkServer] = field(default_factory=SimpleQueue)
    _references: dict[Plan, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for server in self.servers:
            self._idle.put(server)

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """Make a folder for one training and its restarts."""
        path = Path(tempfile.mkdtemp(dir=self.place)).resolve()
        try:
            yield path
        finally:
            shutil.rmtree(path)

    def run(self, root: Path, plan: Plan, watch: Watch | None = None, **more: Any) -> dict[str, Any]:
        """Train in a child and return what became of it, as ``forkserver.serve`` tells it."""
        server = self._idle.get()
        try:
            watched = {} if watch is None else {"watch": asdict(watch)}
            return server.ask({"root": str(root), "plan": asdict(plan), **watched, **more})
        finally:
            self._idle.put(server)

    def reference(self, plan: Plan) -> dict[str, Any]:
        """Return what becomes of the training that nothing interrupts."""
        if plan not in self._references:
            with self.folder() as root:
                report = self.run(root, plan)
            if report["status"] != 0:
                raise RuntimeError(report.get("trace") or f"the training ended with {report['status']}")
            self._references[plan] = report
        return self._references[plan]

    def on_all_cores(self, task: Callable[..., Any], points: Iterable[Any]) -> list[Any]:
        """Return what a task makes of each point, in order."""
        with ThreadPoolExecutor(len(self.servers)) as pool:
            return list(pool.map(task, points))


@contextmanager
def opened_lab(place: Path, servers: int = CORES) -> Iterator[Lab]:
    """Build the watcher, start the processes, and end them."""
    with tempfile.TemporaryDirectory() as built:
        shim = build_shim(Path(built))
        lab = Lab(place, [ForkServer(shim) for _ in range(servers)], shim)
        try:
            yield lab
        finally:
            for server in lab.servers:
                server.close()


def memory_folder() -> str | None:
    """Return a folder in memory, where thousands of saves take seconds; ``None`` for the usual one."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def difference(expected: dict[str, Any], actual: dict[str, Any], *, ignore: Iterable[str] = ()) -> str | None:
    """Return the first thing in which the end of a training is not what it should be, or ``None``."""
    if actual["status"] != 0:
        return f"it ended with {actual['status']}: {actual.get('trace') or actual.get('fault')}"
    if "fault" in actual["disk"]:
        return f"the disk: {actual['disk']['fault']}"
    for part in ("result", "disk"):
        for name, value in expected[part].items():
            if name not in ("recovery", *ignore) and actual[part][name] != value:
                return _told(name, value, actual[part][name])
    return None


def _told(name: str, expected: Any, actual: Any) -> str:
    """Return how two things differ; of two rows of things, what is too much and what is missing."""
    if not isinstance(expected, list) or not isinstance(actual, list):
        return f"{name} is {_shown(actual)} in place of {_shown(expected)}"
    wanted, there = Counter(map(repr, expected)), Counter(map(repr, actual))
    too_much, missing = list((there - wanted).elements()), list((wanted - there).elements())
    return f"{name} has {_shown(too_much)} too much and lacks {_shown(missing)}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 2000 else f"{text[:1000]} … {text[-1000:]}"
