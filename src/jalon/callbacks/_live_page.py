"""LivePage: start the page that shows a run, as a process of its own."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from jalon._optional import require
from jalon.core.callback import Callback, Logs

_HOST = "127.0.0.1"


class LivePage(Callback):
    """Start the page that shows a run and its neighbours, as a process of its own, and say its address.

    The page outlasts the training for as long as somebody looks at it, and some minutes more.

    Args:
        run_dir: The folder given to ``fit``; the page shows the runs of the folder above it.
        run: The run's own folder, which the page opens with.

    Raises:
        MissingPackage: What the page takes is not installed.
    """

    critical = False
    adds_metrics = False

    def __init__(self, run_dir: str | os.PathLike[str], *, run: Path) -> None:
        for package in ("starlette", "uvicorn", "psutil"):
            require(package, extra="live", who="live=True")
        self._folder = Path(run_dir).absolute().parent
        self._shown = run.absolute()
        self._process: subprocess.Popen[bytes] | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        if not self.run.is_main or self._process is not None:
            return
        port, token = _free_port(), secrets.token_urlsafe(32)
        opens = str(self._shown.relative_to(self._folder))
        settings = {"folder": str(self._folder), "port": port, "token": token, "host": _HOST, "while_process": os.getpid()}
        # The token goes through a pipe: command lines can be read by everybody on the machine.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "jalon.live"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        _hand_over(self._process, settings)
        self.run.say(f"Live: http://{_HOST}:{port}/#token={token}&run={opens}")


def _hand_over(process: subprocess.Popen[bytes], settings: dict[str, Any]) -> None:
    stdin = process.stdin
    if stdin is not None:
        with stdin:
            stdin.write(json.dumps(settings).encode() + b"\n")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port
