"""WandB is told of a run: by wandb itself, offline, read back from the file that it writes."""

from __future__ import annotations

import json
import struct
import threading
import time

import pytest
import wandb
from wandb.proto import wandb_internal_pb2

import jalon
import jalon._optional
from jalon.callbacks import BackupAndRestore, EarlyStopping, LambdaCallback, WandB
from jalon.core.callback_list import CallbackList
from jalon.core.run import Run
from jalon.errors import ArgumentError, CallbackDegraded, MissingPackage, Preempted
from jalon.testing import FakeModel, FakeTrainer, ManualClock, play

SCRIPT = [{"loss": 0.5, "val_loss": 0.6}, {"loss": 0.25, "val_loss": 0.7}, {"loss": 0.125, "val_loss": 0.8}]
BLOCK = 32768
FILES = "wandb/offline-run-*/*.wandb"


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """The folder into which wandb writes, offline; a process of wandb's own serves all tests, and knows one."""
    folder = tmp_path_factory.mktemp("wandb")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"DIR": folder, "MODE": "offline", "SILENT": "true", "ERROR_REPORTING": "false"}.items():
            patch.setenv(f"WANDB_{name}", str(value))
        wandb.teardown()
        yield folder
        wandb.teardown()


@pytest.fixture(autouse=True)
def files(shared, monkeypatch):
    """Return the files of the runs of this test alone, in the order of their starts."""
    monkeypatch.delenv("WANDB_RUN_ID", raising=False)
    before = set(shared.glob(FILES))
    return lambda: sorted(set(shared.glob(FILES)) - before)


def records(path):
    """Yield the records of a file of wandb's: a log of blocks, as LevelDB's, of messages of protobuf."""
    data, place, whole = path.read_bytes(), 7, b""
    while place + 7 <= len(data):
        if BLOCK - place % BLOCK < 7:
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        if place + 7 + length > len(data):
            return
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # the whole of a record, or its last part
            yield wandb_internal_pb2.Record.FromString(whole)
            whole = b""


class Recorded:
    """Is what wandb's files say, in the order of the starts. Its process writes the last of it after a run has finished."""

    def __init__(self, files, starts=1):
        self.exits = []
        until = time.monotonic() + 30
        while len(self.exits) < starts:
            assert time.monotonic() < until, "wandb does not write the end"
            threading.Event().wait(0.01)
            self.records = [record for path in files() for record in records(path)]
            self.exits = [record.exit.exit_code for record in self.records if record.HasField("exit")]
        self.runs = [record.run for record in self.records if record.HasField("run")]

    @property
    def config(self):
        updates = [*self.runs[-1].config.update, *(one for record in self.records for one in record.config.update)]
        return {update.key or "/".join(update.nested_key): json.loads(update.value_json) for update in updates}

    def rows(self, *names):
        """Return these columns of the history, of the rows that have them all."""
        rows = [
            {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            for record in self.records
            if record.HasField("history")
        ]
        return [tuple(row[name] for name in names) for row in rows if set(names) <= row.keys()]

    @property
    def axes(self):
        """Over what each metric is drawn."""
        return {record.metric.name: record.metric.step_metric for record in self.records if record.HasField("metric")}

    @property
    def summary(self):
        updates = [one for record in self.records if record.HasField("summary") for one in record.summary.update]
        return {update.key or "/".join(update.nested_key): json.loads(update.value_json) for update in updates}


def test_what_is_reported(files):
    """Every epoch is a row with its number, the configuration is the run's, and the run has ended well."""
    play([EarlyStopping(patience=7), WandB("digits", name="wide", config={"width": 64})], SCRIPT)
    said = Recorded(files)

    assert ("digits", "wide", [0]) == (said.runs[0].project, said.runs[0].display_name, said.exits)
    assert [(0, 0.5, 0.6), (1, 0.25, 0.7), (2, 0.125, 0.8)] == said.rows("epoch", "loss", "val_loss")
    assert ("epoch", "epoch") == (said.axes["loss"], said.axes["val_loss"])
    assert (3, 7, 64) == tuple(said.config[name] for name in ("epochs", "EarlyStopping.patience", "width"))
    assert wandb.run is None


def test_batches(files):
    """With update_freq batches are reported besides, over training batches."""
    play(WandB("digits", update_freq=2), SCRIPT[:2], batches=3)
    said = Recorded(files)

    assert [(2, 0.5), (4, 0.25), (6, 0.25)] == said.rows("step", "batch_loss")
    assert ("step", "epoch") == (said.axes["batch_loss"], said.axes["loss"])


@pytest.mark.parametrize(
    ("fault", "code", "reason"),
    [
        (ValueError("no data"), 1, "ValueError: no data"),
        (KeyboardInterrupt(), 255, "Ctrl-C"),
        (Preempted("SIGTERM"), 143, "Training was left: SIGTERM. Start the program again to go on."),
    ],
)
def test_how_it_ended(files, fault, code, reason):
    """How a training ended is the run's exit code, why stands in the summary, and one that is gone on with is preempted."""

    def fail(epoch, logs):
        raise fault

    with pytest.raises(type(fault)):
        play([LambdaCallback(on_epoch_end=fail), WandB("digits")], SCRIPT)
    said = Recorded(files)

    assert ([code], reason) == (said.exits, said.summary["reason"])
    assert isinstance(fault, Preempted) == any(record.HasField("preempting") for record in said.records)


def test_a_run_of_the_user(files):
    """A run that the user has begun is joined, its config is left as it is, and it is left to them."""
    with wandb.init(project="mine", config={"epochs": "many"}) as mine:
        play(WandB("digits"), SCRIPT)
        mine.log({"after": 1})
    said = Recorded(files)

    assert ("mine", [0], "many") == (said.runs[0].project, said.exits, said.config["epochs"])
    assert ([(0,), (1,), (2,)], [(1,)]) == (said.rows("epoch"), said.rows("after"))


def test_gone_on_with(files, tmp_path):
    """After an interruption the same run goes on, and no epoch is missing although epochs went back."""
    cuts = [2]

    def cut(epoch, logs):
        if epoch in cuts:
            raise SystemExit(cuts.remove(epoch))

    def start():
        callbacks = [WandB("digits"), LambdaCallback(on_epoch_end=cut), BackupAndRestore(tmp_path / "backup")]
        callbacks[1].order = 2**63  # after the one that reports
        play(callbacks, [*SCRIPT, {"loss": 0.1, "val_loss": 0.9}])

    with pytest.raises(SystemExit):
        start()
    second = int(time.time())
    while int(time.time()) == second:  # wandb names its folders by the second
        threading.Event().wait(0.01)
    start()
    said = Recorded(files, starts=2)

    assert (1, [1, 0]) == (len({run.run_id for run in said.runs}), said.exits)
    assert [(0, 0.5), (1, 0.25), (2, 0.125), (2, 0.125), (3, 0.1)] == said.rows("epoch", "loss")


def test_other_ranks_are_silent(files):
    """Of several processes the main one reports."""
    run = Run(FakeTrainer(), clock=ManualClock(), rank=1, world_size=2)
    told = CallbackList(WandB("digits"))
    told.begin(run, FakeModel(run.trainer, run), {})
    with told.session():
        told.on_train_begin()
        told.on_epoch_end(0, {"loss": 1.0})
        told.on_train_end()

    assert [] == files()


def test_a_service_that_fails(monkeypatch):
    """A service that can't be reached ends nothing, and is warned of once."""

    def init(**arguments):
        raise wandb.errors.CommError("no network")

    monkeypatch.setattr(wandb, "init", init)
    callback, couriers = WandB("digits"), []
    callbacks = [LambdaCallback(on_train_end=lambda logs: couriers.append(callback._courier)), callback]
    with pytest.warns(CallbackDegraded, match="does not take what the training reports: CommError: no network") as told:
        run = play(callbacks, SCRIPT)
    couriers[0].settle(30)

    assert ([0.5, 0.25, 0.125], 1) == (run.history["loss"], len(told))


def test_a_second_training(files):
    """The same object begins a run of its own for a second training."""
    callback = WandB("digits")
    for _ in range(2):
        play(callback, SCRIPT[:1])

    assert 2 == len({run.run_id for run in Recorded(files, starts=2).runs})


@pytest.mark.parametrize("arguments", [{"mode": "off"}, {"update_freq": 0}, {"timeout": 0}])
def test_wrong_arguments(arguments):
    """A wrong argument is refused where it is given."""
    with pytest.raises(ArgumentError, match=rf"WandB: {next(iter(arguments))} must"):
        WandB(**arguments)


def test_without_wandb(monkeypatch):
    """Without wandb the constructor names the command that installs it."""
    monkeypatch.setattr(jalon._optional.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackage, match=r"pip install 'jalon\[wandb\]'"):
        WandB()
