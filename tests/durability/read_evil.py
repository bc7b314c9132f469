"""Gives every evil file to every reader, and tells what came of it.

    python read_evil.py FOLDER

Writes the files into the folder and prints a JSON object for each: what each reader made of it, what the interpreter did
meanwhile that no reader may do, whether code in the file ran, and whether what is outside is as it was. The last ones are of
readers that do run code, and of a sound file.

A file is read by a forked child, which may take no more than its share of time and memory.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import json
import os
import pickle
import resource
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import evil_files
import evil_keras
import evil_programs
import numpy as np
import torch

import jalon
from jalon.cli.contents import search
from jalon.cli.inspect import inspect
from jalon.cli.verify import verify
from jalon.engines.torch import program
from jalon.engines.torch.formats import read_checkpoint
from jalon.errors import JalonError
from jalon.store import plain, snapshot

SECONDS = 10
MEGABYTES = 400
"""How much more memory than before readers may take; the longest header that is read is of 100 MB."""

Reader = Callable[[Path], object]


class TooLate(BaseException):
    """Says that a reader does not come back."""


# ---- the readers ------------------------------------------------------------------------------------------------------


def model() -> jalon.Model:
    return jalon.Model(evil_files.network()).compile("sgd", "mse")


def predicted(loaded: jalon.Model) -> list[list[float]]:
    outputs: list[list[float]] = loaded.predict(np.ones((3, 4), "f4"), verbose=0).tolist()
    return outputs


def trained(path: Path, *, epochs: int = 4) -> None:
    """Train in a run's folder, or go on there."""
    x = np.arange(32, dtype="f4").reshape(8, 4) / 32
    model().fit(x, x[:, :3], epochs=epochs, batch_size=4, verbose=0, shuffle=False, run_dir=path)


def quietly(command: Callable[[Path], int]) -> Reader:
    """Return a command without what it prints."""

    def told(path: Path) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            command(path)

    return told


TELLERS: dict[str, Reader] = {"verify": quietly(verify), "inspect": quietly(inspect)}
"""They say of a file what is wrong with it, and need not refuse it."""
READERS: dict[str, Reader] = {
    "load": lambda path: model().load(path),
    "load_weights": lambda path: model().load_weights(path),
    "from_checkpoint": lambda path: jalon.Model.from_checkpoint(path, evil_files.network()),
    "from_checkpoint without a module": lambda path: predicted(jalon.Model.from_checkpoint(path)),
    "read_checkpoint": read_checkpoint,
    "program.read": program.read,
    "program.load": program.load,
    "snapshot.read": snapshot.read,
    **TELLERS,
}
OF_BYTES: dict[str, Reader] = {"plain.decode": lambda path: plain.decode(path.read_bytes())}
OF_RUNS: dict[str, Reader] = {"fit": trained, **TELLERS}
UNSAFE: dict[str, tuple[str, Reader]] = {
    "pickle.load": ("bare.pt", lambda path: pickle.loads(path.read_bytes())),
    "torch.load": ("system.pt", lambda path: torch.load(path, weights_only=False)),
    "torch.export.load": ("sample_inputs.pt2", torch.export.load),
}


# ---- what the interpreter does --------------------------------------------------------------------------------------------

NEVER = (
    *("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.forkpty", "subprocess.Popen", "pickle.find_class"),
    *("socket.connect", "socket.bind", "ctypes.dlopen", "urllib.Request", "os.symlink", "os.putenv", "webbrowser.open"),
    *("code.__new__", "function.__new__"),
)
CHANGES = ("open", "os.remove", "os.rename", "os.truncate", "os.chmod", "os.mkdir", "os.rmdir", "shutil.rmtree")
OWN = tuple(
    str(Path(place).resolve())
    for place in (sys.prefix, sys.base_prefix, Path(jalon.__file__).parent, Path(__file__).parent, "/proc", "/usr/share/terminfo")
)

seen: list[str] = []
allowed: list[str] = []
"""The file in hand; none, while nothing is watched."""


def watch(event: str, args: tuple[Any, ...]) -> None:
    """Note what no reader may do."""
    if not allowed:
        return
    elsewhere = event in CHANGES and is_elsewhere(args[0])
    if event in NEVER or elsewhere or (event in ("exec", "compile", "marshal.loads") and not is_import()):
        seen.append(f"{event} {args!r:.200}")


def is_elsewhere(path: Any) -> bool:
    """Return whether a path is neither the file in hand nor of the interpreter's own."""
    if not isinstance(path, (str, bytes, os.PathLike)):
        return False
    return not os.path.realpath(os.fsdecode(path)).startswith((*OWN, *allowed, os.devnull))


def is_import() -> bool:
    """Return whether what is going on is the import of a module."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib._bootstrap"):
            return True
        frame = frame.f_back
    return False


# ---- one file after the other ----------------------------------------------------------------------------------------------


def outcome(read: Reader, path: Path) -> str:
    """Return what a reader makes of a file: ``read``, ``refused``, or what is wrong with its answer."""
    signal.alarm(SECONDS)
    try:
        read(path)
    except JalonError as exc:
        text = str(exc)
        if "MemoryError" in text or "allocate" in text:
            return f"asks for too much memory: {text:.200}"
        return "refused" if path.name in text or read in OF_BYTES.values() else f"does not name the file: {text:.200}"
    except TooLate:
        return "does not come back"
    except Exception as exc:
        return f"raises {type(exc).__name__}: {exc!s:.200}"
    finally:
        signal.alarm(0)
    return "read"


def outcomes(readers: Mapping[str, Reader], path: Path) -> dict[str, str]:
    """Return what each reader makes of a file, in a child of its own; of those that ends it, that they do."""
    told = by_a_child(readers, path)
    if told is not None:
        return told
    if len(readers) == 1:
        return dict.fromkeys(readers, "ends the process")
    return {name: one for each in readers for name, one in outcomes({each: readers[each]}, path).items()}


def by_a_child(readers: Mapping[str, Reader], path: Path) -> dict[str, str] | None:
    receiving, sending = os.pipe()
    child = os.fork()
    if not child:
        faulthandler.dump_traceback_later(SECONDS * len(readers) + SECONDS, exit=True)
        resource.setrlimit(resource.RLIMIT_DATA, (data_bytes() + (MEGABYTES << 21),) * 2)
        tempfile.tempdir = str(path.parent)
        allowed.append(str(path.parent.resolve()))
        told = {name: outcome(read, path) for name, read in readers.items()}
        allowed.clear()
        with open(sending, "w") as answer:
            json.dump([told, seen, most_memory() - MOST], answer)
        os._exit(0)
    os.close(sending)
    with open(receiving) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    if not text:
        return None
    told, done, grown = json.loads(text)
    return told | {f"does {one}": "" for one in done} | ({f"takes {grown} MB": ""} if grown > MEGABYTES else {})


def most_memory() -> int:
    """Return the most memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def data_bytes() -> int:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmData"))


def main(folder: Path) -> None:
    """Write the files, and print what comes of each."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of what they find in a file, before they refuse it
    evil_files.know_all()
    outside, canaries = folder / "outside", folder / "canaries"
    evil_files.write_all(folder / "files", canaries, outside)
    trained(folder / "sound", epochs=3)
    (folder / "backups").mkdir()
    evil_files.write_backups(folder / "backups", folder / "sound", canaries, outside)
    warm_up(folder / "warm")
    begin_to_watch()

    def tell(name: str, readers: Mapping[str, Reader], path: Path, may_read: frozenset[str]) -> None:
        told = outcomes(readers, path)
        is_right = {"read": may_read | TELLERS.keys(), "refused": readers.keys()}
        wrong = {reader: one for reader, one in told.items() if reader not in is_right.get(one, ())}
        victim = (outside / "victim.txt").read_text() if (outside / "victim.txt").exists() else None
        (outside / "victim.txt").write_text(evil_files.VICTIM)
        ran, changed = (canaries / path.name).exists(), victim != evil_files.VICTIM
        print(json.dumps({"name": name, "told": told, "wrong": wrong, "ran": ran, "changed": changed}), flush=True)

    for one in evil_files.FILES:
        path = folder / "files" / one.name / one.name
        tell(one.name, READERS if path.is_dir() else {**READERS, **OF_BYTES}, path, one.read_by)
    for name in evil_files.BACKUPS:
        tell(name, OF_RUNS, folder / "backups" / name, frozenset())
    for name in ("sound.pt2", "sealed.pt2", "sound.safetensors"):
        tell(name, READERS, folder / "warm" / name, frozenset(READERS))
    for name, (file, read) in UNSAFE.items():
        tell(name, {name: read}, folder / "files" / file / file, frozenset())


def begin_to_watch() -> None:
    global MOST
    MOST = most_memory()
    search.read_apart = lambda look, path: look(path)  # type: ignore[assignment]  # in here, where it is seen what is done

    def raise_too_late(*_: object) -> None:
        raise TooLate

    signal.signal(signal.SIGALRM, raise_too_late)
    sys.addaudithook(watch)


MOST = 0
"""How much memory there was before the first file."""


def warm_up(folder: Path) -> None:
    """Read sound files, so that nothing has to be made ready later."""
    folder.mkdir()
    for suffix in (".safetensors", ".h5", ".pt"):
        model().save(folder / f"sound{suffix}")
    evil_programs.write_program(folder / "sound.pt2", evil_programs.program_members())
    note = {"format": 1, "about": {"epoch": 3}, "weights": ["weight", "bias"]}
    evil_programs.write_program(folder / "sealed.pt2", evil_programs.program_members(), note=note)
    evil_keras.keras_file(folder / "sound.keras", {})
    for path in (*folder.iterdir(), folder.parent / "sound"):
        for read in (*READERS.values(), trained) if path.is_dir() else READERS.values():
            with contextlib.suppress(JalonError):
                read(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
