"""Every rule, by a case in which it speaks and one in which it is silent."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import jalon
from jalon.callbacks import (
    BackupAndRestore,
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    MonitorCallback,
    ReduceLROnPlateau,
    SpotNotice,
    SwapEMAWeights,
    TensorBoard,
    TimeLimit,
)
from jalon.check.checking import in_order, look
from jalon.check.rule import RULES
from jalon.check.rules import FAMILIES, load
from jalon.check.setup import Setup
from jalon.core.loop_support import LoopSupport
from jalon.testing import FakeTrainer

load()

METRICS = frozenset({"loss", "accuracy", "val_loss", "val_accuracy"})
NO_STEPS = LoopSupport(
    "this loop", hooks={"on_epoch_end": "an epoch ends"}, logs={}, lacks={"on_train_end": "Ask at an epoch's end."}
)


class Counts(jalon.Callback):
    """Counts epochs, and keeps that to itself."""

    def __init__(self) -> None:
        self.epochs = 0

    def on_epoch_end(self, epoch, logs=None):
        self.epochs += 1


class Remembers(Counts):
    """Counts epochs, and says so."""

    def state_dict(self):
        return {"epochs": self.epochs}

    def load_state_dict(self, state):
        self.epochs = state["epochs"]


class AddsF1(jalon.Callback):
    """Adds a metric of its own."""

    def on_epoch_end(self, epoch, logs=None):
        logs["val_f1"] = 0.5


class ReadsLogs(jalon.Callback):
    """Reads a value after each batch."""

    def on_train_batch_end(self, batch, logs=None):
        self.last = logs["loss"]


class ReadsNothing(jalon.Callback):
    """Only counts batches."""

    def on_train_batch_end(self, batch, logs=None):
        self.batch = batch


class Misspelt(jalon.Callback):
    """Means an epoch's end."""

    def on_epochs_end(self, epoch, logs=None): ...


class BareLogs(jalon.Callback):
    """Leaves out the default."""

    def on_epoch_end(self, epoch, logs): ...


class TooFew(jalon.Callback):
    """Forgets the epoch's number."""

    def on_epoch_end(self, logs=None): ...


class Listens(jalon.Callback):
    """Waits for the end."""

    def on_train_end(self, logs=None): ...


class Unfinished(MonitorCallback):
    """Does not call its base's constructor."""

    def __init__(self) -> None:
        self.seen = 0


class Finished(MonitorCallback):
    """Does."""

    def __init__(self) -> None:
        super().__init__("loss")


LightningCallback = type("Callback", (), {"__module__": "lightning.pytorch.callbacks"})
ForLightning = type("ForLightning", (LightningCallback,), {"on_train_epoch_end": lambda self, trainer, module: None})


@dataclass
class Case:
    """Is a mistake, and the same without it.

    Args:
        wrong: Returns callbacks of which the rule speaks.
        right: Returns callbacks of which it does not.
        says: What the finding says, in part.
        facts: What is known of the training, in both.
        right_facts: What is known where nothing is wrong; by default the same.
    """

    wrong: Callable[[], Any]
    right: Callable[[], Any]
    says: str
    facts: dict[str, Any]
    right_facts: dict[str, Any] | None = None


def case(
    wrong: Callable[[], Any], right: Callable[[], Any], says: str, right_facts: dict[str, Any] | None = None, **facts: Any
) -> Case:
    """Return a case."""
    return Case(wrong, right, says, facts, right_facts)


def best(path: str = "best.json", **options: Any) -> ModelCheckpoint:
    """Return a callback that saves the best model."""
    return ModelCheckpoint(path, save_best_only=True, **options)


def there(path: str, callback: Callable[[], Any], content: bytes = b"1,2\n") -> Callable[[], Any]:
    """Return what makes a callback after a file was written, as by an earlier training."""

    def make() -> Any:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(content)
        return callback()

    return make


def twice(callback: Any) -> list[Any]:
    """Return a list in which an object stands twice."""
    return [callback, callback]


CASES = {
    "JAL101": case(
        lambda: EarlyStopping("val_los"), lambda: EarlyStopping("val_loss"), "Did you mean 'val_loss'?", metrics=METRICS
    ),
    "JAL102": case(
        lambda: EarlyStopping("val_loss"),
        lambda: EarlyStopping("loss"),
        "monitor 'loss'",
        metrics=frozenset({"loss"}),
        validates=False,
    ),
    "JAL103": case(
        lambda: EarlyStopping("skill"),
        lambda: EarlyStopping("skill", mode="max"),
        "Pass mode='min' or mode='max'.",
        metrics=METRICS | {"skill"},
        trainer=FakeTrainer(metrics={"loss": "min"}),
    ),
    "JAL104": case(
        lambda: best(monitor="val_accuracy", mode="min"), lambda: best(monitor="val_accuracy", mode="max"), "mode='max'"
    ),
    "JAL105": case(
        lambda: EarlyStopping("loss"), lambda: EarlyStopping("val_loss"), "Monitor 'val_loss'", metrics=METRICS, validates=True
    ),
    "JAL106": case(
        lambda: best(monitor="loss", save_freq=100), lambda: best(monitor="loss"), "in the middle of epochs", metrics=METRICS
    ),
    "JAL107": case(
        lambda: EarlyStopping("val_accuracy", min_delta=1), lambda: EarlyStopping("val_loss", min_delta=1), "min_delta=0.01"
    ),
    "JAL108": case(
        lambda: EarlyStopping("val_loss", min_delta=0.5),
        lambda: EarlyStopping("val_loss", min_delta=0.02),
        "0.01 in the recorded training",
        history={"val_loss": [0.50, 0.49, 0.48, 0.47]},
    ),
    "JAL109": case(
        lambda: best(monitor="val_accuracy", initial_value_threshold=90),
        lambda: best(monitor="val_accuracy", initial_value_threshold=0.9),
        "as 0.9",
    ),
    "JAL110": case(
        lambda: [EarlyStopping("score", mode="max"), ReduceLROnPlateau("score", mode="min")],
        lambda: [EarlyStopping("score", mode="max"), ReduceLROnPlateau("score", mode="max")],
        "the same mode",
    ),
    "JAL201": case(
        lambda: ReduceLROnPlateau(min_lr=0.001), lambda: ReduceLROnPlateau(min_lr=1e-5), "min_lr=1e-05", rates=[0.001]
    ),
    "JAL202": case(lambda: EarlyStopping(patience=9), lambda: EarlyStopping(patience=8), "10 epochs early", epochs=10),
    "JAL203": case(lambda: ReduceLROnPlateau(patience=9), lambda: ReduceLROnPlateau(patience=8), "within 10 epochs", epochs=10),
    "JAL204": case(
        lambda: [ReduceLROnPlateau(patience=10), EarlyStopping(patience=5)],
        lambda: [ReduceLROnPlateau(patience=4), EarlyStopping(patience=5)],
        "after 5",
    ),
    "JAL205": case(
        lambda: EarlyStopping(start_from_epoch=10), lambda: EarlyStopping(start_from_epoch=2), "never looks", epochs=10
    ),
    "JAL206": case(
        lambda: ReduceLROnPlateau(patience=3, cooldown=4), lambda: ReduceLROnPlateau(patience=3, cooldown=3), "3 or less"
    ),
    "JAL207": case(
        lambda: [LearningRateScheduler(lambda epoch: 0.1), ReduceLROnPlateau()],
        lambda: [LearningRateScheduler(lambda epoch, rate: rate), ReduceLROnPlateau()],
        "sets anew",
    ),
    "JAL208": case(
        lambda: [ReduceLROnPlateau(), ReduceLROnPlateau()],
        lambda: [ReduceLROnPlateau(), ReduceLROnPlateau("loss")],
        "both change",
    ),
    "JAL209": case(lambda: EarlyStopping(), lambda: EarlyStopping(patience=1), "patience=5"),
    "JAL210": case(
        lambda: EarlyStopping(patience=5),
        lambda: [EarlyStopping(patience=5), best()],
        "5 epochs after the best one",
    ),
    "JAL211": case(
        lambda: EarlyStopping(patience=5),
        lambda: EarlyStopping(patience=5),
        "2 of 10",
        {"epochs": 10},
        epochs=10,
        validation_freq=5,
    ),
    "JAL212": case(lambda: ReduceLROnPlateau(factor=0), lambda: ReduceLROnPlateau(factor=0, min_lr=1e-4), "factor=0.2"),
    "JAL301": case(
        lambda: ModelCheckpoint("{epoch}.ckpt"), lambda: ModelCheckpoint("{epoch}.json"), ".json", trainer=FakeTrainer()
    ),
    "JAL302": case(
        there("a_file", lambda: CSVLogger("a_file/log.csv")), lambda: CSVLogger("folder/log.csv"), "a_file' is not a folder"
    ),
    "JAL303": case(
        lambda: [CSVLogger("a.csv"), CSVLogger("./a.csv")], lambda: [CSVLogger("a.csv"), CSVLogger("b.csv")], "a path of its own"
    ),
    "JAL304": case(
        lambda: ModelCheckpoint("{epoch}-{val_acc:.2f}.h5"),
        lambda: ModelCheckpoint("{epoch}-{val_accuracy:.2f}.h5"),
        "Did you mean 'val_accuracy'?",
        metrics=METRICS,
    ),
    "JAL305": case(lambda: ModelCheckpoint("model.h5"), lambda: ModelCheckpoint("{epoch}.h5"), "the last model is there"),
    "JAL306": case(
        lambda: ModelCheckpoint("{val_loss:.2f}.h5"), lambda: ModelCheckpoint("{epoch}-{val_loss:.2f}.h5"), "of two equal ones"
    ),
    "JAL307": case(
        lambda: ModelCheckpoint("{epoch}.json"),
        lambda: ModelCheckpoint("{epoch}.json", keep_last=3),
        "keep_last=3",
        epochs=10**15,
        trainer=FakeTrainer(),
    ),
    "JAL308": case(
        lambda: ModelCheckpoint("{epoch}.h5", keep_last=3),
        lambda: ModelCheckpoint("{epoch}.h5", keep_last=3, keep_best=1),
        "3 saves old",
    ),
    "JAL309": case(
        lambda: [BackupAndRestore("backup"), CSVLogger("backup/log.csv")],
        lambda: [BackupAndRestore("run/backup"), CSVLogger("run/log.csv")],
        "a folder of its own",
    ),
    "JAL310": case(
        there("log.csv", lambda: CSVLogger("log.csv")), lambda: CSVLogger("log.csv", append=True), "4 bytes of another training"
    ),
    "JAL311": case(
        there("m.h5", lambda: best("m.h5")), lambda: best("m.h5", initial_value_threshold=0.5), "after the first epoch"
    ),
    "JAL312": case(
        there("logs/train/events.out.tfevents.1", lambda: TensorBoard("logs")), lambda: TensorBoard("logs-2"), "1 event files"
    ),
    "JAL313": case(lambda: ModelCheckpoint("{epoch}.h5"), lambda: ModelCheckpoint("{epoch:02d}.h5"), "{epoch:02d}", epochs=50),
    "JAL401": case(
        lambda: best(save_freq=jalon.every(epochs=2)),
        lambda: best(save_freq=jalon.every(epochs=3)),
        "every(epochs=3)",
        validation_freq=3,
        epochs=30,
    ),
    "JAL402": case(lambda: best(), lambda: best(monitor="loss"), "after epoch 20 of 10", epochs=10, validation_freq=20),
    "JAL403": case(ReadsLogs, ReadsNothing, "each of 500 batches", steps=500),
    "JAL404": case(
        lambda: TensorBoard(update_freq="batch"), lambda: TensorBoard(update_freq=100), "5,000 points", steps=500, epochs=10
    ),
    "JAL405": case(
        lambda: ModelCheckpoint("{epoch}.h5", save_freq=10_000),
        lambda: ModelCheckpoint("{epoch}.h5", save_freq=5_000),
        "the training has 5,000",
        steps=500,
        epochs=10,
    ),
    "JAL406": case(
        lambda: ModelCheckpoint("{epoch}-{batch}.h5", save_freq=10),
        lambda: ModelCheckpoint("{epoch}-{batch}.h5", save_freq=500),
        "saves 50 times an epoch",
        steps=500,
        epochs=100,
    ),
    "JAL407": case(
        lambda: LambdaCallback(),
        lambda: LambdaCallback(),
        "validates after epoch 20",
        {"epochs": 20, "validates": True, "validation_freq": 20},
        epochs=10,
        validates=True,
        validation_freq=20,
    ),
    "JAL501": case(Listens, Counts, "Ask at an epoch's end.", support=NO_STEPS),
    "JAL502": case(Misspelt, Counts, "Did you mean 'on_epoch_end'?"),
    "JAL503": case(BareLogs, Counts, "on_epoch_end(self, epoch, logs=None)"),
    "JAL504": case(TooFew, BareLogs, "on_epoch_end(self, epoch, logs=None)"),
    "JAL505": case(ForLightning, Counts, "a callback of Lightning with on_train_epoch_end"),
    "JAL506": case(lambda: [EarlyStopping, 5], lambda: EarlyStopping(patience=5), "EarlyStopping"),
    "JAL507": case(lambda: twice(CSVLogger("a.csv")), lambda: CSVLogger("a.csv"), "2 times"),
    "JAL508": case(lambda: [BackupAndRestore("b"), Counts()], lambda: [BackupAndRestore("b"), Remembers()], "epochs begin anew"),
    "JAL509": case(Unfinished, Finished, "super().__init__"),
    "JAL601": case(
        lambda: [CSVLogger("a.csv"), ReduceLROnPlateau()], lambda: [ReduceLROnPlateau(), CSVLogger("a.csv")], "'learning_rate'"
    ),
    "JAL602": case(
        lambda: [EarlyStopping("val_f1", mode="max"), AddsF1()],
        lambda: [AddsF1(), EarlyStopping("val_f1", mode="max")],
        "AddsF1 before",
    ),
    "JAL603": case(lambda: [CSVLogger("a.csv"), AddsF1()], lambda: [AddsF1(), CSVLogger("a.csv")], "'val_f1'"),
    "JAL604": case(
        lambda: [best(), SwapEMAWeights(swap_on_epoch=True)],
        lambda: [SwapEMAWeights(swap_on_epoch=True), best()],
        "before ModelCheckpoint",
    ),
    "JAL701": case(lambda: TimeLimit(hours=1), lambda: [TimeLimit(hours=1), BackupAndRestore("b")], "Pass run_dir"),
    "JAL702": case(lambda: SpotNotice("aws"), lambda: [SpotNotice("aws"), BackupAndRestore("b")], "Pass run_dir"),
    "JAL703": case(lambda: LambdaCallback(), lambda: BackupAndRestore("b"), "This job of Slurm", environ={"SLURM_JOB_ID": "7"}),
    "JAL704": case(
        lambda: [BackupAndRestore("a"), BackupAndRestore("b")], lambda: BackupAndRestore("a"), "Leave one of them out"
    ),
    "JAL705": case(
        lambda: BackupAndRestore("b", save_freq=False), lambda: BackupAndRestore("b", save_freq=False, every_seconds=60), "a kill"
    ),
}


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    """Let each test be in a folder of its own."""
    monkeypatch.chdir(tmp_path)


def found(callbacks: Any, **facts: Any) -> Any:
    """Return what all rules find."""
    return look(Setup(in_order(callbacks), environ=facts.pop("environ", {}), **facts))


@pytest.mark.parametrize("code", CASES)
def test_a_mistake_is_found(code):
    """The rule speaks of the mistake, in a sentence that names what is wrong and one that says what to do."""
    one = CASES[code]

    spoken = [finding for finding in found(one.wrong(), **one.facts) if finding.code == code]

    assert spoken, f"{code} says nothing"
    assert one.says in str(spoken[0])
    assert spoken[0].message.endswith((".", "?"))
    assert spoken[0].remedy.endswith((".", "?"))
    assert RULES[code].severity == spoken[0].severity


@pytest.mark.parametrize("code", CASES)
def test_what_is_right_is_not_spoken_of(code):
    """The rule is silent where the mistake is not made."""
    one = CASES[code]

    assert code not in found(one.right(), **(one.facts if one.right_facts is None else one.right_facts)).codes


def test_every_rule_has_its_case():
    """No rule is without a case, and each belongs to a family."""
    assert set(RULES) == set(CASES)
    assert all(re.fullmatch(r"JAL[1-9]\d\d", code) and code[:4] in FAMILIES for code in RULES)


@pytest.mark.parametrize("code", CASES)
def test_nothing_has_to_be_known(code):
    """Where nothing is known of the training, no rule fails."""
    found(CASES[code].wrong())
