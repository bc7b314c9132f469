"""Journal and Steering in a real training: what is recorded, what commands do, and that nothing of it is lost by a kill."""

from __future__ import annotations

import threading
import time

import pytest
import torch

import jalon
from jalon.callbacks import Callback, EarlyStopping, ReduceLROnPlateau, Steering
from jalon.errors import ArgumentError
from jalon.store.control import answer_to, send
from jalon.store.journal import records
from jalon.testing import play


@pytest.fixture(autouse=True)
def _looks_at_each_batch(monkeypatch):
    """Look for commands after every batch, whatever the time, and record every batch."""
    monkeypatch.setattr(Steering, "every_seconds", 0.0)
    monkeypatch.setattr(Steering, "rest", 0)
    monkeypatch.setattr(jalon.callbacks.Journal, "every_seconds", 0.0)


class PowerCut(BaseException):
    """Ends a training as a kill does: nobody in the process counts it as done."""


class Sends(Callback):
    """Sends commands at given steps, as somebody else would, and dies where it is told to."""

    def __init__(self, folder, commands, dies_at=None):
        self.folder, self.commands, self.dies_at, self.sent = folder, commands, dies_at, []

    def on_train_batch_begin(self, batch, logs=None):
        for name, arguments in self.commands.get(self.run.step, ()):
            self.sent.append(send(self.folder, name, arguments, time=1.0 + len(self.sent)))
        if self.run.step == self.dies_at:
            raise PowerCut("power cut")


def train(folder, *callbacks, epochs=4):
    torch.manual_seed(0)
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
    model = jalon.Model(torch.nn.Linear(4, 1)).compile(torch.optim.SGD, loss="mse")
    model.optimizer.learning_rate = 0.1
    data = {"validation_data": (x, x[:, :1]), "batch_size": 16, "epochs": epochs, "verbose": 0, "seed": 3}
    model.fit(x, x[:, :1], callbacks=list(callbacks), run_dir=folder, **data)
    return model


def of_kind(folder, kind):
    return [record for record in records(folder / "journal.jsonl") if record["kind"] == kind]


def test_what_is_recorded(tmp_path):
    """The journal holds who trains what, each epoch, each save, each rate, the stop and the end."""
    saver = jalon.callbacks.ModelCheckpoint(tmp_path / "best.safetensors", save_best_only=True, background=False)
    model = train(tmp_path, saver, ReduceLROnPlateau(patience=0, min_delta=9.0), EarlyStopping(min_delta=9.0, patience=2))
    begin, end = of_kind(tmp_path, "begin")[0], of_kind(tmp_path, "end")[0]
    epochs = of_kind(tmp_path, "epoch")

    assert ([0, 1, 2], [4, 8, 12]) == ([one["epoch"] for one in epochs], [one["step"] for one in epochs])
    assert model.history.history["val_loss"] == [one["logs"]["val_loss"] for one in epochs]
    assert {"epochs": 4, "steps": 4, "resumed": False}.items() <= begin.items()
    assert {"monitor": "val_loss", "patience": 2}.items() <= begin["callbacks"]["EarlyStopping"].items()
    assert 2 == begin["steerable"]["EarlyStopping.patience"]["value"]
    assert str(tmp_path / "best.safetensors") == of_kind(tmp_path, "save")[0]["path"]
    assert pytest.approx((0.1, 0.01)) == tuple(of_kind(tmp_path, "rate")[0][name] for name in ("was", "value"))
    assert ("stopped", "no improvement in val_loss for 2 epochs") == (end["outcome"], end["reason"])
    assert 12 == len(of_kind(tmp_path, "batch"))


def test_batches_are_thinned(tmp_path):
    """However long a training is, few of its batches are recorded: the later, the fewer."""
    journal = jalon.callbacks.Journal(tmp_path)
    journal.every_step_until = 100
    play(journal, [{"loss": 1.0}], batches=10_000)

    assert 400 < len(of_kind(tmp_path, "batch")) < 600


def test_an_exception_is_recorded(tmp_path):
    """A training that fails leaves a journal that says so."""
    with pytest.raises(PowerCut):
        train(tmp_path, Sends(tmp_path, {}, dies_at=5))

    assert [("PowerCut", "power cut")] == [(one["error"], one["text"]) for one in of_kind(tmp_path, "error")]
    assert ["failed"] == [one["outcome"] for one in of_kind(tmp_path, "end")]


def test_set_stop_note_save(tmp_path):
    """Commands are carried out after the batch in hand, answered and recorded; what cannot be done is refused in words."""
    stopper = EarlyStopping(patience=9)
    sends = Sends(
        tmp_path,
        {
            2: [("set", {"name": "learning_rate", "value": 0.05}), ("note", {"text": "<b>slower</b>"})],
            3: [("set", {"name": "EarlyStopping.patience", "value": 3}), ("set", {"name": "EarlyStopping.patiense", "value": 3})],
            4: [("set", {"name": "EarlyStopping.patience", "value": 1.5}), ("set", {"name": "learning_rate", "value": -1})],
            5: [("save", {}), ("resume", {}), ("stop", {"at": "batch"})],
        },
    )
    model = train(tmp_path, sends, stopper)
    answers = [answer_to(tmp_path, command) for command in sends.sent]

    assert pytest.approx(0.05) == model.optimizer.learning_rate
    assert 3 == stopper.patience
    assert (1, 6, "a command asked for it") == (model._run.epoch, model._run.step, model._run.stop_reason)
    assert [
        "learning_rate was 0.1 and is 0.05, after step 3.",
        "Noted.",
        "EarlyStopping.patience was 9 and is 3, after step 4.",
        "set: unknown number 'EarlyStopping.patiense'. Did you mean 'EarlyStopping.patience'? "
        "Known: EarlyStopping.patience, learning_rate.",
        "set: EarlyStopping.patience must be a whole number. Received: 1.5.",
        "set: learning_rate must be 0 or more. Received: -1.",
        "Saved in epoch 2, after step 6.",
        "It was not paused.",
        "Stopped in epoch 2, after step 6.",
    ] == [answer.text for answer in answers]
    assert ["done"] * 3 + ["refused"] * 3 + ["done", "refused", "done"] == [answer.outcome for answer in answers]
    assert ["<b>slower</b>"] == [note["text"] for note in of_kind(tmp_path, "note")]
    assert 9 == len(of_kind(tmp_path, "command"))


def test_stop_at_the_end_of_the_epoch(tmp_path):
    """A stop for the end of the epoch lets its batches and its validation run."""
    model = train(tmp_path, Sends(tmp_path, {5: [("stop", {"at": "epoch"})]}))

    assert (1, 8) == (model._run.epoch, model._run.step)
    assert 2 == len(model.history.history["val_loss"])


def test_paused_until_it_goes_on(tmp_path, monkeypatch):
    """A training that is paused takes no step until it is told to go on, and takes other commands meanwhile."""
    sends, seen = Sends(tmp_path, {2: [("pause", {})]}), []

    def go_on():
        while not sends.sent or answer_to(tmp_path, sends.sent[0]) is None:
            time.sleep(0.005)
        note = send(tmp_path, "note", {"text": "x"}, time=5.0)
        while answer_to(tmp_path, note) is None:
            time.sleep(0.005)
        seen.append(len(of_kind(tmp_path, "batch")))
        send(tmp_path, "resume", {}, time=6.0)

    other = threading.Thread(target=go_on)
    other.start()
    model = train(tmp_path, sends)
    other.join(30)

    assert [2] == seen or [3] == seen
    assert 16 == model._run.step
    assert ["pause", "note", "resume"] == [one["command"] for one in of_kind(tmp_path, "command")]


@pytest.mark.parametrize("dies_at", [7, 9, 14])
def test_steered_and_killed(tmp_path, dies_at):
    """A training that was steered, and dies, is steered again at the same steps: it ends with the same weights, bit for bit."""
    commands = {
        5: [("set", {"name": "learning_rate", "value": 0.02}), ("set", {"name": "ReduceLROnPlateau.factor", "value": 0.9})],
        13: [("set", {"name": "learning_rate", "value": 0.07})],
    }
    expected = train(tmp_path / "a", Sends(tmp_path / "a", commands), ReduceLROnPlateau(patience=1, min_delta=9.0))
    with pytest.raises(PowerCut):
        train(tmp_path / "b", Sends(tmp_path / "b", commands, dies_at), ReduceLROnPlateau(patience=1, min_delta=9.0))
    later = {step: given for step, given in commands.items() if step >= dies_at}
    model = train(tmp_path / "b", Sends(tmp_path / "b", later), ReduceLROnPlateau(patience=1, min_delta=9.0))

    assert all(map(torch.equal, expected.module.parameters(), model.module.parameters()))
    assert expected.history.history == model.history.history
    assert of_kind(tmp_path / "b", "begin")[1]["resumed"]


def test_a_command_for_a_dead_process(tmp_path):
    """A command that nobody took any more is refused by the next start, and not carried out."""
    command = send(tmp_path, "stop", {"at": "batch"}, time=1.0)
    model = train(tmp_path)

    assert 16 == model._run.step
    assert "The process that it was meant for has ended." == answer_to(tmp_path, command).text


def test_steered_and_not_steered_are_the_same(tmp_path):
    """A training whose folder keeps a journal and takes commands ends with the weights of one without a folder, bit for bit."""
    a, b = train(tmp_path), train(None)

    assert all(map(torch.equal, a.module.parameters(), b.module.parameters()))


def test_live_without_a_folder():
    """A page without a folder to show is refused."""
    model = jalon.Model(torch.nn.Linear(4, 1)).compile("sgd", loss="mse")

    with pytest.raises(ArgumentError, match="Pass run_dir, as run_dir='runs/a'"):
        model.fit(torch.zeros(4, 4), torch.zeros(4, 1), live=True)
