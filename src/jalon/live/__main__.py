"""Serves the page for a training with ``live=True``: how comes by standard input, so that no command line holds the token."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from jalon.live.server import Server, Settings

if __name__ == "__main__":
    said = json.loads(sys.stdin.readline())
    Server(Settings(Path(said["folder"]), said["port"], said["host"], said["token"], said["while_process"])).run()
