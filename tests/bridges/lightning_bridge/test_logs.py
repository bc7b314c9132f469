"""What epochs report of what a Lightning module logs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from jalon import Callback

BATCHES = 6


def test_loss_is_the_mean_of_what_training_steps_return(package, train, make_module):
    """A module that logs no training loss has one nevertheless: the mean over the batches."""
    returned = []

    def training_step(self, batch, batch_idx):
        returned.append(self.loss(batch))
        return returned[-1]

    conducted = train(package, None, module=make_module(package, training_step=training_step), max_epochs=2)

    means = [torch.stack(returned[first : first + BATCHES]).mean().item() for first in (0, BATCHES)]
    assert pytest.approx(means, rel=1e-6) == conducted.history.history["loss"]
    assert {"loss", "val_loss"} == conducted.history.history.keys()


def test_accumulated_gradients_do_not_shrink_the_loss(package, train, make_module):
    """Lightning divides the loss by the batches of a step; what is reported is the loss that the step returned."""
    returned = []

    def training_step(self, batch, batch_idx):
        returned.append(self.loss(batch))
        return returned[-1]

    module = make_module(package, training_step=training_step)
    conducted = train(package, None, module=module, max_epochs=1, accumulate_grad_batches=2)

    assert pytest.approx(torch.stack(returned).mean().item(), rel=1e-6) == conducted.history.history["loss"][0]


def test_train_loss_is_loss_too(package, train, make_module):
    """Metrics keep their names, and ``train_loss`` is ``loss`` besides."""

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        return loss

    history = train(package, None, module=make_module(package, training_step=training_step)).history.history

    assert history["train_loss"] == history["loss"]
    assert history["train_loss_epoch"] == history["loss"]
    assert history["train_loss_step"] != history["loss"]


def test_a_logged_loss_is_left_alone(package, train, make_module):
    """``loss`` is what the module logs under that name, if it does."""

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.log_dict({"loss": 1.0, "train_loss": 2.0}, on_epoch=True, on_step=False)
        return loss

    assert [1.0] * 3 == train(package, None, module=make_module(package, training_step=training_step)).history.history["loss"]


def test_an_epoch_without_validation_reports_none(package, train):
    """Lightning keeps the metrics of an earlier validation; an epoch that had none does not report them."""
    rows = train(package, None, max_epochs=4, check_val_every_n_epoch=2).history.rows

    assert [False, True, False, True] == ["val_loss" in row for row in rows]
    assert rows[1]["val_loss"] != rows[3]["val_loss"]


def test_what_the_module_logs_at_the_epochs_end_is_there(package, train, make_module):
    """A metric that the module logs in its ``on_train_epoch_end`` belongs to that epoch."""

    def on_train_epoch_end(self):
        self.log("done", float(self.current_epoch))

    conducted = train(package, None, module=make_module(package, on_train_epoch_end=on_train_epoch_end))

    assert [0.0, 1.0, 2.0] == conducted.history.history["done"]


def test_batches_are_told_the_mean_so_far(package, train, make_module):
    """A batch's logs hold the mean loss of the epoch so far, and what the module logs by steps."""
    seen = []

    class Watcher(Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(logs)

    def training_step(self, batch, batch_idx):
        self.log("scale", float(batch_idx))
        return self.loss(batch)

    conducted = train(package, Watcher(), module=make_module(package, training_step=training_step), max_epochs=1)

    assert [float(number) for number in range(BATCHES)] == [logs["scale"] for logs in seen]
    assert conducted.history.history["loss"] == [seen[-1]["loss"]]


def test_validation_metrics_come_last(package, train):
    """In a row the training's metrics stand before the validation's."""
    rows = train(package, None, max_epochs=1, val_check_interval=0.5).history.rows

    assert ["loss", "val_loss"] == list(rows[0])


def test_a_module_without_validation(package, make_trainer, loaders, make_module):
    """Without validation data no ``val_`` metric is reported, nor waited for."""
    from jalon.callbacks import CSVLogger

    trainer, conducted = make_trainer(package, CSVLogger("log.csv"), max_epochs=1)

    trainer.fit(make_module(package), loaders[0])

    assert {"loss"} == conducted.history.history.keys()
    assert "epoch,loss" == Path("log.csv").read_text().splitlines()[0]
