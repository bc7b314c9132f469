"""Notify tells how a training goes, and nobody who reads along learns an address."""

from __future__ import annotations

import base64
import copy
import importlib.util
import json
import logging
import math
import pickle
import queue
import socket
import traceback
from contextlib import suppress
from email import message_from_bytes

import numpy as np
import pytest
import torch
from aiosmtpd.controller import Controller

import jalon
import jalon._optional
from jalon.callbacks import BackupAndRestore, EarlyStopping, Journal, LambdaCallback, ModelCheckpoint, Notify
from jalon.callbacks._stall_watch import StallWatch
from jalon.core.callback_list import CallbackList
from jalon.core.run import Run
from jalon.errors import ArgumentError, CallbackDegraded, MissingMetric, MissingPackage, Preempted, UnknownName
from jalon.testing import FakeModel, FakeTrainer, ManualClock, play

SCRIPT = [{"loss": 0.5, "val_loss": 0.6}, {"loss": 0.25, "val_loss": 0.4}, {"loss": 0.125, "val_loss": 0.5}]
TOKEN = "xapp-1-s3cr3t-t0ken"
PASSWORD = "hunter2"


@pytest.fixture(autouse=True)
def _patient(monkeypatch):
    """The machine may be busy: what arrives is waited for."""
    monkeypatch.setitem(Notify.__init__.__kwdefaults__, "timeout", 60.0)


@pytest.fixture
def secret_url(webhook):
    return f"json://me:{PASSWORD}@127.0.0.1:{webhook.server_port}/services/{TOKEN}"


@pytest.fixture
def quick(monkeypatch):
    """Further attempts follow at once."""
    monkeypatch.setattr(Notify, "pauses", (0.0, 0.0))


@pytest.fixture
def dead_url():
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    return f"json://127.0.0.1:{port}/services/{TOKEN}"


def failing(epoch, logs):
    """Fail in the third epoch."""
    if epoch == 2:
        raise ValueError("no more data")


# ---- the events ----------------------------------------------------------------------------------------------------------


def test_the_end(webhook):
    """At the end a message says how far the training came, what the last epoch reported and the best that was compared."""
    play([EarlyStopping(patience=5), Notify(webhook.url(), title="digits", picture=False)], SCRIPT, clock=ManualClock())
    post = webhook.next()

    assert ("digits: finished", "success", []) == (post["title"], post["type"], post["attachments"])
    assert [
        f"epoch 3 of 3, after 0s, on {socket.gethostname()}",
        "loss 0.125, val_loss 0.5",
        "best val_loss 0.4, in epoch 2",
    ] == post["message"].splitlines()


def test_a_stop(webhook):
    """A training that a callback stops is told of as stopped, with the reason."""
    play([EarlyStopping("loss", mode="max", patience=1), Notify(webhook.url())], SCRIPT)
    post = webhook.next()

    assert (True, "warning") == (post["title"].endswith(": stopped"), post["type"])
    assert "no improvement in loss for 1 epoch" == post["message"].splitlines()[0]
    assert "epoch 2 of 3" in post["message"]


def test_where_the_best_is_kept(webhook, tmp_path):
    """A message names the file in which the best is kept."""
    play([ModelCheckpoint(tmp_path / "best.json", save_best_only=True), Notify(webhook.url())], SCRIPT)

    assert f"best val_loss 0.4, in epoch 2, kept in {tmp_path / 'best.json'}" == webhook.next()["message"].splitlines()[-1]


def test_an_error(webhook):
    """A training that dies by an exception tells of it, and the exception goes on its way."""
    with pytest.raises(ValueError, match="no more data"):
        play([LambdaCallback(on_epoch_begin=failing), Notify(webhook.url())], SCRIPT)
    post = webhook.next()

    assert (True, "failure") == (post["title"].endswith(": failed"), post["type"])
    assert "ValueError: no more data" == post["message"].splitlines()[0]
    assert "epoch 2 of 3" in post["message"]


def test_an_error_before_the_beginning(webhook):
    """A training that another callback ends before it has begun is told of too."""

    def fail(logs):
        raise RuntimeError("no disk")

    with pytest.raises(RuntimeError):
        play([LambdaCallback(on_train_begin=fail), Notify(webhook.url())], SCRIPT)

    assert "RuntimeError: no disk\nno epoch of 3 done" in webhook.next()["message"]


@pytest.mark.parametrize(("fault", "said"), [(KeyboardInterrupt(), "Ctrl-C"), (Preempted("SIGTERM"), "SIGTERM")])
def test_left(webhook, fault, said):
    """Ctrl-C and a signal to leave are a stop, not an error."""

    def leave(epoch, logs):
        raise fault

    with pytest.raises(type(fault)):
        play([LambdaCallback(on_epoch_end=leave), Notify(webhook.url(), on=("stop",))], SCRIPT)
    post = webhook.next()

    assert (True, True) == (post["title"].endswith(": left"), said in post["message"].splitlines()[0])


def test_only_what_was_asked_for(webhook):
    """Nothing is sent of an event that was not asked for."""
    play([EarlyStopping("loss", mode="max", patience=1), Notify(webhook.url(), on="end")], SCRIPT)
    play(Notify(webhook.url(), on=("stop", "error")), SCRIPT)

    assert [] == webhook.titles()


def test_the_best(webhook):
    """A better best is told at most once in a time, the newest then; the first value beats nothing."""
    clock = ManualClock()
    losses = [8.0, 7.0, 6.0, 5.0, 5.5, 4.0]
    tick = LambdaCallback(on_epoch_begin=lambda epoch, logs: clock.advance(40))
    play([tick, Notify(webhook.url(), on="best", monitor="loss", best_every=100)], [{"loss": x} for x in losses], clock=clock)

    assert ["best loss 7", "best loss 5"] == [title.partition(": ")[2] for title in webhook.titles()]


def test_not_a_number(webhook):
    """A loss that is NaN is told of once, at the epoch's end at the latest."""
    nan = {"loss": math.nan}
    play(Notify(webhook.url(), on="nan"), [{"loss": 1.0}, nan, nan], batch_logs=lambda epoch, batch: {"loss": 1.0})
    post = webhook.next()

    assert ("loss is nan", "at the end of epoch 2") == (post["title"].partition(": ")[2], post["message"].splitlines()[0])
    assert [] == webhook.titles()


def test_not_a_number_within_an_epoch(webhook):
    """A loss that is NaN is told of within an epoch, where some seconds have passed."""
    clock = ManualClock()
    tick = LambdaCallback(on_train_batch_begin=lambda batch, logs: clock.advance(4))
    play(
        [tick, Notify(webhook.url(), on="nan")],
        [{"loss": math.nan}],
        batches=6,
        batch_logs=lambda epoch, batch: {"loss": math.nan if batch >= 1 else 1.0},
        clock=clock,
    )

    assert "in epoch 1, batch 4" == webhook.next()["message"].splitlines()[0]


def test_a_stall(webhook, monkeypatch):
    """A training in which no batch ends for a time is told of once, by the clock of the run."""
    monkeypatch.setattr(StallWatch.__init__, "__kwdefaults__", {"every_seconds": 0.001})
    clock, posts = ManualClock(), []

    def hang(epoch, logs):
        while epoch == 1 and not posts:
            clock.advance(100)
            with suppress(queue.Empty):
                posts.append(webhook.posts.get(timeout=0.01))

    play([LambdaCallback(on_epoch_begin=hang), Notify(webhook.url(), on="stalled")], SCRIPT, clock=clock)

    assert posts[0]["message"].startswith("no batch and no epoch has ended for 1")
    assert [] == webhook.titles()


def test_a_stall_is_told_again_after_going_on():
    """What stands still is told of once, and again when it stands still after it has moved on; in a pause never."""
    clock, told, counts = ManualClock(), [], [1, 1, 1, 1, 2, 2, 2, None, None]
    watch = StallWatch(10, count=lambda: counts.pop(0), tell=told.append, clock=clock)
    while counts:
        watch.look()
        clock.advance(6)

    assert [12.0, 12.0] == told


def test_a_pause_is_no_stall(webhook, tmp_path, monkeypatch):
    """A training that is paused by a command has not stalled."""
    notify = Notify(webhook.url(), on="stalled")
    run = Run(FakeTrainer(), clock=ManualClock())
    told = CallbackList(notify)
    told.begin(run, FakeModel(run.trainer, run), {})
    with told.session():
        told.on_train_begin()
        progress = []
        for command in ("pause", "note", "resume"):
            run.record("command", command=command, outcome="done")
            progress.append(notify._progress())

    assert [None, None, 0] == progress


# ---- what it costs -------------------------------------------------------------------------------------------------------


def test_training_does_not_wait(webhook, other_webhook):
    """While a service does not answer training goes on, and a message to another one arrives."""
    other_webhook.gate.clear()
    seen = []

    def look(epoch, logs):
        if epoch == 2:
            seen.append(webhook.next()["title"].partition(": ")[2])

    notify = Notify(other_webhook.url(), webhook.url(), on="best", monitor="loss", best_every=0, timeout=0.05)
    with pytest.warns(CallbackDegraded, match=r"json://•••: no answer within 0\.05 seconds"):
        play([LambdaCallback(on_epoch_begin=look), notify], SCRIPT)

    assert (["best loss 0.25"], 0) == (seen, other_webhook.posts.qsize())


def test_a_dead_service(dead_url, quick):
    """A message that does not arrive is warned of once and ends nothing; the warning holds no secret."""
    notify = Notify(dead_url, on=("end", "best"), monitor="loss", best_every=0)
    with pytest.warns(CallbackDegraded) as warned:
        run = play(notify, SCRIPT)

    assert ([0.5, 0.25, 0.125], 1) == (run.history["loss"], len(warned))
    assert "Notify: a message did not arrive by json://•••: A Connection error occurred" in str(warned[0].message)
    assert TOKEN not in str(warned[0].message)


def test_further_attempts(webhook, quick):
    """A message that is not taken is tried three times, the last time without its picture."""
    webhook.statuses = [503, 503]
    play(Notify(webhook.url()), SCRIPT)
    posts = list(webhook.posts.queue)

    assert [1, 1, 0] == [len(post["attachments"]) for post in posts]


def test_a_refusal_is_named(webhook, quick):
    """What a service answers stands in the warning."""
    webhook.statuses = [403, 403, 403]
    with pytest.warns(CallbackDegraded, match="error=403"):
        play(Notify(webhook.url()), SCRIPT)


def test_too_many_messages(webhook):
    """What waits for a service is bounded, and what is lost is said."""
    webhook.gate.clear()
    script = [{"loss": float(x)} for x in range(40, 0, -1)]
    open_gate = LambdaCallback(on_train_end=lambda logs: webhook.gate.set())
    with pytest.warns(CallbackDegraded, match="16 messages are still waiting"):
        play([open_gate, Notify(webhook.url(), on="best", monitor="loss", best_every=0, picture=False)], script)

    assert webhook.posts.qsize() in (16, 17)  # one may have been under way


def test_other_ranks_are_silent(webhook):
    """Of several processes the main one sends."""
    notify, trainer = Notify(webhook.url()), FakeTrainer()
    run = Run(trainer, clock=ManualClock(), rank=1, world_size=2)
    told = CallbackList(notify)
    told.begin(run, FakeModel(trainer, run), {})
    with suppress(ValueError), told.session():
        told.on_train_begin()
        told.on_epoch_end(0, {"loss": 1.0})
        told.on_train_end()
        raise ValueError

    assert [] == webhook.titles()


# ---- what is sent --------------------------------------------------------------------------------------------------------


def test_the_picture(webhook):
    """A service that takes pictures gets the curves, as PNG."""
    play(Notify(webhook.url()), SCRIPT)
    (picture,) = webhook.next()["attachments"]

    assert ("curves.png", "image/png") == (picture["filename"], picture["mimetype"])
    assert b"\x89PNG" == base64.b64decode(picture["base64"])[:4]


def test_without_matplotlib(webhook, monkeypatch, capsys):
    """Where matplotlib is missing messages go without the picture, which is said once."""
    there = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None if name == "matplotlib" else there(name, *rest))
    play(Notify(webhook.url(), on=("end", "best"), monitor="loss"), SCRIPT)

    assert [[], []] == [post["attachments"] for post in webhook.posts.queue]
    assert 1 == capsys.readouterr().out.count("pip install 'jalon[plot]'")


def test_a_picture_that_cannot_be_drawn(webhook, monkeypatch):
    """A message goes out although its picture cannot be drawn."""
    monkeypatch.setattr("jalon.callbacks._plot.png", lambda *arguments: 1 / 0)
    play(Notify(webhook.url()), SCRIPT)

    assert [] == webhook.next()["attachments"]


def test_mail():
    """A mail goes out by SMTP, with the picture of the curves."""
    mails = []

    class Keep:
        async def handle_DATA(self, server, session, envelope):
            mails.append(envelope)
            return "250 OK"

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = Controller(Keep(), hostname="127.0.0.1", port=port)
    server.start()
    try:
        url = f"mailto://127.0.0.1:{port}?from=jalon@example.org&to=me@example.org&mode=insecure"
        play(Notify(url, title="digits"), SCRIPT)
    finally:
        server.stop()
    mail = message_from_bytes(mails[0].content)
    parts = [part.get_content_type() for part in mail.walk()]

    assert (["me@example.org"], "digits: finished") == (mails[0].rcpt_tos, mail["Subject"])
    assert "image/png" in parts


def test_the_name(webhook, tmp_path):
    """By default the run is called by its folder."""
    x = np.zeros((8, 2), "float32")
    model = jalon.Model(torch.nn.Linear(2, 1)).compile("sgd", loss="mse")
    model.fit(x, x[:, :1], epochs=1, verbose=0, run_dir=tmp_path / "third", callbacks=[Notify(webhook.url())])

    assert "third: finished" == webhook.next()["title"]


# ---- secrets -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def logged():
    """What is logged, everything, by every logger."""
    records = []

    class Keep(logging.Handler):
        def emit(self, record):
            records.append(record.name + record.getMessage() + str(record.exc_info))

    root, keep = logging.getLogger(), Keep(level=1)
    before = root.level
    root.addHandler(keep)
    root.setLevel(1)
    yield records
    root.removeHandler(keep)
    root.setLevel(before)


def test_the_log_holds_no_secret(secret_url, dead_url, webhook, quick, logged):
    """With everything logged, neither what arrives nor what does not leaves an address or a password in the log."""
    with pytest.warns(CallbackDegraded):
        play(Notify(secret_url, dead_url), SCRIPT)
    logging.getLogger("urllib3.connectionpool").debug("by somebody else")

    assert 1 == webhook.posts.qsize()
    assert ["urllib3.connectionpoolby somebody elseNone"] == [text for text in logged if "somebody" in text]
    assert [] == [text for text in logged if TOKEN in text or PASSWORD in text]


def test_others_log_meanwhile(webhook, logged):
    """While messages are on their way, what another thread logs by the same loggers is logged."""
    webhook.gate.clear()

    def log(logs):
        webhook.reached.wait(30)
        logging.getLogger("apprise").warning("of another")
        webhook.gate.set()

    notify = Notify(webhook.url(), on=("best",), monitor="loss")
    play([LambdaCallback(on_train_end=log), notify], SCRIPT)

    assert 1 == len([text for text in logged if "of another" in text])


def test_an_exception_s_text_holds_no_secret(webhook, secret_url, tmp_path):
    """What an exception says of an address is not sent."""

    def post(epoch, logs):
        raise OSError(f"HTTPSConnectionPool: no way to /services/{TOKEN} as me with {PASSWORD}")

    with pytest.raises(OSError, match="no way"):
        play([LambdaCallback(on_epoch_end=post), Notify(secret_url)], SCRIPT)
    text = webhook.next()["message"]

    assert "no way to /services/" not in text
    assert (False, False, True) == (TOKEN in text, PASSWORD in text, "•••" in text)


def test_nothing_that_is_shown_or_kept_holds_a_secret(secret_url, tmp_path):
    """Neither the object's text, its state, the journal, the backup nor what is refused shows an address."""
    notify = Notify(secret_url)
    play([Journal(tmp_path / "run"), BackupAndRestore(tmp_path / "run" / "backup"), notify], SCRIPT)
    texts = [repr(notify), repr(vars(notify)), json.dumps(notify.state_dict())]
    texts += [path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file()]

    assert [] == [text for text in texts if TOKEN in text or PASSWORD in text]


@pytest.mark.parametrize("url", [f"slck://{TOKEN}", f"slack://{TOKEN}", TOKEN])
def test_a_wrong_address(url, logged):
    """An address that Apprise cannot use is refused at once, by its scheme alone."""
    with pytest.raises(ArgumentError) as refused:
        Notify(url)
    said = "".join(traceback.format_exception(refused.value))

    assert url.partition("://")[0] + "://•••" in said or url == TOKEN
    assert TOKEN not in said.replace(f'"{url}"', "")
    assert [] == [text for text in logged if TOKEN in text]


# ---- arguments and state -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"on": ("end", "eror")}, UnknownName, "Did you mean 'error'"),
        ({"timeout": 0}, ArgumentError, "timeout must be above 0 seconds"),
        ({"stalled_after": -1}, ArgumentError, "stalled_after must be above 0 seconds"),
        ({"best_every": "often"}, ArgumentError, "best_every must be a finite number"),
        ({"mode": "least"}, ArgumentError, "mode must be 'auto', 'min' or 'max'"),
    ],
)
def test_wrong_arguments(arguments, error, said):
    """A wrong argument is refused where it is given."""
    with pytest.raises(error, match=said):
        Notify("json://localhost/hook", **arguments)


def test_no_address():
    """Without an address there is nobody to tell."""
    with pytest.raises(ArgumentError, match="addresses of the services come first"):
        Notify(on="end")


def test_without_apprise(monkeypatch):
    """Without Apprise the constructor names the command that installs it."""
    monkeypatch.setattr(jalon._optional.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackage, match=r"pip install 'jalon\[notify\]'"):
        Notify("json://localhost/hook")


def test_a_monitor_that_nothing_reports():
    """A best of a metric that the training does not report is refused before it begins."""
    with pytest.raises(MissingMetric, match="val_acuracy"):
        play(Notify("json://localhost/hook", on="best", monitor="val_acuracy"), SCRIPT)


def test_gone_on_with(webhook):
    """A training that is gone on with tells neither the NaN of before again, nor a best that was beaten before."""
    notify = Notify(webhook.url(), on=("best", "nan"), monitor="loss")
    play(notify, [{"loss": 0.5}, {"loss": 0.25}, {"loss": math.nan}])
    before = len(webhook.titles())
    again = Notify(webhook.url(), on=("best", "nan"), monitor="loss")
    state = json.loads(json.dumps({"Notify": notify.state_dict()}))
    play(again, [{"loss": math.nan}, {"loss": 0.3}, {"loss": 0.2}], first_epoch=3, state=state)

    assert (2, ["best loss 0.2"]) == (before, [title.partition(": ")[2] for title in webhook.titles()[2:]])


def test_a_second_training(webhook):
    """The same object serves a second training as if it were new."""
    notify = Notify(webhook.url(), on="best", monitor="loss", best_every=0)
    for _ in range(2):
        play(notify, SCRIPT[:2])

    assert 2 == webhook.posts.qsize()


def test_a_dry_run_sends_nothing(webhook):
    """A dry run sends nothing, and the object can be copied for it, and pickled."""
    notify = pickle.loads(pickle.dumps(copy.deepcopy(Notify(webhook.url()))))
    x = np.zeros((8, 2), "float32")
    model = jalon.Model(torch.nn.Linear(2, 1)).compile("sgd", loss="mse")
    model.fit(x, x[:, :1], epochs=1, verbose=0, dry_run=True, callbacks=[notify])

    assert [] == webhook.titles()
