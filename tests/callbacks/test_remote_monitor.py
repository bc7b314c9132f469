"""RemoteMonitor posts what Keras's posts, and training does not wait for it."""

from __future__ import annotations

import inspect
import json
import math
import queue
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from unittest import mock
from urllib.parse import parse_qs

import numpy as np
import pytest
import torch

import jalon._optional
import jalon.callbacks.remote_monitor
from jalon import CallbackList, Run
from jalon.callbacks import LambdaCallback
from jalon.callbacks.remote_monitor import RemoteMonitor, _Delivery
from jalon.errors import ArgumentError, CallbackDegraded, MissingPackage
from jalon.testing import FakeModel, FakeTrainer, play

SCRIPT = [{"loss": 0.5}, {"loss": 0.25}, {"loss": 0.125}]


class Server(ThreadingHTTPServer):
    """Keeps what is posted. An epoch that has a gate is answered when the gate opens."""

    daemon_threads = False  # closing waits for the answers
    status = 200

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.root = f"http://127.0.0.1:{self.server_port}"
        self.gates = {}
        self.posts = queue.Queue()

    @property
    def received(self):
        """What was posted so far, as JSON values."""
        return [content for _, _, content in self.posts.queue]


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        as_json = self.headers["Content-Type"] == "application/json"
        content = json.loads(body if as_json else parse_qs(body)[self.headers.get("X-Field", "data")][0])
        gate = self.server.gates.get(content["epoch"])
        if gate is not None:
            gate.wait()
        self.server.posts.put((self.path, dict(self.headers), content))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def server():
    with Server() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        yield server
        for gate in server.gates.values():
            gate.set()
        wait_for_deliveries()
        server.shutdown()


@pytest.fixture
def silent_root():
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield f"http://127.0.0.1:{silent.getsockname()[1]}"
    wait_for_deliveries()


@pytest.fixture
def dead_root():
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    return f"http://127.0.0.1:{port}"


def wait_for_deliveries():
    for thread in threading.enumerate():
        if isinstance(thread, _Delivery):
            thread.join()


def test_the_arguments_are_keras_s():
    """Arguments, their order and their defaults are Keras's, and each is an attribute; timeout is by name alone."""
    defaults = {
        "root": "http://localhost:9000",
        "path": "/publish/epoch/end/",
        "field": "data",
        "headers": None,
        "send_as_json": False,
        "timeout": 10.0,
    }
    parameters = inspect.signature(RemoteMonitor).parameters
    monitor = RemoteMonitor("http://host", "/path", "what", {"a": "b"}, True, timeout=5)

    assert defaults == {name: parameter.default for name, parameter in parameters.items()}
    assert inspect.Parameter.KEYWORD_ONLY == parameters["timeout"].kind
    assert ("http://host", "/path", "what") == (monitor.root, monitor.path, monitor.field)
    assert ({"a": "b"}, True, 5.0) == (monitor.headers, monitor.send_as_json, monitor.timeout)


def test_a_form_arrives(server):
    """By default each epoch is a form with one field that holds JSON, at root + path."""
    play(RemoteMonitor(server.root, field="what", headers={"X-Field": "what"}), SCRIPT)
    paths, headers, contents = zip(*server.posts.queue, strict=True)

    assert ("/publish/epoch/end/",) * 3 == paths
    assert {"application/x-www-form-urlencoded"} == {each["Content-Type"] for each in headers}
    assert ({"epoch": 0, "loss": 0.5}, {"epoch": 1, "loss": 0.25}, {"epoch": 2, "loss": 0.125}) == contents


def test_json_arrives(server):
    """With send_as_json each epoch is a JSON body, with the headers given."""
    monitor = RemoteMonitor(server.root, path="/runs/7", headers={"X-Run": "seven"}, send_as_json=True)
    play(monitor, [{"loss": 0.5, "val_loss": 0.75}])
    ((path, headers, content),) = server.posts.queue

    assert ("/runs/7", "application/json", "seven") == (path, headers["Content-Type"], headers["X-Run"])
    assert {"epoch": 0, "loss": 0.5, "val_loss": 0.75} == content


@pytest.mark.parametrize("send_as_json", [False, True])
@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (np.float32(1.0), 1.0),
        (np.int64(3), 3),
        (np.arange(1), 0),
        (np.array(0.5), 0.5),
        (torch.tensor(0.5, requires_grad=True), 0.5),
        (np.array([0.25, 0.5]), [0.25, 0.5]),
        ("text", "text"),
        (None, None),
        (math.nan, None),
        (np.float64("-inf"), None),
    ],
)
def test_values_become_json(server, value, sent, send_as_json):
    """Arrays and tensors of one number are sent as the number, others as lists; what JSON has no number for, as null."""
    RemoteMonitor(server.root, send_as_json=send_as_json).on_epoch_end(0, {"value": value})

    assert [{"epoch": 0, "value": sent}] == server.received


def test_a_value_that_json_cannot_hold_is_an_error_of_the_hook(server, begin):
    """A value of another kind is warned of as any failure of an observer is, and nothing is sent."""
    told = begin(RemoteMonitor(server.root, send_as_json=True))
    told.on_train_begin()

    with pytest.warns(CallbackDegraded, match="RemoteMonitor.on_epoch_end failed: TypeError"):
        told.on_epoch_end(0, {"value": 1j})
    assert [] == server.received


def test_training_does_not_wait(server):
    """Epochs go on while a message is under way; the end of training waits, and they arrive in order."""
    server.gates[0] = threading.Event()
    at_the_end = []

    def open_the_gate(logs):
        at_the_end.append(server.received)
        server.gates[0].set()

    play([LambdaCallback(on_train_end=open_the_gate), RemoteMonitor(server.root)], SCRIPT)

    assert [[]] == at_the_end
    assert [0, 1, 2] == [content["epoch"] for content in server.received]


def test_after_an_exception_what_was_sent_arrives(server):
    """What ends training by an exception waits for what is under way too."""
    server.gates[0] = threading.Event()
    fails = LambdaCallback(on_epoch_end=lambda epoch, logs: 1 / 0, on_exception=lambda exc: server.gates[0].set())

    with pytest.raises(ZeroDivisionError):
        play([RemoteMonitor(server.root), fails], SCRIPT)
    assert [{"epoch": 0, "loss": 0.5}] == server.received


def test_a_dead_server_is_warned_of_once(dead_root):
    """A server that cannot be reached costs one warning in Keras's words, in each training; training goes on."""
    monitor = RemoteMonitor(dead_root)
    for _ in range(2):
        with pytest.warns(CallbackDegraded) as caught:
            run = play(monitor, SCRIPT)

        assert [0.5, 0.25, 0.125] == run.history["loss"]
        assert 1 == len(caught)
        assert str(caught[0].message).startswith(f"Could not reach RemoteMonitor root server at {dead_root}: ")
        assert {} == run.degraded


def test_the_warning_comes_at_the_next_epoch(dead_root, begin):
    """A failure is warned of where training is, at the end of the next epoch."""
    told = begin(RemoteMonitor(dead_root))
    told.on_train_begin()
    told.on_epoch_end(0, SCRIPT[0])
    wait_for_deliveries()

    with pytest.warns(CallbackDegraded, match="Could not reach RemoteMonitor root server"):
        told.on_epoch_end(1, SCRIPT[1])
    told.on_train_end()


def test_a_refusal_is_warned_of(server):
    """A server that answers with an error is warned of, with its answer."""
    server.status = 404

    with pytest.warns(CallbackDegraded, match=r"root server at http://127.0.0.1:\d+: 404 Client Error"):
        play(RemoteMonitor(server.root), SCRIPT[:1])


def test_a_server_that_never_answers_holds_up_nothing(silent_root):
    """The end of training waits for timeout seconds, says so, and lets the process end."""
    monitor = RemoteMonitor(silent_root, timeout=0.05)

    with pytest.warns(CallbackDegraded, match=r"Could not reach .*: no answer within 0.05 seconds") as caught:
        play(monitor, SCRIPT)
    assert 1 == len(caught)
    assert all(thread.daemon for thread in threading.enumerate() if isinstance(thread, _Delivery))


def test_a_message_without_answer_does_not_keep_the_next_ones(server, begin):
    """After timeout seconds the messages behind one that is stuck are sent."""
    server.gates[0] = threading.Event()
    told = begin(RemoteMonitor(server.root, timeout=0.05))
    told.on_train_begin()
    for epoch, logs in enumerate(SCRIPT):
        told.on_epoch_end(epoch, logs)
    epochs = [server.posts.get(timeout=60)[2]["epoch"] for _ in range(2)]
    server.gates[0].set()
    wait_for_deliveries()
    told.on_train_end()

    assert {1, 2} == set(epochs)


def test_only_so_many_are_under_way(server, monkeypatch):
    """Where a server is too slow for the epochs, some are left out, with a warning."""
    monkeypatch.setattr(jalon.callbacks.remote_monitor, "MOST_UNDER_WAY", 2)
    server.gates[0] = threading.Event()
    opens = LambdaCallback(on_train_end=lambda logs: server.gates[0].set())

    with pytest.warns(CallbackDegraded, match="2 messages are still under way, epoch 3 is not sent"):
        play([opens, RemoteMonitor(server.root)], SCRIPT)
    assert [0, 1] == [content["epoch"] for content in server.received]


def test_one_process_of_several_sends(server):
    """Where several processes train together, the main one sends alone."""
    monitor, trainer = RemoteMonitor(server.root), FakeTrainer()
    for rank in (0, 1):
        told, run = CallbackList(monitor), Run(trainer, rank=rank, world_size=2)
        told.begin(run, FakeModel(trainer, run), {})
        told.on_train_begin()
        told.on_epoch_end(rank, {"loss": 0.5})
        told.on_train_end()

    assert [{"epoch": 0, "loss": 0.5}] == server.received


def test_outside_a_training_it_waits(server, dead_root):
    """A hook called by hand returns when its message has arrived, or warns that it has not."""
    RemoteMonitor(server.root).on_epoch_end(3)

    assert [{"epoch": 3}] == server.received
    with pytest.warns(UserWarning, match="Could not reach RemoteMonitor root server"):
        RemoteMonitor(dead_root).on_epoch_end(0, logs={"loss": 0.0})


def test_closing_twice():
    """Closing what sends nothing does nothing."""
    monitor = RemoteMonitor()
    monitor.close()
    monitor.close()


@pytest.mark.parametrize("by_hand", [True, False])
@pytest.mark.parametrize(
    ("send_as_json", "form", "json_sent"),
    [
        (False, ({"data": '{"epoch": 0, "loss": 0.0, "val": 1.0}'},), {}),
        (True, (), {"json": {"loss": 0.0, "epoch": 0, "val": 1}}),
    ],
)
def test_requests_is_called_as_keras_calls_it(send_as_json, form, json_sent, by_hand):
    """requests.post gets Keras's arguments and no other, so that tests which replace it pass."""
    monitor = RemoteMonitor(send_as_json=send_as_json)
    logs = {"loss": 0.0, "val": np.float32(1.0)}
    with mock.patch("requests.post") as post:
        monitor.on_epoch_end(0, logs=logs) if by_hand else play(monitor, [logs])

    post.assert_called_once_with(monitor.root + monitor.path, *form, headers=None, **json_sent)


def test_a_stand_in_may_return_nothing(monkeypatch):
    """A function in place of requests.post need not answer."""
    calls = []
    monkeypatch.setattr("requests.post", lambda *args, **kwargs: calls.append(args))
    RemoteMonitor().on_epoch_end(0)

    assert [("http://localhost:9000/publish/epoch/end/", {"data": '{"epoch": 0}'})] == calls


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"root": "localhost:9000"}, r"root must be an address, as 'http://localhost:9000'. Received: root='localhost:9000'."),
        ({"root": None}, r"root must be an address"),
        ({"path": None}, r"path must be a string. Received: path=None."),
        ({"field": 3}, r"field must be a string. Received: field=3."),
        ({"headers": "x: y"}, r"headers must be a mapping of names to values, or None. Received: headers='x: y'."),
        ({"timeout": None}, r"timeout must be a finite number"),
        ({"timeout": 0}, r"timeout must be above 0 seconds. Received: timeout=0."),
    ],
)
def test_a_wrong_argument_is_an_error(arguments, message):
    """What cannot be is refused in the constructor, with what was received."""
    with pytest.raises(ArgumentError, match=f"^RemoteMonitor: {message}"):
        RemoteMonitor(**arguments)


def test_a_missing_package_is_named(monkeypatch):
    """Without requests the constructor says which command installs it."""
    monkeypatch.setattr(jalon._optional.importlib.util, "find_spec", lambda name: None)

    with pytest.raises(MissingPackage, match=r"RemoteMonitor needs 'requests'.*pip install 'jalon\[remote\]'"):
        RemoteMonitor()
