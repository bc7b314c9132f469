"""``jalon watch --notify`` tells of runs that were killed or hang, which they cannot tell themselves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from jalon.cli._alarms import Alarms
from jalon.errors import ArgumentError
from jalon.sinks.address import Address
from jalon.sinks.messages import Messenger
from jalon.store.process import identity
from jalon.testing import ManualClock

TRAINING = """
import time, torch, jalon
x = torch.zeros(4096, 1)
model = jalon.Model(torch.nn.Linear(1, 1)).compile("sgd", loss="mse")
class Slow(jalon.Callback):
    def on_train_batch_end(self, batch, logs=None):
        time.sleep(0.005)
model.fit(x, x, batch_size=64, epochs=100_000, verbose=0, run_dir={folder!r}, callbacks=[Slow()])
"""


def write(folder, *records, process=None):
    """Write a journal as a run of this process, or of another one, would."""
    folder.mkdir(parents=True, exist_ok=True)
    begin = {"kind": "begin", "time": 1000.0, "resumed": False, "epochs": 10, "process": process or identity()}
    with open(folder / "journal.jsonl", "a") as file:
        file.writelines(json.dumps(record) + "\n" for record in (begin, *records))


def stand(folder, **where):
    """Write where a run stands."""
    (folder / "now.json").write_text(json.dumps(where))


GONE = identity() | {"started": 1}
ELSEWHERE = identity() | {"host": "node7"}
EPOCH = {"kind": "epoch", "time": 1060.0, "epoch": 1, "step": 8, "logs": {"loss": 0.25, "val_loss": 0.5}}
END = {"kind": "end", "time": 1070.0, "outcome": "finished", "reason": None, "epoch": 2, "seconds": 70.0}


@pytest.fixture
def clock():
    clock = ManualClock()
    clock.now = time.time()
    return clock


@pytest.fixture
def alarms(tmp_path, webhook, clock):
    """Return what makes the alarms of a folder."""
    return lambda: Alarms(
        tmp_path, Messenger([Address(webhook.url())], who="jalon watch", pauses=()), stalled_after=60, clock=clock
    )


def looked(alarms):
    """Look once, and wait for the messages."""
    alarms.look()
    alarms._messenger.settle(30)


def test_killed(tmp_path, webhook, alarms):
    """A run whose process is gone without an end is told of, with how far it came and its curves, once."""
    write(tmp_path / "a", EPOCH, process=GONE)
    watch = alarms()
    looked(watch)
    looked(watch)
    post = webhook.next()

    assert ("a: killed", "failure", 1) == (post["title"], post["type"], len(post["attachments"]))
    assert "Its process is gone, and has said nothing of an end.\nepoch 2 of 10, after " in post["message"]
    assert "loss 0.25, val_loss 0.5\nbest val_loss 0.5, in epoch 2" in post["message"]
    assert [] == webhook.titles()


def test_not_again_by_another_watch(tmp_path, webhook, alarms):
    """What one watch has told, the next one does not tell again; of another start of the run it does."""
    write(tmp_path / "a", process=GONE)
    looked(alarms())
    looked(alarms())
    before = webhook.titles()
    with open(tmp_path / "a" / "journal.jsonl", "a") as file:
        file.write(json.dumps({"kind": "begin", "time": 2000.0, "resumed": True, "process": GONE}) + "\n")
    looked(alarms())

    assert (["a: killed"], ["a: killed", "a: killed"]) == (before, webhook.titles())


def test_hanging(tmp_path, webhook, alarms, clock):
    """A run that stands where it stood is told of after a time, once; one that gets on is not."""
    write(tmp_path / "a", EPOCH)
    write(tmp_path / "b", EPOCH)
    watch = alarms()
    for step in range(4):
        stand(tmp_path / "a", epoch=2, step=8, phase="train")
        stand(tmp_path / "b", epoch=2, step=step, phase="train")
        looked(watch)
        clock.advance(40)

    assert ["a: stalled"] == webhook.titles()
    assert "It has not got on for 1:20." in webhook.next()["message"]


def test_silent(tmp_path, webhook, alarms, clock):
    """Of a run on another machine, what can be told is that nothing is heard of it."""
    write(tmp_path / "a", process=ELSEWHERE)
    watch = alarms()
    looked(watch)
    clock.advance(61)
    looked(watch)

    assert "It runs on another machine, and nothing is heard from there." in webhook.next()["message"]


@pytest.mark.parametrize("end", [END, END | {"outcome": "failed"}, END | {"outcome": "left"}])
def test_ended(tmp_path, webhook, alarms, clock, end):
    """A run that has said how it ended is not told of."""
    write(tmp_path / "a", end, process=GONE)
    watch = alarms()
    looked(watch)
    clock.advance(100)
    looked(watch)

    assert [] == webhook.titles()


def test_paused(tmp_path, webhook, alarms, clock):
    """A run that is paused by a command does not hang."""
    write(tmp_path / "a", {"kind": "command", "time": 1001.0, "command": "pause", "outcome": "done"})
    watch = alarms()
    for _ in range(3):
        looked(watch)
        clock.advance(100)

    assert [] == webhook.titles()


def test_old_news(tmp_path, webhook, alarms):
    """What was written last more than an hour before the watch began is not told of."""
    write(tmp_path / "a", process=GONE)
    an_hour_ago = time.time() - 3700
    os.utime(tmp_path / "a" / "journal.jsonl", (an_hour_ago, an_hour_ago))
    looked(alarms())

    assert [] == webhook.titles()


def test_a_message_that_does_not_arrive(tmp_path, webhook, clock):
    """A service that takes nothing is warned of once, without its address."""
    webhook.statuses = [403] * 2
    said = []
    messenger = Messenger([Address(webhook.url("/s3cr3t"))], who="jalon watch", pauses=())
    watch = Alarms(tmp_path, messenger, stalled_after=60, clock=clock, warn=said.append)
    for name in ("a", "b"):
        write(tmp_path / name, process=GONE)
        looked(watch)
    watch.look()

    assert 1 == len(said)
    assert said[0].startswith("A message did not arrive by json://•••: Failed to send JSON")


def test_a_look_that_fails(tmp_path, webhook, alarms, monkeypatch):
    """A look that fails is warned of once, and the next ones follow."""
    said, looks = [], []

    def look():
        looks.append(None)
        if len(looks) == 3:
            watch.over.set()
        raise RuntimeError("strange folder")

    watch = alarms()
    watch._warn = said.append
    monkeypatch.setattr("jalon.cli._alarms._LOOK_SECONDS", 0)
    monkeypatch.setattr(watch, "look", look)
    watch.run()

    assert (3, ["The runs could not be looked at: RuntimeError: strange folder. It is tried again."]) == (len(looks), said)


# ---- real processes ------------------------------------------------------------------------------------------------------


@pytest.fixture
def training(tmp_path):
    """A training of its own process, in the folder ``runs/a``."""
    (tmp_path / "runs").mkdir()
    program = TRAINING.format(folder=str(tmp_path / "runs" / "a"))
    with subprocess.Popen([sys.executable, "-c", program], env=os.environ | {"OMP_NUM_THREADS": "1"}) as process:
        yield process
        process.kill()


@pytest.fixture
def watching(tmp_path, webhook):
    """Return what starts ``jalon watch`` over these runs, with a secret address."""
    started = []

    def start(*options, **variables):
        line = [sys.executable, "-m", "jalon", "watch", str(tmp_path / "runs"), *options]
        process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | variables)
        started.append(process)
        assert process.stdout.readline().startswith("Watching")
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def wait_for_steps(folder):
    """Wait until a training has done some steps."""
    until = time.monotonic() + 60
    while not ((folder / "now.json").exists() and json.loads((folder / "now.json").read_text())["step"] > 20):
        assert time.monotonic() < until, "it does not train"
        time.sleep(0.05)


def test_a_process_that_hangs_and_is_killed(tmp_path, webhook, training, watching):
    """
    Of a training that is stopped with SIGSTOP a message goes out, and another one when it is killed; the address comes from a
    variable and is never printed.
    """
    wait_for_steps(tmp_path / "runs" / "a")
    watch = watching("--stalled-after", "3", JALON_NOTIFY=webhook.url("/s3cr3t"))
    training.send_signal(signal.SIGSTOP)
    stalled = webhook.next()["title"]
    training.send_signal(signal.SIGKILL)
    killed = webhook.next()["title"]
    watch.send_signal(signal.SIGINT)

    assert ("a: stalled", "a: killed") == (stalled, killed)
    assert "s3cr3t" not in watch.communicate(timeout=30)[0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--notify", "slck://t0ken"), "jalon watch: Apprise cannot make anything of an address. Received: slck://•••."),
        (("--notify", "json://x/t0ken", "--stalled-after", "0"), "--stalled-after must be above 0 seconds"),
    ],
)
def test_wrong_options(tmp_path, call, options, said):
    """A wrong address or time is refused before anything is served, and the address is not shown."""
    with pytest.raises(ArgumentError) as refused:
        call("watch", tmp_path, *options)

    assert (True, False) == (said in str(refused.value), "t0ken" in str(refused.value))
