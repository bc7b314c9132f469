"""Gives every evil file to every reader, and tells what came of it.

    python read_evil.py FOLDER

Writes the files into the folder and prints a JSON object for each: of each reader what it did, what the interpreter did that
no reader may do, and whether code in the file ran. A file is read by a forked child, which may take no more than its share of
time and memory.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import evil_files
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

SECONDS = 30
MEGABYTES = 400
"""How much more memory than before a reader may take; the longest header that is read is of 100 MB."""

Reader = Callable[[Path], object]

# ---- the readers ------------------------------------------------------------------------------------------------------


def model() -> jalon.Model:
    return jalon.Model(evil_files.network()).compile("sgd", "mse")


def decode(path: Path) -> None:
    if path.is_file() and path.stat().st_size < evil_files.BOMB:
        plain.decode(path.read_bytes())


def quietly(command: Callable[..., int]) -> Reader:
    """Return a command without what it prints."""

    def told(path: Path) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            command(path)

    return told


def trained(path: Path, *, epochs: int = 4) -> None:
    """Train in a run's folder, or go on there."""
    x = np.arange(32, dtype="f4").reshape(8, 4) / 32
    model().fit(x, x[:, :3], epochs=epochs, batch_size=4, verbose=0, shuffle=False, run_dir=path)


READERS: dict[str, Reader] = {
    "load": lambda path: model().load(path),
    "load_weights": lambda path: model().load_weights(path),
    "from_checkpoint": lambda path: jalon.Model.from_checkpoint(path, evil_files.network()),
    "from_checkpoint without a module": lambda path: predicted(jalon.Model.from_checkpoint(path)),
    "read_checkpoint": read_checkpoint,
    "program.read": program.read,
    "program.load": program.load,
    "snapshot.read": snapshot.read,
    "plain.decode": decode,
    "verify": quietly(verify),
    "inspect": quietly(inspect),
}
TELL = ("verify", "inspect")
"""They say of a file what is wrong with it, and need not refuse it."""


def predicted(loaded: jalon.Model) -> Any:
    return loaded.predict(np.ones((3, 4), "f4"), verbose=0)


# ---- what the interpreter does --------------------------------------------------------------------------------------------

_OWN = tuple(
    str(Path(place).resolve()) for place in (sys.prefix, sys.base_prefix, Path(jalon.__file__).parent, Path(__file__).parent)
)
_NEVER = (
    *("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "subprocess.Popen", "pickle.find_class"),
    *("socket.connect", "socket.bind", "ctypes.dlopen", "urllib.Request", "shutil.rmtree", "tempfile.mkstemp", "os.symlink"),
    *("code.__new__", "function.__new__", "webbrowser.open", "syslog.syslog", "os.putenv"),
)
_seen: list[str] = []
_allowed: list[str] = []


def watch(event: str, args: tuple[Any, ...]) -> None:
    """Note what no reader may do."""
    if not _allowed:
        return
    if event in _NEVER or (event == "open" and _is_elsewhere(args[0])):
        _seen.append(f"{event} {args!r:.300}")
    if event in ("exec", "compile", "marshal.loads") and not _is_import(event, args):
        _seen.append(f"{event} {args!r:.300}")


def _is_elsewhere(path: Any) -> bool:
    if not isinstance(path, (str, bytes, os.PathLike)):
        return False
    place = os.path.realpath(os.fsdecode(path))
    return not place.startswith(
        (*_OWN, *_allowed, "/proc/self", "/usr/share/terminfo", "/lib/terminfo", "/etc/terminfo", "/dev/null")
    )


def _is_import(event: str, args: tuple[Any, ...]) -> bool:
    """Return whether code comes from a module that is imported, or is made by a class of the library's own."""
    if event == "exec":
        return str(args[0].co_filename).startswith((*_OWN, "<frozen", "<string>", "<attrs", "<"))
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap_external>":
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False


# ---- one file after the other ----------------------------------------------------------------------------------------------


def outcome(read: Reader, path: Path) -> str:
    """Return what a reader makes of a file: ``read``, ``refused``, or what is wrong with its answer."""
    try:
        read(path)
    except JalonError as exc:
        text = str(exc)
        if "MemoryError" in text or "allocate" in text:
            return f"asks for too much memory: {text:.200}"
        if path.name not in text and read is not decode:
            return f"does not name the file: {text:.200}"
        return "refused"
    except BaseException as exc:
        return f"raises {type(exc).__name__}: {exc!s:.200}"
    return "read"


def by_a_child(readers: dict[str, Reader], path: Path, outside: Path) -> dict[str, Any]:
    """Return what readers make of a file, and what was done meanwhile; a reader that does not come back is named."""
    told = {}
    for name, read in readers.items():
        receiving, sending = os.pipe()
        child = os.fork()
        if not child:
            signal.alarm(SECONDS)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            resource.setrlimit(resource.RLIMIT_DATA, (_data_bytes() + (MEGABYTES << 21),) * 2)
            _allowed.append(str(path.parent.resolve()))
            one = outcome(read, path)
            _allowed.clear()
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
            if grown > MEGABYTES:
                one = f"takes {grown} MB"
            with open(sending, "w") as answer:
                json.dump([one, _seen], answer)
            os._exit(0)
        os.close(sending)
        with open(receiving) as answer:
            text = answer.read()
        status = os.waitpid(child, 0)[1]
        told[name] = json.loads(text) if text else [f"ends the process ({status})", []]
    victim = outside / "victim.txt"
    return {"readers": told, "victim": victim.exists() and victim.read_text() == "as it was\n" * 100}


def _data_bytes() -> int:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmData"))


def files(folder: Path) -> Iterator[tuple[str, dict[str, Reader], Path, list[str]]]:
    """Yield each file with its readers, and which of those may read it."""
    for one in evil_files.FILES:
        yield one.name, READERS, folder / "files" / one.name / one.name, [*one.read_by, *TELL]
    for name in evil_files.BACKUPS:
        readers = {"fit": trained, "verify": READERS["verify"], "inspect": READERS["inspect"]}
        yield name, readers, folder / "backups" / name, list(TELL)


def main(folder: Path) -> None:
    """Write the files, and print what comes of each."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of what they find in a file, before they refuse it
    search.read_apart = lambda look, path: look(path)  # type: ignore[assignment]  # where it is seen what is done
    outside, canaries = folder / "outside", folder / "canaries"
    evil_files.write_all(folder / "files", canaries, outside)
    trained(folder / "sound", epochs=3)
    (folder / "backups").mkdir()
    evil_files.write_backups(folder / "backups", folder / "sound", canaries, outside)
    sys.addaudithook(watch)
    warm_up(folder / "warm")
    for name, readers, path, read_by in files(folder):
        told = by_a_child(readers, path, outside)
        print(json.dumps({"name": name, "read_by": read_by, "canary": (canaries / name).exists(), **told}), flush=True)


def warm_up(folder: Path) -> None:
    """Read sound files, so that nothing needs to be imported later."""
    folder.mkdir()
    for suffix in (".safetensors", ".h5", ".pt"):
        model().save(folder / f"sound{suffix}")
    evil_files.write_program(folder / "sound.pt2", evil_files.program_members())
    evil_files.keras_file(folder / "sound.keras", {})
    for path in folder.iterdir():
        for read in READERS.values():
            with contextlib.suppress(JalonError):
                read(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
