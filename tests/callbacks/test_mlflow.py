"""MLflow is told of a run: by MLflow's own client, in a store of files."""

from __future__ import annotations

import math
import random
import re
import socket
import threading

import mlflow
import numpy as np
import pytest
import torch

import jalon
import jalon._optional
from jalon.callbacks import BackupAndRestore, EarlyStopping, LambdaCallback, MLflow
from jalon.core.callback_list import CallbackList
from jalon.core.run import Run
from jalon.errors import ArgumentError, CallbackDegraded, MissingPackage, Preempted
from jalon.testing import FakeModel, FakeTrainer, ManualClock, play

SCRIPT = [{"loss": 0.5, "val_loss": 0.6}, {"loss": 0.25, "val_loss": 0.7}, {"loss": 0.125, "val_loss": 0.8}]


@pytest.fixture(autouse=True)
def _store(monkeypatch, tmp_path):
    """MLflow keeps files in a folder, which it asks to be allowed."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID"):  # MLflow sets them
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    mlflow.set_tracking_uri(str(tmp_path / "mlruns"))
    yield
    for thread in threading.enumerate():  # before MLflow is to ask again and again, which it does for minutes
        if thread.name == "jalon-mlflow":
            thread.join(30)


@pytest.fixture
def client(tmp_path):
    return mlflow.MlflowClient(tracking_uri=str(tmp_path / "mlruns"))


def only_run(client, experiment="digits"):
    (found,) = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    return found


def curve(client, run, name):
    return [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]


def test_what_is_reported(client):
    """Every epoch's metrics are there with the epoch as step, the configuration as parameters, and the run is finished."""
    callbacks = [EarlyStopping(patience=7), MLflow("digits", run_name="wide", params={"width": 64})]
    play(callbacks, SCRIPT, clock=ManualClock(1000.0))
    run = only_run(client)

    assert ("wide", "FINISHED") == (run.info.run_name, run.info.status)
    assert [(0, 0.5), (1, 0.25), (2, 0.125)] == curve(client, run, "loss")
    assert [(0, 0.6), (1, 0.7), (2, 0.8)] == curve(client, run, "val_loss")
    assert {1_000_000} == {point.timestamp for point in client.get_metric_history(run.info.run_id, "loss")}
    params = run.data.params
    assert ("3", "7", "64") == (params["epochs"], params["EarlyStopping.patience"], params["width"])
    assert jalon.__version__ == params["versions.jalon"]


def test_what_fit_reports(client):
    """A training by fit tells its optimizer, its batches and its learning rate."""
    x = np.zeros((8, 2), "float32")
    model = jalon.Model(torch.nn.Linear(2, 1)).compile(torch.optim.SGD, loss="mse")
    model.fit(x, x[:, :1], epochs=2, batch_size=4, verbose=0, callbacks=[MLflow("digits")])
    run = only_run(client)

    assert ("SGD", "2", "Linear") == tuple(run.data.params[name] for name in ("optimizer", "steps", "module"))
    assert [0, 1] == [step for step, _ in curve(client, run, "learning_rate")]


def test_batches(client):
    """With update_freq batches are reported besides, by training batches."""
    play(MLflow("digits", update_freq=2), SCRIPT[:2], batches=3)

    assert [(2, 0.5), (4, 0.25), (6, 0.25)] == curve(client, only_run(client), "batch_loss")


def test_not_a_number(client):
    """A loss that is NaN is reported as that."""
    play(MLflow("digits"), [{"loss": math.nan}])
    ((_, value),) = curve(client, only_run(client), "loss")

    assert math.isnan(value)


@pytest.mark.parametrize(
    ("fault", "status", "reason"),
    [
        (ValueError("no data"), "FAILED", "ValueError: no data"),
        (KeyboardInterrupt(), "KILLED", "Ctrl-C"),
        (Preempted("SIGTERM"), "KILLED", "Training was left: SIGTERM. Start the program again to go on."),
    ],
)
def test_how_it_ended(client, fault, status, reason):
    """The run's status says how it ended, and a tag why."""

    def fail(epoch, logs):
        raise fault

    with pytest.raises(type(fault)):
        play([LambdaCallback(on_epoch_end=fail), MLflow("digits")], SCRIPT)
    run = only_run(client)

    assert (status, reason) == (run.info.status, run.data.tags["jalon.reason"])


def test_a_stop_is_an_end(client):
    """A training that a callback stops is finished, and the reason is a tag."""
    play([EarlyStopping("val_loss", patience=1), MLflow("digits")], SCRIPT)
    run = only_run(client)

    assert ("FINISHED", "no improvement in val_loss for 1 epoch") == (run.info.status, run.data.tags["jalon.reason"])


def test_a_run_of_the_user(client):
    """A run that the user has begun is joined, and left to them."""
    with mlflow.start_run(experiment_id="0") as active:
        play(MLflow("digits"), SCRIPT)
        status = client.get_run(active.info.run_id).info.status

        assert mlflow.active_run() is not None
    assert "RUNNING" == status
    assert 3 == len(curve(client, active, "loss"))
    assert client.get_experiment_by_name("digits") is None


def test_the_experiment_of_the_user(client):
    """Without an experiment it is the one that the user has set."""
    mlflow.set_experiment("chosen")
    play(MLflow(), SCRIPT)

    assert "FINISHED" == only_run(client, "chosen").info.status


def test_gone_on_with(client, tmp_path):
    """After an interruption the same run goes on: no point is missing, and none is there twice."""

    cuts = [2]

    def cut(epoch, logs):
        if epoch in cuts:
            raise SystemExit(cuts.remove(epoch))

    def start():
        callbacks = [LambdaCallback(on_epoch_begin=cut), MLflow("digits"), BackupAndRestore(tmp_path / "backup")]
        play(callbacks, [*SCRIPT, {"loss": 0.1, "val_loss": 0.9}])

    with pytest.raises(SystemExit):
        start()
    broken_off = only_run(client)
    start()
    run = only_run(client)

    assert ("FAILED", "FINISHED") == (broken_off.info.status, run.info.status)
    assert [(0, 0.5), (1, 0.25), (2, 0.125), (3, 0.1)] == curve(client, run, "loss")


def test_a_point_again(client):
    """A point that was reported before an interruption is not reported again, unless it has changed."""
    first = MLflow("digits")
    play(first, SCRIPT)
    state = {"MLflow": first.state_dict()}
    play_resumed(MLflow("digits"), [(1, {"loss": 0.25}), (2, {"loss": 0.2}), (3, {"loss": 0.1})], state)

    assert [(0, 0.5), (1, 0.25), (2, 0.125), (2, 0.2), (3, 0.1)] == curve(client, only_run(client), "loss")


def play_resumed(callback, epochs, state):
    """Go on with a training."""
    run = Run(FakeTrainer(), clock=ManualClock(), epochs=9)
    run.resumed = True
    told = CallbackList(callback)
    told.begin(run, FakeModel(run.trainer, run), {})
    with told.session():
        told.on_train_begin()
        told.load_state_dict(state)
        for epoch, logs in epochs:
            told.on_epoch_end(epoch, logs)
        told.on_train_end()


def test_other_ranks_are_silent(client):
    """Of several processes the main one reports."""
    run = Run(FakeTrainer(), clock=ManualClock(), rank=1, world_size=2)
    told = CallbackList(MLflow("digits"))
    told.begin(run, FakeModel(run.trainer, run), {})
    with told.session():
        told.on_train_begin()
        told.on_epoch_end(0, {"loss": 1.0})
        told.on_train_end()

    assert client.get_experiment_by_name("digits") is None


def test_a_dead_server():
    """A server that is not there ends nothing; it is warned of once, without the password in its address."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with pytest.warns(CallbackDegraded) as warned:
        run = play(MLflow("digits", tracking_uri=f"http://me:hunter2@127.0.0.1:{port}"), SCRIPT)

    assert ([0.5, 0.25, 0.125], 1) == (run.history["loss"], len(warned))
    assert "MLflow: the service does not take what the training reports: MlflowException" in str(warned[0].message)
    assert "hunter2" not in str(warned[0].message)


@pytest.mark.filterwarnings("ignore::jalon.errors.CallbackDegraded")
def test_random_numbers_are_left_alone(client, monkeypatch):
    """Neither a run without a name nor a server that has to be asked again changes what a training draws."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    client.create_experiment("digits")  # for the number of which MLflow may draw
    before = random.getstate()
    play([MLflow("digits"), MLflow(tracking_uri=f"http://127.0.0.1:{port}")], SCRIPT)

    assert before == random.getstate()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", only_run(client).info.run_name)


def test_a_silent_server():
    """A server that does not answer is waited for at the beginning and at the end, a limited time each."""
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.warns(CallbackDegraded, match=r"no answer within 0\.05 seconds"),
    ):
        run = play(MLflow(tracking_uri=f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=0.05), SCRIPT)

    assert 3 == len(run.history["loss"])


def test_an_outage(client, monkeypatch):
    """What the server does not take is kept, and reported when it does again."""
    true = mlflow.MlflowClient.log_batch
    refusals = [OSError("down"), OSError("down")]

    def log_batch(self, run_id, metrics=(), params=()):
        if metrics and refusals:
            raise refusals.pop()
        true(self, run_id, metrics=metrics, params=params)

    monkeypatch.setattr(mlflow.MlflowClient, "log_batch", log_batch)
    monkeypatch.setattr(MLflow, "on_epoch_end", settled(MLflow.on_epoch_end))
    with pytest.warns(CallbackDegraded, match="OSError: down"):
        play(MLflow("digits"), SCRIPT)

    assert [(0, 0.5), (1, 0.25), (2, 0.125)] == curve(client, only_run(client), "loss")


def test_an_outage_at_the_beginning(client, monkeypatch):
    """A run that was made, and of which the settings could not be told yet, is gone on with: there is no second one."""
    true = mlflow.MlflowClient.log_batch
    refusals = [OSError("down")]

    def log_batch(self, run_id, metrics=(), params=()):
        if params and refusals:
            raise refusals.pop()
        true(self, run_id, metrics=metrics, params=params)

    monkeypatch.setattr(mlflow.MlflowClient, "log_batch", log_batch)
    with pytest.warns(CallbackDegraded, match="OSError: down"):
        play(MLflow("digits", params={"rows": 8}), SCRIPT)

    run = only_run(client)
    assert "8" == run.data.params["rows"]
    assert [(0, 0.5), (1, 0.25), (2, 0.125)] == curve(client, run, "loss")


def test_names_that_mlflow_refuses(client):
    """Two callbacks of a class, and a metric with a sign in its name, are told of under names that MLflow takes."""
    play(
        [EarlyStopping(patience=7), EarlyStopping(patience=8), MLflow("digits", params={"long": "x" * 9000})],
        [{"top@5": 0.5, "val_loss": 1.0}],
    )

    run = only_run(client)
    assert ("7", "8") == (run.data.params["EarlyStopping.patience"], run.data.params["EarlyStopping_2.patience"])
    assert 6000 == len(run.data.params["long"])
    assert 0.5 == run.data.metrics["top_5"]


def settled(hook):
    """Return a hook after which all is reported, or has failed to be."""

    def run_hook(self, *arguments):
        hook(self, *arguments)
        self._courier.settle(30)

    return run_hook


def test_a_second_training(client):
    """The same object begins a run of its own for a second training."""
    callback = MLflow("digits")
    for _ in range(2):
        play(callback, SCRIPT[:1])

    assert 2 == len(client.search_runs([client.get_experiment_by_name("digits").experiment_id]))


def test_a_dry_run_reports_nothing(client):
    """A dry run reports nothing."""
    x = np.zeros((8, 2), "float32")
    model = jalon.Model(torch.nn.Linear(2, 1)).compile("sgd", loss="mse")
    model.fit(x, x[:, :1], epochs=1, verbose=0, dry_run=True, callbacks=[MLflow("digits")])

    assert client.get_experiment_by_name("digits") is None


@pytest.mark.parametrize("arguments", [{"experiment": ""}, {"update_freq": 0}, {"timeout": 0}])
def test_wrong_arguments(arguments):
    """A wrong argument is refused where it is given."""
    with pytest.raises(ArgumentError, match=rf"MLflow: {next(iter(arguments))} must"):
        MLflow(**arguments)


def test_without_mlflow(monkeypatch):
    """Without MLflow the constructor names the command that installs it."""
    monkeypatch.setattr(jalon._optional.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackage, match=r"pip install 'jalon\[mlflow\]'"):
        MLflow()
