"""Batch logs: read when asked, plain for whoever expects a dict."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from jalon import Callback
from jalon.core.logs import BatchLogs, scalar


class Device:
    """Stands for metrics on a device: counts how often they are read."""

    def __init__(self):
        self.step = 0
        self.reads = 0

    def read(self):
        self.reads += 1
        return {"loss": 1.0 / (1 + self.step)}

    def view(self):
        return BatchLogs(self.read, lambda: self.step)


class Lazy(Callback):
    lazy_logs = True

    def __init__(self, every=1):
        self.every = every
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        if batch % self.every == 0:
            self.seen.append(logs["loss"])


class Ordinary(Callback):
    def __init__(self):
        self.kept = []

    def on_train_batch_end(self, batch, logs=None):
        self.kept.append(logs)


class Altering(Callback):
    critical = False

    def on_train_batch_end(self, batch, logs=None):
        logs.clear()


def train(told, device, batches):
    view = device.view()
    for batch in range(batches):
        device.step = batch
        told.tell_batch("on_train_batch_end", batch, view)


@pytest.fixture
def device():
    return Device()


def test_nothing_is_read_that_nobody_asks_for(begin, device):
    """Where only lazy callbacks listen, a batch whose values none of them asks for costs no read."""
    lazy = Lazy(every=5)

    train(begin(lazy), device, 10)

    assert 2 == device.reads
    assert [1.0, 1 / 6] == lazy.seen


def test_several_readers_of_one_batch_cost_one_read(begin, device):
    """Values are read once a batch, however many callbacks ask for them and however often."""
    train(begin([Lazy(), Lazy(), Lazy()]), device, 3)

    assert 3 == device.reads


def test_one_ordinary_callback_makes_them_a_dict(begin, device):
    """As soon as an ordinary callback listens, logs is a plain dict of floats, read once a batch."""
    ordinary = Ordinary()

    train(begin([Lazy(), ordinary, Lazy()]), device, 2)

    assert [dict, dict] == list(map(type, ordinary.kept))
    assert '{"loss": 1.0}' == json.dumps(ordinary.kept[0])
    assert 2 == device.reads


def test_kept_logs_stay_as_they_were(begin, device):
    """A callback may keep the logs of a batch: later batches don't change them."""
    ordinary = Ordinary()

    train(begin(ordinary), device, 3)

    assert [{"loss": 1.0}, {"loss": 1 / 2}, {"loss": 1 / 3}] == ordinary.kept


def test_an_observer_takes_a_copy(begin, device):
    """What an observer does to the logs of a batch, no other callback sees."""
    ordinary = Ordinary()

    train(begin([Altering(), ordinary]), device, 1)

    assert [{"loss": 1.0}] == ordinary.kept


def test_a_view_reads_like_a_dict(device):
    """A view has the mapping's methods, and shows its values."""
    view = device.view()

    assert "loss" in view
    assert "val_loss" not in view
    assert 1 == len(view)
    assert ["loss"] == list(view)
    assert {"loss": 1.0} == dict(view)
    assert "{'loss': 1.0}" == repr(view)
    assert view.get("val_loss") is None
    assert 1 == device.reads


def test_a_view_moves_on_with_the_metrics(device):
    """A view shows the present values, not those of its first reading."""
    view = device.view()
    before = view["loss"]
    device.step = 1

    assert (1.0, 0.5) == (before, view["loss"])


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (0.5, 0.5),
        (2, 2.0),
        (True, 1.0),
        (np.float32(0.5), 0.5),
        (np.array(0.5), 0.5),
        (np.array([[0.5]]), 0.5),
        (torch.tensor(0.5), 0.5),
        (torch.tensor([0.5], requires_grad=True), 0.5),
        (np.array([0.5, 0.5]), None),
        (torch.zeros(2), None),
        (np.zeros(0), None),
        ("0.5", None),
        (b"1", None),
        (None, None),
        ([0.5], None),
        ({}, None),
        (1j, None),
    ],
    ids=str,
)
def test_a_single_number_becomes_a_float(value, number):
    """A number, or an array or tensor of one element, is read as a float; anything else is not a number."""
    assert number == scalar(value)
    assert type(number) is type(scalar(value))
