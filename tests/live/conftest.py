"""A folder of runs, the page that shows it as a process of its own, and a browser that looks at it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for what the tests here share

SECONDS = 30


@contextmanager
def ended_after(process):
    """Kill a process at the end of a block."""
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stdin):
            if stream is not None:
                stream.close()


def wait_for(what):
    """Return what a function returns as soon as that is something; fail after half a minute."""
    until = time.monotonic() + SECONDS
    while not (found := what()):
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.02)
    return found


class Watched:
    """Is a page over a folder.

    Args:
        folder: The folder of runs.
        address: As it was printed.
    """

    def __init__(self, folder, address):
        self.folder, self.address = folder, address
        self.base, _, self.token = address.partition("/#token=")
        self.port = int(self.base.rpartition(":")[2])

    def ask(self, path, body=None):
        """Return what the server says, as the page would be told."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        with urlopen(Request(f"{self.base}{path}", data, headers), timeout=SECONDS) as answer:
            return json.load(answer)


@contextmanager
def watching(folder):
    """Serve a page over a folder, as ``jalon watch`` does."""
    command = [sys.executable, "-m", "jalon", "watch", str(folder)]
    with ended_after(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)) as process:
        made = Watched(folder, process.stdout.readline().split(": ", 1)[1].strip())
        made.process = process
        yield made


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """Return a page over an empty folder."""
    with watching(tmp_path_factory.mktemp("runs")) as made:
        yield made


@pytest.fixture(scope="module")
def browser():
    """Return Debian's Chromium, or skip by name."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "google-chrome"))), None)
    if path is None:
        pytest.skip("no Chromium: apt-get install chromium-headless-shell")
    os.environ.pop("DEBUG", None)
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()
