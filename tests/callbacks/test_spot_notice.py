"""SpotNotice understands what each cloud answers, and does not trouble training where none does."""

from __future__ import annotations

import json
import queue
import socket
import threading
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from jalon import CallbackList, Run
from jalon.callbacks import BackupAndRestore, LambdaCallback, SpotNotice
from jalon.errors import ArgumentError, CallbackDegraded, Preempted
from jalon.testing import FakeModel, FakeTrainer, play

SCRIPT = [{"loss": 0.5}, {"loss": 0.25}]


class Cloud(ThreadingHTTPServer):
    """Answers as a metadata service does. ``asked`` gets each request; ``answers`` maps its path to status and text.

    A list of answers is given out one after another, the last one again and again.
    """

    daemon_threads = False  # closing waits for the answers

    def __init__(self, answers):
        super().__init__(("127.0.0.1", 0), Handler)
        self.root = f"http://127.0.0.1:{self.server_port}"
        self.answers = answers
        self.asked = queue.Queue()

    def answer(self, path):
        answers = self.answers.get(path, (404, ""))
        if isinstance(answers, list):
            return answers.pop(0) if len(answers) > 1 else answers[0]
        return answers


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        status, text = self.server.answer(self.path)
        missing = next((name for name, value in self.required() if self.headers.get(name) != value), None)
        if missing:
            status, text = 401 if "aws" in missing else 403, ""
        self.server.asked.put((self.command, self.path, missing))
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    do_PUT = do_GET

    def required(self):
        """Yield the headers without which each service refuses to answer."""
        if self.path == "/latest/api/token":
            yield "X-aws-ec2-metadata-token-ttl-seconds", "21600"
        elif self.path.startswith("/latest"):
            yield "X-aws-ec2-metadata-token", "t0"
        elif self.path.startswith("/computeMetadata"):
            yield "Metadata-Flavor", "Google"
        else:
            yield "Metadata", "true"

    def log_message(self, *args):
        pass


@pytest.fixture(autouse=True)
def _a_proxy_that_is_not_there(monkeypatch):
    """The services are reached without a proxy only."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")


@pytest.fixture
def cloud():
    """Return a function that starts a metadata service with some answers."""
    running = []

    def start(answers):
        server = Cloud(answers)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        running.append((server, thread))
        return server

    yield start
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()


class Told(Run):
    """Is a run that says when it is asked to leave."""

    def __init__(self):
        super().__init__(FakeTrainer())
        self.keeps, self.keeper = True, object()
        self.told = threading.Event()

    def leave(self, reason):
        super().leave(reason)
        self.told.set()


def begun(callback):
    """Return the list of callbacks, with a training begun."""
    told, run = CallbackList(callback), Told()
    told.begin(run, FakeModel(run.trainer, run), {"verbose": 1, "epochs": 1, "steps": 1})
    told.on_train_begin()
    return told


def why_left(provider, server):
    """Return for what reason a training is left."""
    callback = SpotNotice(provider, every_seconds=0.001, address=server.root)
    run = begun(callback).run
    run.told.wait()
    callback.close()
    return run.left().why


AWS_TOKEN, AWS_ACTION = "/latest/api/token", "/latest/meta-data/spot/instance-action"
GCP = "/computeMetadata/v1/instance/preempted"
AZURE_NAME = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
AZURE_EVENTS = "/metadata/scheduledevents?api-version=2020-07-01"


def azure_events(*events):
    return 200, json.dumps({"DocumentIncarnation": 1, "Events": list(events)})


def azure_event(kind, *machines, before="Tue, 24 Nov 2026 18:00:00 GMT"):
    return {
        "EventId": "f020ba2e-3bc0-4c40-a10b-86575a9eabd5",
        "EventType": kind,
        "ResourceType": "VirtualMachine",
        "Resources": list(machines),
        "EventStatus": "Scheduled",
        "NotBefore": before,
        "Description": "",
        "EventSource": "Platform",
        "DurationInSeconds": -1,
    }


def test_aws(cloud):
    """404 until there is a notice, asked for with a token that is asked for first."""
    notice = 200, '{"action": "terminate", "time": "2026-11-24T18:00:00Z"}'
    server = cloud({AWS_TOKEN: (200, "t0"), AWS_ACTION: [(404, ""), (404, ""), notice]})

    assert "the cloud takes this machine back at 2026-11-24T18:00:00Z (terminate)" == why_left("aws", server)
    assert [("PUT", AWS_TOKEN, None)] + [("GET", AWS_ACTION, None)] * 3 == list(server.asked.queue)


def test_a_token_of_aws_that_is_too_old_is_renewed(cloud):
    """The token is asked for again when it is refused."""
    notice = 200, '{"action": "stop", "time": "2026-11-24T18:00:00Z"}'
    server = cloud({AWS_TOKEN: [(200, "old"), (200, "t0")], AWS_ACTION: notice})

    assert "the cloud takes this machine back at 2026-11-24T18:00:00Z (stop)" == why_left("aws", server)


def test_gcp(cloud):
    """FALSE until there is a notice, TRUE then."""
    server = cloud({GCP: [(200, "FALSE"), (200, "FALSE"), (200, "TRUE")]})

    assert "the cloud takes this machine back within 30 seconds" == why_left("gcp", server)
    assert [("GET", GCP, None)] * 3 == list(server.asked.queue)


def test_azure(cloud):
    """A list of events, of which those count that take back this machine."""
    others = [azure_event("Preempt", "pool_7"), azure_event("Freeze", "pool_3"), azure_event("Reboot", "pool_3")]
    answers = [azure_events(), azure_events(*others), azure_events(*others, azure_event("Preempt", "pool_4", "pool_3"))]
    server = cloud({AZURE_NAME: (200, "pool_3"), AZURE_EVENTS: answers})

    assert "the cloud takes this machine back at Tue, 24 Nov 2026 18:00:00 GMT" == why_left("azure", server)
    assert [("GET", AZURE_NAME, None)] + [("GET", AZURE_EVENTS, None)] * 3 == list(server.asked.queue)


def test_an_event_of_azure_that_has_begun_has_no_time(cloud):
    """Once it has begun, the event has an empty ``NotBefore``."""
    server = cloud({AZURE_NAME: (200, "vm"), AZURE_EVENTS: azure_events(azure_event("Terminate", "vm", before=""))})

    assert "the cloud takes this machine back now" == why_left("azure", server)


def test_training_is_left_and_gone_on_with(cloud, tmp_path):
    """A notice in the second epoch leaves after the batch; another start trains what is left."""
    server = cloud({GCP: [(200, "TRUE")]})
    keeper = BackupAndRestore(tmp_path, delete_checkpoint=False)
    notice = SpotNotice("gcp", every_seconds=0.001, address=server.root)
    waits = LambdaCallback(on_epoch_begin=lambda epoch, logs: epoch and wait_until_told(waits.run))

    with pytest.raises(Preempted) as caught:
        play([notice, waits, keeper], SCRIPT)
    batches = []
    run = play([LambdaCallback(on_train_batch_end=lambda batch, logs: batches.append(batch)), keeper], SCRIPT)

    assert 143 == caught.value.code
    assert "Training was left: the cloud takes this machine back within 30 seconds. Start the program again to go on." == str(
        caught.value
    )
    assert {"loss": [0.5, 0.25]} == run.history


def wait_until_told(run):
    """Wait for the other thread, which needs this one to wait somewhere."""
    waiting = threading.Event()
    while not run.leave_now:
        waiting.wait(0.001)


def refused_port():
    """Return an address where nobody answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def watch_of(told):
    return next(iter(told.callbacks))._watch


@pytest.mark.parametrize("provider", ["aws", "gcp", "azure"])
def test_where_nobody_answers_it_is_said_once(provider):
    """After three questions in vain nothing is asked any more, and a warning in the training's thread says why."""
    told = begun(SpotNotice(provider, every_seconds=0.001, address=refused_port()))
    watch_of(told).join()

    with pytest.warns(
        CallbackDegraded, match=rf"SpotNotice: nothing at http.* answers as in {provider}: .*refused.*training goes"
    ):
        told.on_epoch_end(0, {})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        told.on_epoch_end(1, {})
        next(iter(told.callbacks)).close()
    assert not told.run.leave_now


@pytest.mark.parametrize(
    ("provider", "answers", "told"),
    [
        ("aws", {AWS_TOKEN: (403, "")}, "403 Forbidden"),
        ("gcp", {GCP: (200, "<html>")}, "its answer is not as documented"),
        ("azure", {AZURE_NAME: (200, "vm"), AZURE_EVENTS: (200, "[]")}, "its answer is not as documented"),
        ("azure", {AZURE_NAME: (200, "vm"), AZURE_EVENTS: (200, '{"Events": [1]}')}, "its answer is not as documented"),
    ],
)
def test_an_answer_that_makes_no_sense_is_none(cloud, provider, answers, told):
    """A machine in another cloud, or one whose service is shut off, is told of in the warning."""
    callbacks = begun(SpotNotice(provider, every_seconds=0.001, address=cloud(answers).root))
    watch_of(callbacks).join()

    with pytest.warns(CallbackDegraded, match=told):
        callbacks.on_epoch_end(0, {})


def test_a_service_that_has_answered_is_asked_for_good(cloud):
    """Faults that come later, however many, are no reason to stop asking."""
    server = cloud({GCP: [(200, "FALSE"), *[(503, "")] * 10, (200, "TRUE")]})

    assert "the cloud takes this machine back within 30 seconds" == why_left("gcp", server)


def test_closing_does_not_wait_for_an_answer():
    """A service that takes a question and never answers holds nothing up, and a later notice changes nothing."""
    with socket.create_server(("127.0.0.1", 0)) as hangs:
        callback = SpotNotice("gcp", address=f"http://127.0.0.1:{hangs.getsockname()[1]}")
        told = begun(callback)
        connection, _ = hangs.accept()
        with connection:
            watch = watch_of(told)
            callback.close()
            callback.close()
            still_asking = watch.is_alive()
            connection.recv(4096)
            connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nTRUE")
        watch.join()

    assert still_asking
    assert not told.run.leave_now


def test_a_training_that_nothing_keeps_is_not_left():
    """It only observes, so that a warning says what is missing, and training goes on."""
    with pytest.warns(CallbackDegraded, match="SpotNotice leaves a training that is gone on with later, and nothing keeps"):
        run = play(SpotNotice("gcp", address=refused_port()), SCRIPT)

    assert {"loss": [0.5, 0.25]} == run.history


@pytest.mark.parametrize(
    ("positional", "named"),
    [
        (("ibm",), {}),
        (("aws",), {"every_seconds": 0}),
        (("aws",), {"every_seconds": "soon"}),
        (("aws",), {"address": "169.254.169.254"}),
    ],
)
def test_wrong_arguments_are_refused(positional, named):
    """What cannot be asked is refused where it is given."""
    with pytest.raises(ArgumentError, match=r"^SpotNotice: "):
        SpotNotice(*positional, **named)
