"""What every test may use."""

from __future__ import annotations

import gc
import json
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import settings

from jalon.core.callback_list import CallbackList
from jalon.core.run import Run
from jalon.testing import FakeModel, FakeTrainer, ManualClock

# One process, one backend of Keras; scripts/test runs what concerns Keras on the others too.
os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# A shell that starts the tests in the background has them, and what they start, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("jalon", deadline=None)  # the machine may be busy
settings.load_profile("jalon")


def pytest_collection_finish() -> None:
    """Leave alone what the tests have imported, several frameworks, each time that garbage is collected."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def begin() -> Callable[..., CallbackList]:
    """Return a function that makes a list of callbacks and begins a run with it."""

    def begin(callbacks: Any, *, trainer: FakeTrainer | None = None) -> CallbackList:
        trainer = trainer or FakeTrainer()
        told, run = CallbackList(callbacks), Run(trainer, clock=ManualClock())
        told.begin(run, FakeModel(trainer, run), {"verbose": 1, "epochs": 1, "steps": 1})
        return told

    return begin


class Webhook(ThreadingHTTPServer):
    """Is a server on this machine that keeps what is posted to it.

    Attributes:
        posts: What was posted, as JSON values, in order.
        statuses: With which statuses the next posts are answered; 200 when there are no more.
        gate: Answers wait until it is set.
        reached: Set when something has been posted, answered or not.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Keeping)
        self.posts: queue.Queue[dict[str, Any]] = queue.Queue()
        self.statuses: list[int] = []
        self.reached = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def url(self, path: str = "/hook") -> str:
        """Return its address as Apprise has it."""
        return f"json://127.0.0.1:{self.server_port}{path}"

    def next(self) -> dict[str, Any]:
        """Return the next post; fail where none comes."""
        return self.posts.get(timeout=30)

    def titles(self) -> list[str]:
        """Return the titles of what came and was not taken by ``next``."""
        return [post["title"] for post in self.posts.queue]


class _Keeping(BaseHTTPRequestHandler):
    server: Webhook

    def do_POST(self) -> None:
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.reached.set()
        self.server.gate.wait()
        self.server.posts.put(content)
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 200)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def _serving() -> Iterator[Webhook]:
    with Webhook() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.gate.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    """A server to which messages can be posted."""
    monkeypatch.setenv("NO_PROXY", "*")
    with _serving() as server:
        yield server


@pytest.fixture
def other_webhook(webhook: Webhook) -> Iterator[Webhook]:
    """Another one."""
    with _serving() as server:
        yield server
