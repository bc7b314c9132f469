"""What callbacks decide under transformers' Trainer, and what epochs report."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

import jalon
from jalon import Callback
from jalon.callbacks import (
    CSVLogger,
    EarlyStopping,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    TensorBoard,
    TerminateOnNaN,
)
from jalon.engines.torch.formats import read_checkpoint


class Noting(Trainer):
    """Notes the loss of each batch."""

    losses: list[torch.Tensor]

    def training_step(self, *args, **kwargs):
        self.losses.append(super().training_step(*args, **kwargs))
        return self.losses[-1]


class Rates(Callback):
    """Notes the rate of each step."""

    def __init__(self):
        self.seen = []

    def on_before_optimizer_step(self, step):
        self.seen += self.trainer.learning_rates()[:1]


def record_steps(trainer):
    """Return a list that gets the rate that is on the optimizer in each step."""
    rates = []
    create = trainer.create_optimizer

    def created(*args, **kwargs):
        optimizer = create(*args, **kwargs)

        class Recording(type(optimizer)):
            def step(self, closure=None):
                rates.append(self.param_groups[0]["lr"])
                return super().step(closure)

        trainer.optimizer = Recording(optimizer.param_groups)
        return trainer.optimizer

    trainer.create_optimizer = created
    return rates


# ---- what epochs report ---------------------------------------------------------------------------------------------------


def test_loss_is_the_mean_over_the_steps(make_trainer):
    """An epoch's loss is the mean over its optimizer steps, whenever the trainer logs."""
    trainer, conducted = make_trainer(None, kind=Noting, num_train_epochs=2, logging_steps=4)
    trainer.losses = []

    trainer.train()

    means = torch.stack(trainer.losses).reshape(2, 6).mean(1).tolist()
    assert pytest.approx(means, rel=1e-6) == conducted.history.history["loss"]


def test_accumulated_gradients_do_not_shrink_the_loss(make_trainer):
    """With accumulated gradients the loss is still the mean over the data."""
    trainer, conducted = make_trainer(None, kind=Noting, num_train_epochs=1, gradient_accumulation_steps=3, learning_rate=0.0)
    trainer.losses = []

    trainer.train()

    assert pytest.approx(torch.stack(trainer.losses).sum().item() / 2, rel=1e-6) == conducted.history.history["loss"][0]


def test_nan_is_seen_although_the_trainer_hides_it(make_trainer):
    """The trainer leaves losses that are not numbers out of its logs; ``TerminateOnNaN`` ends the training at them."""

    class Odd(Trainer):
        def training_step(self, *args, **kwargs):
            loss = super().training_step(*args, **kwargs)
            return loss * float("nan") if self.state.global_step == 3 else loss

    trainer, conducted = make_trainer(TerminateOnNaN(), kind=Odd)

    trainer.train()

    assert 4 == conducted._session.run.step
    assert "NaN" in str(conducted.history.stop_reason) or "nan" in str(conducted.history.stop_reason)


def test_metrics_of_the_evaluation_are_known_as_val(make_trainer):
    """What ``compute_metrics`` returns is there with ``val_``, and what times the evaluation is left out."""
    trainer, conducted = make_trainer(None, num_train_epochs=1)
    trainer.compute_metrics = lambda found: {"accuracy": float((found.predictions.argmax(1) == found.label_ids).mean())}

    trainer.train()

    assert {"loss", "val_loss", "val_accuracy"} == conducted.history.history.keys()
    assert trainer.state.log_history[0]["eval_accuracy"] == conducted.history.history["val_accuracy"][0]


def test_what_is_logged_is_reported(make_trainer):
    """What a trainer of one's own logs is reported at the epoch's end, its last value."""

    class Logging(Trainer):
        def compute_loss(self, *args, **kwargs):
            self.log({"scale": float(self.state.global_step)})
            return super().compute_loss(*args, **kwargs)

    trainer, conducted = make_trainer(None, kind=Logging, num_train_epochs=2, eval_strategy="no", logging_steps=1)

    trainer.train()

    assert [5.0, 11.0] == conducted.history.history["scale"]
    assert {"loss", "scale"} == conducted.history.history.keys()


# ---- to stop ---------------------------------------------------------------------------------------------------------------


def test_early_stopping(train):
    """Training ends when the metric has stopped improving, and the history says why."""
    conducted = train(EarlyStopping("val_loss", min_delta=100, patience=2), num_train_epochs=9)

    assert 3 == len(conducted.history.epoch)
    assert "no improvement in val_loss for 2 epochs" == conducted.history.stop_reason


def test_a_stop_at_a_batch_ends_the_epoch(train):
    """A stop asked for at a batch ends the epoch after it; the evaluation and the epoch's end follow."""

    class Stops(Callback):
        def on_train_batch_end(self, batch, logs=None):
            if (self.run.epoch, batch) == (1, 2):
                self.model.stop_training = True

    conducted = train(Stops(), num_train_epochs=9)

    assert 6 + 3 == conducted._session.run.step
    assert [True, True] == ["val_loss" in row for row in conducted.history.rows]
    assert "Stops set model.stop_training" == conducted.history.stop_reason


def test_the_best_weights_come_back(train, model):
    """``restore_best_weights`` puts back what the best epoch ended with."""
    kept = []

    class Keeps(Callback):
        def on_epoch_end(self, epoch, logs=None):
            kept.append(model.net[0].weight.detach().clone())

    train([Keeps(), EarlyStopping(mode="max", patience=2, restore_best_weights=True)], num_train_epochs=9)

    assert 3 == len(kept)
    assert torch.equal(kept[0], model.net[0].weight)


# ---- the rate --------------------------------------------------------------------------------------------------------------


def test_a_change_holds_although_the_trainer_steps_a_scheduler(make_trainer):
    """A reduced rate is a multiplier on what the trainer's scheduler says; the scheduler sees its own rates alone."""
    reduce = ReduceLROnPlateau("loss", factor=0.1, patience=1, min_delta=100)
    trainer, _ = make_trainer(reduce, num_train_epochs=3, learning_rate=0.18)
    rates = record_steps(trainer)

    trainer.train()

    linear = [0.18 * (1 - step / 18) for step in range(18)]
    assert pytest.approx([*linear[:12], *(rate / 10 for rate in linear[12:])]) == rates
    assert [0.0, 0.0] == trainer.lr_scheduler.get_last_lr()


def test_a_rate_that_is_set_holds_under_a_constant_one(make_trainer):
    """Under a scheduler that says the same all the time, the rate is, to the bit, the one that was set."""
    rates, steps = Rates(), 0.01
    trainer, conducted = make_trainer(
        [LearningRateScheduler(lambda epoch: steps / (epoch + 3)), rates], lr_scheduler_type="constant"
    )
    on_the_optimizer = record_steps(trainer)

    trainer.train()

    assert [rate for epoch in range(3) for rate in [steps / (epoch + 3)] * 6] == on_the_optimizer == rates.seen
    assert [steps / 3, steps / 4, steps / 5] == conducted.history.history["learning_rate"]


def test_after_training_the_optimizer_is_the_trainers_alone(make_trainer):
    """What was put on the optimizer for the multiplier is taken away at the end."""
    trainer, _ = make_trainer(LearningRateScheduler(lambda epoch: 0.5))

    trainer.train()

    bare = trainer.optimizer.optimizer
    assert 0 == len(bare._optimizer_step_pre_hooks) + len(bare._optimizer_step_post_hooks)


# ---- what is saved ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".safetensors", ".h5", ".pt"])
def test_a_file_holds_the_model(train, model, suffix):
    """A file that ``ModelCheckpoint`` writes holds the model's weights under their names, and the optimizer's state."""
    train(ModelCheckpoint(f"saved/{{epoch}}{suffix}"), num_train_epochs=2)

    found = read_checkpoint(Path(f"saved/2{suffix}"))
    assert all(torch.equal(value, found.weights[name]) for name, value in model.state_dict().items())
    assert found.optimizer is not None


def test_observers_change_nothing(train, model):
    """A training with callbacks that only observe and save has the weights of one without, bit for bit."""
    beginning = {name: value.clone() for name, value in model.state_dict().items()}
    train([CSVLogger("log.csv"), TensorBoard("tb", histogram_freq=1), ModelCheckpoint("a.pt")])
    watched = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(beginning)

    train(None)

    assert all(torch.equal(value, watched[name]) for name, value in model.state_dict().items())


def test_a_model_of_transformers(tmp_path, monkeypatch):
    """A model of transformers, made from its configuration, is trained, saved and put back."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    config = BertConfig(vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16)
    model = BertForSequenceClassification(config)
    words = torch.randint(0, 40, (64, 8))
    data = [{"input_ids": line, "labels": line[0] % 2} for line in words]
    conducted = jalon.bridges.transformers([ModelCheckpoint("best.safetensors", save_best_only=True), TensorBoard("tb")])
    args = TrainingArguments(
        "out", num_train_epochs=2, eval_strategy="epoch", save_strategy="no", disable_tqdm=True, report_to=[], use_cpu=True
    )

    Trainer(model, args, train_dataset=data[:48], eval_dataset=data[48:], callbacks=[conducted]).train()

    assert conducted.history.best.epoch == read_checkpoint(Path("best.safetensors")).about["epoch"]
    assert model.state_dict().keys() == read_checkpoint(Path("best.safetensors")).weights.keys()
