"""Which hooks are reached in Lightning's loops, and when."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from jalon import Callback
from jalon.callbacks import BackupAndRestore, EarlyStopping, Standardize, TimeLimit
from jalon.core.hooks import HOOKS
from jalon.errors import ArgumentError, MissingMetric


class Diary(Callback):
    """Notes which hooks are reached, and what they are told."""

    def __init__(self):
        self.lines = []
        self.logs = []


def _note(name):
    def hook(self, *args):
        self.lines.append(name)
        self.logs.append((name, *args))

    return hook


for _name in HOOKS:
    setattr(Diary, _name, _note(_name))
Diary.close = lambda self: self.lines.append("close")

BATCHES = 6
EPOCH = [
    "on_epoch_begin",
    *["on_train_batch_begin", "on_before_optimizer_step", "on_train_batch_end"] * BATCHES,
    "on_test_begin",
    *["on_test_batch_begin", "on_test_batch_end"] * 2,
    "on_test_end",
    "on_epoch_end",
]


def test_hooks_come_in_the_order_of_the_contract(either_package, train):
    """A fit reaches every hook in its order, the sanity check none, and closes at the end."""
    diary = Diary()

    train(either_package, diary, max_epochs=2, num_sanity_val_steps=2)

    # The last batch is followed by the validation: Lightning's order is Keras's.
    assert ["on_train_begin", *EPOCH, *EPOCH, "on_train_end", "close"] == diary.lines


def test_batches_are_numbered_from_0_in_each_epoch(package, train):
    """Batches are numbered from 0 within their epoch, and steps through the training."""
    diary = Diary()

    conducted = train(package, diary, max_epochs=2)

    assert [*range(BATCHES)] * 2 == [entry[1] for entry in diary.logs if entry[0] == "on_train_batch_end"]
    assert [*range(2 * BATCHES)] == [entry[1] for entry in diary.logs if entry[0] == "on_before_optimizer_step"]
    assert 2 * BATCHES == conducted._session.run.step


def test_params_tell_epochs_and_steps(package, train):
    """``params`` hold how many epochs there are and how many batches an epoch has, and the run how many samples a step takes."""
    diary = Diary()

    train(package, diary, max_epochs=2)

    assert {"verbose": 1, "epochs": 2, "steps": BATCHES} == diary.params
    assert 64 == diary.run.batch_size


def test_several_validations_in_an_epoch(package, train):
    """With ``val_check_interval`` validation is told of each time, and the epoch ends once, with the last of them."""
    diary = Diary()

    train(package, diary, max_epochs=1, val_check_interval=0.5)

    told = Counter(diary.lines)
    validated = [entry[1] for entry in diary.logs if entry[0] == "on_test_end"]
    assert (2, 1) == (told["on_test_end"], told["on_epoch_end"])
    assert validated[-1]["loss"] == diary.logs[diary.lines.index("on_epoch_end")][2]["val_loss"]
    assert validated[0] != validated[1]


def test_limits_and_steps(package, train):
    """``limit_train_batches``, ``limit_val_batches`` and ``max_steps`` are kept; the epoch that is cut short ends."""
    diary = Diary()

    train(package, diary, max_epochs=-1, max_steps=5, limit_train_batches=3, limit_val_batches=1)

    told = Counter(diary.lines)
    assert (5, 2, 1) == (told["on_train_batch_end"], told["on_epoch_end"], told["on_test_batch_end"])
    assert 2 == diary.params["epochs"]


def test_accumulated_gradients(package, train):
    """With accumulated gradients every batch is told of, and the optimizer's steps are fewer."""
    diary = Diary()

    train(package, diary, max_epochs=1, accumulate_grad_batches=3)

    told = Counter(diary.lines)
    assert (BATCHES, BATCHES // 3) == (told["on_train_batch_end"], told["on_before_optimizer_step"])


def test_validate_test_and_predict(package, make_trainer, loaders, make_module):
    """``validate``, ``test`` and ``predict`` reach their hooks without a training, and close."""
    diary, module = Diary(), make_module(package)
    trainer, _ = make_trainer(package, diary)

    measured = [trainer.validate(module, loaders[1], verbose=False), trainer.test(module, loaders[1], verbose=False)]
    told = [entry[1]["loss"] for entry in diary.logs if entry[0] == "on_test_end"]
    outputs = trainer.predict(module, loaders[1])

    test = ["on_test_begin", *["on_test_batch_begin", "on_test_batch_end"] * 2, "on_test_end", "close"]
    predict = ["on_predict_begin", *["on_predict_batch_begin", "on_predict_batch_end"] * 2, "on_predict_end", "close"]
    assert [*test, *test, *predict] == diary.lines
    assert [measured[0][0]["val_loss"], measured[1][0]["test_loss"]] == told
    assert torch.equal(outputs[1], diary.logs[-2][2]["outputs"])


def test_a_fault_in_the_module_reaches_everybody(either_package, train, make_module):
    """An exception in a training step reaches ``on_exception`` and ``close``, and goes up."""
    diary = Diary()

    def training_step(self, batch, batch_idx):
        raise RuntimeError("the data are odd")

    with pytest.raises(RuntimeError, match="the data are odd") as caught:
        train(either_package, diary, module=make_module(either_package, training_step=training_step))
    assert ["on_exception", "close"] == diary.lines[-2:]
    assert caught.value is diary.logs[-1][1]


def test_ctrl_c_reaches_everybody(package, train, make_module):
    """Ctrl-C reaches ``on_exception`` and ``close``; Lightning ends the program."""
    diary = Diary()

    def validation_step(self, batch, batch_idx):
        raise KeyboardInterrupt

    with pytest.raises(SystemExit):
        train(package, diary, module=make_module(package, validation_step=validation_step), num_sanity_val_steps=0)
    assert ["on_exception", "close"] == diary.lines[-2:]
    assert KeyboardInterrupt is type(diary.logs[-1][1])


def test_a_fault_in_a_callback_names_it(package, train):
    """A monitor that nothing reports ends the training, and everybody is told."""
    diary = Diary()

    with pytest.raises(MissingMetric, match="Did you mean 'val_loss'"):
        train(package, [diary, EarlyStopping("val_los")])
    assert ["on_exception", "close"] == diary.lines[-2:]


@pytest.mark.parametrize(
    ("callback", "said"),
    [
        (BackupAndRestore("backup"), "ModelCheckpoint.*save_last=True.*ckpt_path='last'"),
        (Standardize(), "Standardize prepares batches.*on_after_batch_transfer"),
        (TimeLimit(hours=1), "cannot be left and gone on with"),
    ],
)
def test_what_cannot_work_is_refused_at_the_start(package, train, callback, said):
    """What Lightning cannot give is refused before the first batch, with what to do instead."""
    with pytest.raises(ArgumentError, match=said):
        train(package, callback)


def test_a_fast_run_writes_nothing(package, train, tmp_path):
    """With ``fast_dev_run`` those that save, log or stop are left out, as Lightning leaves out its own, and others are told."""
    from jalon.callbacks import CSVLogger, ModelCheckpoint, TensorBoard

    diary = Diary()

    train(package, [diary, CSVLogger("a.csv"), ModelCheckpoint("a.pt"), TensorBoard("tb"), EarlyStopping()], fast_dev_run=True)

    assert [] == list(tmp_path.iterdir())
    assert "on_epoch_end" in diary.lines


def test_the_list_of_lightnings_callbacks_is_as_it_was(package, make_trainer, loaders, make_module):
    """After a fit, and after one that failed, the trainer has the callbacks that it was given."""
    checkpoint = package.callbacks.ModelCheckpoint(dirpath="saved")
    trainer, conducted = make_trainer(package, None, checkpoint, max_epochs=1)

    trainer.fit(make_module(package), *loaders)

    assert [conducted, checkpoint] == trainer.callbacks
