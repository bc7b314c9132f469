"""Records read from everything that a training leaves behind."""

from __future__ import annotations

import json
import math

import pytest

import jalon
from jalon.callbacks import CSVLogger, TensorBoard
from jalon.errors import ArgumentError
from jalon.replay.readers import read
from jalon.sinks.tfevents import EventFileWriter
from jalon.testing import ManualClock, play

ROWS = [{"loss": 1.0, "val_loss": 2.0}, {"loss": 0.5}, {"loss": math.nan, "val_loss": math.inf}]


def rows(record):
    """What a record says, NaN as a text, so that it can be compared."""
    return {
        epoch.number: {name: "nan" if math.isnan(value) else value for name, value in epoch.logs.items()}
        for epoch in record.epochs
    }


AS_READ = {0: ROWS[0], 1: ROWS[1], 2: {"loss": "nan", "val_loss": math.inf}}


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_csv_logger(tmp_path, separator):
    """A file of CSVLogger holds every number, NaN and infinities too; what an epoch lacks is not reported."""
    play(CSVLogger(tmp_path / "training.log", separator=separator), ROWS)

    assert AS_READ == rows(read(tmp_path / "training.log"))
    assert AS_READ == rows(read(tmp_path))


def test_keras_csv_logger(tmp_path):
    """A file of Keras's own, appended to by a second training that began again, counts as the second says."""
    path = tmp_path / "training.log"
    path.write_text('epoch,loss,val_loss\n0,3.0,NA\n1,2.0,5.0\n2,1.0,"[1, 2]"\n1,1.5,4.0\n')
    record = read(path)

    assert {0: {"loss": 3.0}, 1: {"loss": 1.5, "val_loss": 4.0}} == rows(record)
    assert ("epoch 2 comes again after epoch 3: only what comes later counts",) == record.notes


def test_a_torn_row(tmp_path):
    """A last row without its end is passed over, in a table and in a journal."""
    (tmp_path / "a.csv").write_text("epoch,loss\n0,0.5\n1,0.2")
    epoch = {"kind": "epoch", "time": 1.0, "epoch": 0, "logs": {"loss": 0.5}, "seconds": 2}
    (tmp_path / "journal.jsonl").write_text(json.dumps(epoch) + "\n" + json.dumps(epoch)[:-9])

    assert {0: {"loss": 0.5}} == rows(read(tmp_path / "a.csv")) == rows(read(tmp_path))


def test_lightning(tmp_path):
    """Several rows of one epoch in Lightning's table are put together."""
    (tmp_path / "metrics.csv").write_text(
        "epoch,step,train_loss,val_loss\n0,49,0.9,\n0,99,0.8,\n0,99,,0.7\n1,149,0.6,\n1,199,,0.5\n"
    )
    record = read(tmp_path)

    assert {0: {"train_loss": 0.8, "val_loss": 0.7}, 1: {"train_loss": 0.6, "val_loss": 0.5}} == rows(record)
    assert () == record.notes


def test_lightning_itself(tmp_path):
    """What Lightning's own logger writes is read so."""
    from lightning.pytorch.loggers import CSVLogger as LightningLogger

    logger = LightningLogger(str(tmp_path), name=None, version="")
    for epoch in range(3):
        logger.log_metrics({"train_loss": 1.0 / (epoch + 1), "epoch": epoch}, step=10 * epoch)
        logger.log_metrics({"val_loss": 2.0 / (epoch + 1), "epoch": epoch}, step=10 * epoch + 9)
        logger.save()

    assert {epoch: {"train_loss": 1.0 / (epoch + 1), "val_loss": 2.0 / (epoch + 1)} for epoch in range(3)} == rows(read(tmp_path))


def test_transformers(tmp_path):
    """A state of transformers has the mean loss of each epoch, evaluations under val_, and no times."""
    history = [
        {"epoch": 0.5, "step": 5, "loss": 1.0, "learning_rate": 1e-4, "grad_norm": 1.0},
        {"epoch": 1.0, "step": 10, "loss": 0.5, "learning_rate": 5e-5, "grad_norm": 2.0},
        {"epoch": 1.0, "step": 10, "eval_loss": 0.75, "eval_accuracy": 0.5, "eval_runtime": 3.0},
        {"epoch": 2.0, "step": 20, "loss": 0.25, "learning_rate": 0.0, "grad_norm": 3.0},
        {"epoch": 2.0, "step": 20, "eval_loss": 0.5, "eval_accuracy": 0.75, "eval_runtime": 3.0},
        {"epoch": 2.0, "step": 20, "train_runtime": 9.0, "train_loss": 0.6, "total_flos": 1.0},
    ]
    (tmp_path / "checkpoint-20").mkdir()
    (tmp_path / "checkpoint-20" / "trainer_state.json").write_text(json.dumps({"log_history": history}))

    assert {
        0: {"loss": 0.75, "learning_rate": 5e-5, "grad_norm": 2.0, "val_loss": 0.75, "val_accuracy": 0.5},
        1: {"loss": 0.25, "learning_rate": 0.0, "grad_norm": 3.0, "val_loss": 0.5, "val_accuracy": 0.75},
    } == rows(read(tmp_path))


def test_journal(tmp_path):
    """In a journal an epoch that came again takes the place of the earlier one, and times are known."""
    said = [
        {"kind": "begin", "time": 0.0},
        *({"kind": "epoch", "time": 1.0, "epoch": n, "logs": {"loss": 1.0 + n}, "seconds": 2.0} for n in range(4)),
        {"kind": "begin", "time": 9.0},
        {"kind": "epoch", "time": 10.0, "epoch": 2, "logs": {"loss": "NaN", "name": "x"}, "seconds": 3.0},
        {"kind": "end", "time": 11.0},
    ]
    (tmp_path / "journal.jsonl").write_text("".join(json.dumps(one) + "\n" for one in said))
    record = read(tmp_path)

    assert {0: {"loss": 1.0}, 1: {"loss": 2.0}, 2: {"loss": "nan"}} == rows(record)
    assert [2.0, 2.0, 3.0] == [epoch.seconds for epoch in record.epochs]


def test_event_files_of_jalon(tmp_path):
    """The folder of TensorBoard's callback is one record, its validation under val_, its curves by batch left out."""
    play(TensorBoard(tmp_path / "logs", update_freq=1), ROWS, clock=ManualClock(5.0))

    assert AS_READ == {
        number: {name: row[name] for name in row if name != "learning_rate"}
        for number, row in rows(read(tmp_path / "logs")).items()
    }
    (path,) = (tmp_path / "logs" / "train").iterdir()
    assert rows(read(tmp_path / "logs")) == rows(read(path))


def test_event_files_of_others(tmp_path):
    """Curves by steps are counted as epochs, and that is said; a curve of epochs, as Lightning's, tells them."""
    for name, tags in (("by steps", ["loss/val"]), ("by epochs", ["val_loss", "epoch"])):
        writer = EventFileWriter(tmp_path / name)
        for epoch in range(3):
            for tag in tags:
                writer.scalar(tag, epoch if tag == "epoch" else 1 / 2**epoch, 100 * (epoch + 1))
        writer.close()
    by_steps = read(tmp_path / "by steps")

    assert {0: {"loss/val": 1.0}, 1: {"loss/val": 0.5}, 2: {"loss/val": 0.25}} == rows(by_steps)
    assert ("its steps, 100 to 300, are counted as epochs 1 to 3",) == by_steps.notes
    assert {0: {"val_loss": 1.0}, 1: {"val_loss": 0.5}, 2: {"val_loss": 0.25}} == rows(read(tmp_path / "by epochs"))
    with pytest.raises(ArgumentError, match="several runs: by epochs, by steps"):
        read(tmp_path)


def test_epochs_that_are_missing():
    """Of a record that begins later, or has gaps, as Keras's TensorBoard leaves with an update_freq, that is said."""
    record = read([{"epoch": number, "loss": 1.0} for number in (2, 4, 6)])

    assert (
        "the record begins with epoch 3",
        "2 of the epochs from 3 to 7 are not recorded, and not counted",
    ) == record.notes


def test_a_history_that_does_not_say_when():
    """Of Keras's history with a validation every other epoch, what cannot be placed is left out, and that is said."""

    class KerasHistory:
        epoch, history = [0, 1, 2, 3], {"loss": [4.0, 3.0, 2.0, 1.0], "val_loss": [5.0, 6.0]}

    record = read(KerasHistory())

    assert {epoch: {"loss": 4.0 - epoch} for epoch in range(4)} == rows(record)
    assert ("reported in some epochs only, and not said in which: val_loss",) == record.notes


def test_in_memory():
    """A list, a history and the frame of a history say the same; in a frame NaN is what was not reported."""
    history = jalon.callbacks.History()
    play(history, ROWS)

    assert AS_READ == rows(read(ROWS)) == rows(read(history))
    assert AS_READ | {2: {"val_loss": math.inf}} == rows(read(history.to_frame())) == rows(read(history.to_frame().reset_index()))


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.csv", "a,b\n1,2\n", "has no column 'epoch'"),
        ("a.csv", "epoch,loss\n", "holds no epoch"),
        ("trainer_state.json", "{}", "is no state of a Trainer"),
        ("journal.jsonl", "[]\n", "line 1 of .* is none of a journal"),
        ("a.bin", "", "is of no kind"),
    ],
)
def test_what_is_no_record(tmp_path, name, content, told):
    """A file that holds no record is refused, and it is said what one is."""
    (tmp_path / name).write_text(content)

    with pytest.raises(ArgumentError, match=told):
        read(tmp_path / name)


def test_nothing_to_read(tmp_path):
    """A path that is not there, a folder without a record, and an object that is none are refused."""
    for source, told in ((tmp_path / "a", "is not there"), (tmp_path, "holds no record"), (5, "from a int")):
        with pytest.raises(ArgumentError, match=told):
            read(source)
