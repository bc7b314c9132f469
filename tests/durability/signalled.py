"""A process that has imported everything, and forks itself for each training that gets a signal.

Unlike one that is killed, such a training ends as its program does: by an exception, through the interpreter's own end. Reads
requests from its standard input and answers on its standard output, a JSON value a line each.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from io import RawIOBase
from pathlib import Path
from typing import Any

import scenario
import torch
from forkserver import warm_up
from torch.utils.data import DataLoader, TensorDataset

from jalon.callbacks import Callback
from jalon.callbacks._backup import BackupFolder
from jalon.callbacks.backup_and_restore import BackupAndRestore
from jalon.core import signals
from jalon.core.hooks import HOOKS
from jalon.engines.torch.adapter import TorchAdapter
from jalon.store.snapshot import Damaged, Snapshot, Snapshots

AT_EPOCH = 1
COMPLAINTS = "stderr.txt"


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a training prints is no answer
    for signum in signals.SIGNALS:  # however the tests were started
        signal.signal(signum, signal.default_int_handler if signum == signal.SIGINT else signal.SIG_DFL)
    torch.set_num_threads(1)
    warm_up()
    answers.write("ready\n")
    answers.flush()
    for line in sys.stdin:
        request = json.loads(line)
        ear, mouth = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(ear)
            (be_a_brief_program if request.get("brief") else be_a_program)(request, mouth)
            return  # with an exception or without, through the end of the interpreter
        os.close(mouth)
        answers.write(json.dumps(serve(request, pid, ear)) + "\n")
        answers.flush()


def serve(request: dict[str, Any], pid: int, ear: int) -> dict[str, Any]:
    """Listen to a training, send it its signal, and return what became of it, and how many seconds it took."""
    with os.fdopen(ear, "rb", buffering=0) as file:
        said, seconds = listen(file, lambda: os.kill(pid, request["signal"]), request.get("after"))
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    told = [json.loads(line) for line in said.splitlines()]
    root = Path(request["root"])
    answer = {"status": status, "steps": told.count("step"), "seconds": seconds, "complaints": (root / COMPLAINTS).read_text()}
    for report in told:
        if isinstance(report, dict):
            answer |= report
    answer["kept"] = next((kept.about for kept in snapshots(root) if not isinstance(kept, Damaged)), None)
    return answer


def snapshots(root: Path) -> Iterator[Snapshot | Damaged]:
    return Snapshots(scenario.backup_folder(root)).newest_first()


def listen(file: RawIOBase, send: Callable[[], None], after: float | None) -> tuple[bytes, float]:
    """Return what a training says until its end and how long it took, and send something so many seconds after it has begun."""
    said, began, sent = b"", 0.0, after is None
    with selectors.DefaultSelector() as selector:
        selector.register(file, selectors.EVENT_READ)
        while True:
            if selector.select(None if sent or not said else max(0.0, began + after - time.monotonic())):
                heard = file.read(65536)
                if not heard:
                    return said, time.monotonic() - began
                began = began if said else time.monotonic()
                said += heard
            if not sent and said and time.monotonic() >= began + after:
                send()
                sent = True


# ---- in the child ----------------------------------------------------------------------------------------------------------


def be_a_program(request: dict[str, Any], mouth: int) -> None:
    """Train as a program does that was started from a shell.

    Args:
        request: ``root``, and ``plan``, or ``workers`` for a training whose data come from worker processes; the number of the
            ``signal``, which comes so many seconds ``after`` training has begun, or ``at`` some place in its second epoch,
            ``to`` the process or the ``"group"``, and ``twice`` if so; ``brief`` to skip the interpreter's end.
        mouth: Where to say how it stands.
    """
    root = Path(request["root"])
    os.setpgid(0, 0)
    os.dup2(os.open(root / COMPLAINTS, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    own_callbacks = scenario.make_callbacks
    extra = [Steps(mouth), *at(request)]
    scenario.make_callbacks = lambda plan: [*own_callbacks(plan), *extra]
    if request.get("twice"):
        signals.SAME_WITHIN_SECONDS = 0.0
    if request.get("workers"):
        say(mouth, {"result": train_with_workers(root, extra)})
        return
    plan = scenario.Plan(**request["plan"])
    result = scenario.train(root, plan)
    say(mouth, {"result": result, "disk": scenario.written(root, plan)})


def be_a_brief_program(request: dict[str, Any], mouth: int) -> None:
    """The same, without the interpreter's end, which takes much longer than the training."""
    try:
        be_a_program(request, mouth)
    except SystemExit as exc:
        os._exit(exc.code)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def say(mouth: int, what: Any) -> None:
    os.write(mouth, json.dumps(what).encode() + b"\n")


class Steps(Callback):
    """Says when training begins, and when each of its steps is done.

    Args:
        mouth: Where to say it.
    """

    lazy_logs = True

    def __init__(self, mouth: int) -> None:
        self.mouth = mouth

    def on_train_begin(self, logs: Any = None) -> None:
        say(self.mouth, "begin")

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        say(self.mouth, "step")


def at(request: dict[str, Any]) -> list[Callback]:
    """Arrange for the signal to come at a place, and return the callback that sends it, if it is one that does."""
    place = request.get("at")
    to = 0 if request.get("to") == "group" else os.getpid()

    def send() -> None:
        for _ in range(1 + bool(request.get("twice"))):
            (os.killpg if to == 0 else os.kill)(to, request["signal"])

    if place == "copying":
        interrupt(TorchAdapter, "freeze", send, time=4)
    elif place == "writing":
        interrupt(BackupFolder, "write", send, time=3)
    elif place == "leaving":
        interrupt(BackupAndRestore, "save", lambda: os.kill(os.getpid(), signal.SIGUSR2), time=1)
        return [sender("on_train_batch_end", send)]
    return [sender(place, send)] if place in HOOKS else []


def interrupt(kind: type, method: str, send: Callable[[], None], *, time: int) -> None:
    """Have a signal come in the middle of a method, the so manieth time that it is called."""
    own, calls = getattr(kind, method), []

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == time:
            send()
        return own(*args, **kwargs)

    setattr(kind, method, interrupted)


def sender(hook: str, send: Callable[[], None]) -> Callback:
    """Return a callback that sends the signal the first time that a hook is reached in the second epoch, or at all."""
    sent = []

    def reached(self: Callback, *args: Any, **kwargs: Any) -> None:
        at_either_end = hook in ("on_train_begin", "on_train_end")
        if not sent and (at_either_end or self.run.epoch == AT_EPOCH):
            sent.append(1)
            send()

    made: Callback = type("Sender", (Callback,), {hook: reached, "lazy_logs": True})()
    return made


def train_with_workers(root: Path, callbacks: list[Callback]) -> dict[str, Any]:
    """Train on what two worker processes read, and return what is to be the same however often it was interrupted."""
    x, y, *_ = scenario.data()
    model = scenario.make_model()
    loader = DataLoader(
        TensorDataset(torch.as_tensor(x), torch.as_tensor(y)),
        batch_size=scenario.ROWS // scenario.BATCHES,
        shuffle=True,
        num_workers=2,
        generator=torch.Generator().manual_seed(scenario.SEED),
    )
    model.fit(loader, epochs=3, verbose=0, callbacks=callbacks, seed=scenario.SEED, run_dir=root / "run")
    return scenario.result(model)


if __name__ == "__main__":
    main()
