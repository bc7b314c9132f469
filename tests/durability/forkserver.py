"""A process that has imported everything, and forks itself for each training that is to be killed.

Reads requests from its standard input and answers on its standard output, a JSON value a line each. Given a request as its
argument, it is no more than the one training.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import select
import signal
import stat
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any, Literal

import bystanders
import scenario
import shim
import torch

from jalon.store import writer


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a training prints is no answer
    torch.set_num_threads(1)
    warm_up()
    answers.write("ready\n")
    answers.flush()
    for line in sys.stdin:
        answers.write(json.dumps(serve(json.loads(line))) + "\n")
        answers.flush()


def warm_up() -> None:
    """Train once, so that a child imports nothing; and leave no thread behind, which no child would have."""
    with tempfile.TemporaryDirectory() as folder, scenario.hearing():
        for suffix in (".safetensors", ".h5", ".pt"):
            root = Path(folder, suffix)
            root.mkdir()
            scenario.train(root, scenario.Plan(suffix=suffix))
    if writer.WRITER._thread is not None:
        writer.WRITER._thread.shutdown()
    writer.WRITER._forget()
    gc.collect()
    gc.freeze()  # a child that collects garbage would copy all of it


def serve(request: dict[str, Any]) -> dict[str, Any]:
    """Run one training in a child, and return what became of it.

    Args:
        request: What to do; a field that is missing changes nothing.

            - ``root``, ``plan``: Where and how to train.
            - ``watch``, ``log``: What is done to the file calls, and where they are logged.
            - ``look``: Look at the disk before.
            - ``unsynced``: Do not sync ``files``, ``folders``, or ``all``.
            - ``interfere``: What is done to the disk, by epoch.
            - ``meter``: Measure at each epoch's end.
            - ``user``: The number of the user to train as.
            - ``temp_folder``: What ``TMPDIR`` says.
            - ``file_size``: How many bytes a file may have.
            - ``kill_after``: Kill it after so many seconds.
    """
    ear, mouth = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ear)
        report = run(request)
        with os.fdopen(mouth, "wb", closefd=False) as file:
            file.write(json.dumps(report).encode())
        os._exit(0 if report["fault"] is None else 1)
    os.close(mouth)
    after = request.get("kill_after")
    if after is not None and not select.select([ear], [], [], after)[0]:
        os.kill(pid, signal.SIGKILL)
    with os.fdopen(ear, "rb") as file:
        told = file.read()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    report = json.loads(told) if status in (0, 1) and told else {}
    return {"status": status, **report}


def sync_only(what: Literal["files", "folders", "nothing"]) -> None:
    """Have this process sync files or folders alone, or nothing, and think that it has synced all."""
    sync = os.fsync

    def some(descriptor: int) -> None:
        if what == ("folders" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "files"):
            sync(descriptor)

    os.fsync = some


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Train as a request says, and return what is to be known of it."""
    root, plan = Path(request["root"]), scenario.Plan(**request["plan"])
    report: dict[str, Any] = {"fault": None}
    heard: list[str] = []
    seen, meter = scenario.Seen(), bystanders.Meter()
    others = [bystanders.Interference({int(epoch): what for epoch, what in request.get("interfere", {}).items()})]
    restrict(request)
    try:
        if request.get("look"):
            report["before"] = scenario.look(root, plan)
        watched = shim.watching(root, shim.Watch(**request.get("watch", {})), request.get("log"))
        with scenario.hearing() as heard, scenario.acknowledging(), watched:
            report["result"] = scenario.train(root, plan, *others, *([meter] if request.get("meter") else ()), seen=seen)
    except BaseException as exc:
        report["fault"] = f"{type(exc).__name__}: {exc}"
        report["trace"] = traceback.format_exc()
    report |= {"warnings": heard, "begun": bool(seen.batches), "measured": meter.rows}
    report |= {"calls": shim.calls(), "kinds": shim.kinds()}
    try:
        report["disk"] = scenario.written(root, plan)
    except (OSError, ValueError) as exc:
        report["disk"] = {"fault": f"{type(exc).__name__}: {exc}"}
    return report


def restrict(request: dict[str, Any]) -> None:
    """Take from this process what a request says that it must not have."""
    if request.get("unsynced"):
        sync_only({"files": "folders", "folders": "files", "all": "nothing"}[request["unsynced"]])
    if request.get("file_size"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_size"],) * 2)
    if request.get("temp_folder"):
        os.environ["TMPDIR"], tempfile.tempdir = request["temp_folder"], None
    if request.get("user"):
        os.setgroups([])
        os.setgid(request["user"])
        os.setuid(request["user"])


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:
        torch.set_num_threads(1)
        sys.exit(run(json.loads(sys.argv[1]))["fault"])
