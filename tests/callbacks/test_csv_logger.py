"""CSVLogger writes what Keras's writes, and what Keras's loses."""

from __future__ import annotations

import csv
import errno
import gc
import inspect
import io
import os

import numpy as np
import pandas as pd
import pytest
import torch

from jalon import Callback, CallbackList, Run
from jalon.callbacks import CSVLogger, EarlyStopping, LambdaCallback
from jalon.errors import ArgumentError, CallbackDegraded, CheckpointError, MissingMetric
from jalon.store import plain
from jalon.testing import FakeModel, FakeTrainer, play

SCRIPT = [
    {"loss": 0.5, "accuracy": 0.75, "val_loss": 0.6, "val_accuracy": 0.7},
    {"loss": 0.1, "accuracy": 1.0, "val_loss": 0.3, "val_accuracy": 0.9},
]
TEXT = "epoch,accuracy,loss,val_accuracy,val_loss\r\n0,0.75,0.5,0.7,0.6\r\n1,1.0,0.1,0.9,0.3\r\n"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "training.log"


def text_of(path):
    return path.read_bytes().decode()


class Stops(Callback):
    """Raises after the first epoch's row."""

    order = 1

    def on_epoch_end(self, epoch, logs=None):
        raise KeyboardInterrupt


def test_the_arguments_are_keras_s():
    """Arguments, their order and their defaults are Keras's."""
    parameters = list(inspect.signature(CSVLogger).parameters.values())

    assert ["filename", "separator", "append"] == [parameter.name for parameter in parameters]
    assert [",", False] == [parameter.default for parameter in parameters[1:]]


def test_the_text_is_keras_s(path):
    """The header is epoch and the sorted metrics; rows have epochs from 0, floats in full, and CRLF."""
    play(CSVLogger(path), SCRIPT)

    assert TEXT == text_of(path)


def test_the_first_epoch_is_a_row_too_when_training_goes_on(path):
    """Each epoch's row can be read before the next epoch begins."""
    seen = []
    watch = LambdaCallback(on_epoch_begin=lambda epoch, logs: seen.append(text_of(path).count("\r\n")))

    play([CSVLogger(path), watch], SCRIPT * 2)

    assert [0, 2, 3, 4] == seen


def test_pandas_reads_it(path):
    """pandas reads numbers as numbers and what is missing as missing."""
    play(CSVLogger(path), [{"loss": 0.5}, {"loss": 0.25, "f1": 1.0}])

    expected = pd.DataFrame({"epoch": [0, 1], "loss": [0.5, 0.25], "f1": [float("nan"), 1.0]})
    pd.testing.assert_frame_equal(expected, pd.read_csv(path))


def test_a_metric_that_comes_later_is_a_column(path):
    """A metric that is first reported in a later epoch becomes the last column, NA before."""
    play(CSVLogger(path), [{"loss": 0.5}, {"loss": 0.25, "a": 1.0}, {"loss": 0.125, "a": 2.0}])

    assert "epoch,loss,a\r\n0,0.5,NA\r\n1,0.25,1.0\r\n2,0.125,2.0\r\n" == text_of(path)


def test_a_metric_that_is_missing_is_na(path):
    """A metric that an epoch does not report is NA, as is one reported as None."""
    play(CSVLogger(path), [{"loss": 0.5, "a": 1.0}, {"loss": 0.25}, {"loss": 0.25, "a": None}])

    assert "epoch,a,loss\r\n0,1.0,0.5\r\n1,NA,0.25\r\n2,NA,0.25\r\n" == text_of(path)


def test_without_validation_there_are_no_validation_columns(path):
    """A training without validation has no val_ columns."""
    play(CSVLogger(path), [{"loss": 0.5}], trainer=FakeTrainer(metrics={"loss": "min"}))

    assert "epoch,loss\r\n0,0.5\r\n" == text_of(path)


@pytest.mark.parametrize(
    ("metrics", "columns"),
    [
        (None, "acc,gpu,learning_rate,loss,val_acc,val_gpu,val_loss"),
        (["loss", "acc", "val_loss", "val_acc"], "acc,gpu,learning_rate,loss,val_acc,val_loss"),
    ],
)
def test_validation_that_comes_later_has_its_columns(path, metrics, columns):
    """Where validation is not in the first epoch, its columns are there from the start: those known, else as in Keras."""
    trainer = FakeTrainer(metrics=metrics and dict.fromkeys(metrics), validates=True)

    play(CSVLogger(path), [{"loss": 0.5, "acc": 0.5, "gpu": 1.0, "learning_rate": 0.1}], trainer=trainer)

    assert f"epoch,{columns}\r\n0,0.5,1.0,0.1,0.5{',NA' * columns.count('val_')}\r\n" == text_of(path)


def test_no_columns_are_added_to_a_table_that_has_its_own(path):
    """With append=True, the header that is there decides whether validation is awaited."""
    path.write_bytes(b"epoch,loss\r\n0,0.5\r\n")

    play(CSVLogger(path, append=True), [{"loss": 0.25}], trainer=FakeTrainer(validates=True))

    assert "epoch,loss\r\n0,0.5\r\n0,0.25\r\n" == text_of(path)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1 + 0.2, "0.30000000000000004"),
        (3, "3"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (np.float64(0.1), "0.1"),
        (np.array(0.5), "0.5"),
        (torch.tensor(0.5, requires_grad=True), "0.5"),
        (np.array([0.5, 1.0]), '"""[0.5, 1.0]"""'),
        (torch.tensor([0.5, 1.0]), '"""[0.5, 1.0]"""'),
        ([1, 2], '"""[1, 2]"""'),
        ((1,), '"""[1]"""'),
        ("warm, up", '"warm, up"'),
    ],
    ids=str,
)
def test_values_have_keras_s_text(path, value, text):
    """Numbers are in full, several of them in brackets and quotes, text as it is."""
    play(CSVLogger(path), [{"m": value}])

    assert f"epoch,m\r\n0,{text}\r\n" == text_of(path)


def test_another_separator(path):
    """separator stands between values."""
    play(CSVLogger(path, separator=";"), SCRIPT)

    assert TEXT.replace(",", ";") == text_of(path)


def test_it_starts_anew(path):
    """By default the file of an earlier training is replaced when training begins, by one instance used again too."""
    logger = CSVLogger(path)
    play(logger, SCRIPT)
    play(logger, SCRIPT)

    assert TEXT == text_of(path)


def test_append_adds(path):
    """With append=True rows are added under the header that is there."""
    play(CSVLogger(path), SCRIPT)
    play(CSVLogger(path, append=True), SCRIPT[1:], first_epoch=2)

    assert TEXT + "2,1.0,0.1,0.9,0.3\r\n" == text_of(path)


def test_append_takes_other_metrics_in(path):
    """With append=True, metrics that the file lacks become columns of it, and those it has beyond are NA."""
    play(CSVLogger(path), [{"loss": 0.5, "a": 1.0}])
    play(CSVLogger(path, append=True), [{"loss": 0.25, "b": 2.0}])

    assert "epoch,a,loss,b\r\n0,1.0,0.5,NA\r\n0,NA,0.25,2.0\r\n" == text_of(path)


def test_append_drops_a_torn_row(path):
    """With append=True, half a row that a killed training left is dropped."""
    path.write_bytes(b"epoch,loss\r\n0,0.5\r\n1,0.")
    play(CSVLogger(path, append=True), [{"loss": 0.25}], first_epoch=1)

    assert "epoch,loss\r\n0,0.5\r\n1,0.25\r\n" == text_of(path)


def test_append_to_something_else_is_refused(path):
    """With append=True, a file that is no such table, or has another separator, is refused and left as it is."""
    play(CSVLogger(path), SCRIPT)

    with pytest.raises(ArgumentError, match=r"has no column 'epoch'. Its first line has: epoch,accuracy,loss.*the separator"):
        play(CSVLogger(path, separator=";", append=True), SCRIPT)

    assert TEXT == text_of(path)


def test_folders_are_made(tmp_path):
    """Missing folders are made when training begins, and not before."""
    logger = CSVLogger(str(tmp_path / "logs" / "a" / "training.log"))
    assert [] == list(tmp_path.iterdir())

    play(logger, SCRIPT)

    assert TEXT == text_of(tmp_path / "logs" / "a" / "training.log")


def test_a_folder_in_its_place_is_refused(tmp_path):
    """A filename that is a folder is refused before training begins."""
    with pytest.raises(
        ArgumentError, match=r"^CSVLogger: cannot write '.*': it is a folder. Pass a filename that can be written."
    ):
        play(CSVLogger(tmp_path), SCRIPT)


def test_a_file_in_the_folders_place_is_refused(path):
    """A filename below a file is refused before training begins."""
    path.write_text("something")

    with pytest.raises(ArgumentError, match=r"training.log' is not a folder"):
        play(CSVLogger(path / "more" / "training.log"), SCRIPT)


@pytest.fixture
def nobody():
    """Give up root's rights, before which nothing is forbidden, for the length of a test."""
    if os.geteuid():
        yield
        return
    os.setresuid(65534, 65534, 0)
    yield
    os.setresuid(0, 0, 0)


@pytest.mark.parametrize(
    ("filename", "obstacle"),
    [
        ("/etc/passwd", "writing to it is not permitted"),
        ("/etc/new/training.log", "writing to the folder '/etc' is not permitted"),
    ],
)
@pytest.mark.usefixtures("nobody")
def test_a_place_that_may_not_be_written_to_is_refused(filename, obstacle):
    """A file that may not be written, or in a folder that may not, is refused before training begins."""
    with pytest.raises(ArgumentError, match=rf"cannot write '{filename}': {obstacle}\. Pass a filename"):
        play(CSVLogger(filename), SCRIPT)


@pytest.fixture
def closed(tmp_path):
    """Return a folder that nobody but root may look into."""
    folder = tmp_path / "closed"
    folder.mkdir(mode=0)
    yield folder
    folder.chmod(0o700)


def test_a_closed_folder_is_refused(closed, nobody):
    """A file in a folder that may not be looked into is refused before training begins."""
    with pytest.raises(ArgumentError, match=r"looking into its folder is not permitted"):
        play(CSVLogger(closed / "training.log"), SCRIPT)


def test_nothing_is_touched_when_another_callback_refuses(path):
    """A training that is refused before it begins leaves the file of the last one."""
    path.write_text("the last one")

    class Refuses(Callback):
        def check_setup(self):
            raise ArgumentError("no")

    with pytest.raises(ArgumentError, match=r"^no$"):
        play([CSVLogger(path), Refuses()], SCRIPT)

    assert "the last one" == text_of(path)


def test_the_file_is_closed_whatever_ends_training(path):
    """After Ctrl-C the rows are there, and the file is closed (an open one would be a warning)."""
    with pytest.raises(KeyboardInterrupt):
        play([CSVLogger(path), Stops()], SCRIPT)

    assert TEXT[: TEXT.index("1,1.0")] == text_of(path)


def test_closing_twice_is_allowed(path):
    """close may be called before, during and after a training."""
    logger = CSVLogger(path)
    logger.close()
    play(logger, SCRIPT)
    logger.close()

    assert TEXT == text_of(path)


def test_only_the_main_process_writes(path):
    """Of several processes that train together only the first opens the file."""
    trainer = FakeTrainer()
    run = Run(trainer, rank=1, world_size=2)
    told = CallbackList(CSVLogger(path))
    told.begin(run, FakeModel(trainer, run), {})
    told.validate()
    with told.session():
        told.on_train_begin()
        told.on_epoch_end(0, {"loss": 0.5})
        told.on_train_end()

    assert not path.exists()


def test_other_processes_need_no_place_to_write(tmp_path):
    """A process that writes nothing is not refused a file that it could not write."""
    trainer = FakeTrainer()
    told = CallbackList(CSVLogger(tmp_path))
    told.begin(Run(trainer, rank=1, world_size=2), FakeModel(trainer, Run(trainer)), {})

    told.validate()


def test_it_adds_no_metric(path):
    """A wrong monitor of a callback after it is known before training."""
    with pytest.raises(MissingMetric, match="this training"):
        play([CSVLogger(path), EarlyStopping("val_loss")], [{"loss": 0.5}])


def test_the_end_of_training_closes_the_file(path, begin):
    """Under a loop that never calls close, on_train_end and the next on_train_begin leave no file open."""
    told = begin(CSVLogger(path))
    for ended in (True, False, True):
        told.on_train_begin()
        told.on_epoch_end(0, {"loss": 0.5})
        if ended:
            told.on_train_end()
    del told
    gc.collect()

    assert "epoch,loss\r\n0,0.5\r\n" == text_of(path)


def test_the_run_knows_the_file(path):
    """The run lists the file under the callback's name, else its class."""
    named = CSVLogger(path.with_name("other.log"))
    named.name = "mine"

    assert {"CSVLogger": path, "mine": path.with_name("other.log")} == play([CSVLogger(path), named], SCRIPT).files


def test_a_full_disk_does_not_end_training(path):
    """Where rows can't be written any more, a warning says so and training goes on."""
    path.symlink_to("/dev/full")

    with pytest.warns(CallbackDegraded, match=r"CSVLogger.on_epoch_end failed: OSError: .*No space left"):
        run = play(CSVLogger(path), SCRIPT)

    assert [0.5, 0.1] == run.history["loss"]


@pytest.mark.parametrize("separator", ["", "::", "\n", None])
def test_a_wrong_separator_is_an_error(path, separator):
    """A separator that is not one character is refused in the constructor."""
    with pytest.raises(ArgumentError, match=r"^CSVLogger: separator must be a single character"):
        CSVLogger(path, separator=separator)


def test_a_csv_reader_reads_the_brackets(path):
    """Several numbers in one field are one field to a reader."""
    play(CSVLogger(path), [{"m": [1, 2], "loss": 0.5}])

    assert [["epoch", "loss", "m"], ["0", "0.5", '"[1, 2]"']] == list(csv.reader(io.StringIO(text_of(path))))


# ---- after a resume --------------------------------------------------------------------------------------------------------


def start(logger, *, resumed=False, rank=0):
    """A training of a run that can be gone on with, as far as the state of it goes; it is not ended."""
    trainer = FakeTrainer()
    run = Run(trainer, rank=rank)
    run.id, run.resumed = "run", resumed
    told = CallbackList(logger)
    told.begin(run, FakeModel(trainer, run), {})
    told.validate()
    told.on_train_begin()
    return told


LONGER = [{"loss": 1.0}, {"loss": 0.5}, {"loss": 0.25, "f1": 0.5}, {"loss": 0.125, "a": 1.0, "f1": 0.75}, {"loss": 0.0625}]


def killed(path, kept, done, **options):
    """Write rows up to one epoch, with the state as it was at an earlier one, and end as by a kill."""
    told = start(CSVLogger(path, **options))
    for epoch, logs in enumerate(LONGER[:done]):
        if epoch == kept:
            state = told.state_dict()
        told.on_epoch_end(epoch, logs)
    if done == kept:
        state = told.state_dict()
    told.callbacks[0].close()
    return plain.decode(plain.encode(state))


def gone_on(path, state, kept, **options):
    """Go on from a state to the end."""
    told = start(CSVLogger(path, **options), resumed=True)
    told.load_state_dict(state)
    for epoch, logs in enumerate(LONGER[kept:], kept):
        told.on_epoch_end(epoch, logs)
    told.on_train_end()


@pytest.mark.parametrize("append", [False, True])
@pytest.mark.parametrize(("kept", "done"), [(kept, done) for done in range(6) for kept in range(done + 1)])
def test_a_resumed_training_has_every_row_once(tmp_path, kept, done, append):
    """Wherever it was backed up and killed, with new columns in between, the file is that of an uninterrupted training."""
    whole, path = tmp_path / "whole.log", tmp_path / "training.log"
    for each in (whole, path):
        each.write_bytes(b"epoch,loss\r\n0,9.0\r\n")
    gone_on(whole, killed(whole, 0, 0, append=append), 0, append=append)
    state = killed(path, kept, done, append=append)
    with open(path, "ab") as file:
        file.write(b"7,0.")
    path.with_name(f".{path.name}.4711.tmp").write_bytes(b"epoch,loss,f1\r\n0,")

    gone_on(path, state, kept, append=append)

    assert text_of(whole) == text_of(path)
    assert ["training.log", "whole.log"] == sorted(file.name for file in tmp_path.iterdir())


def test_a_new_run_begins_the_file_anew(path):
    """A start that was killed before its first backup leaves no rows for the next one."""
    killed(path, 0, 3)
    told = start(CSVLogger(path))
    told.on_epoch_end(0, {"loss": 1.0})
    told.on_train_end()

    assert "epoch,loss\r\n0,1.0\r\n" == text_of(path)


def test_more_epochs_after_the_end(path):
    """The state after the end of training is that of its last row, so that more epochs go on below it."""
    told = start(CSVLogger(path))
    told.on_epoch_end(0, {"loss": 1.0})
    told.on_train_end()
    state, growing = told.state_dict(), list(told.callbacks[0].growing_files())
    interrupted = start(CSVLogger(path), resumed=True)
    interrupted.load_state_dict(state)
    interrupted.on_epoch_end(1, {"loss": 0.5})
    interrupted.callbacks[0].close()
    gone_on(path, state, 4)

    assert [path] == growing
    assert "epoch,loss\r\n0,1.0\r\n4,0.0625\r\n" == text_of(path)


def test_a_file_that_is_gone_is_told(path):
    """Where somebody deleted the file, a warning says what is missing, and training goes on with a new one."""
    state = killed(path, 3, 4)
    path.unlink()

    with pytest.warns(CallbackDegraded, match=r"training\.log does not hold the 3 rows that were written .*Training goes on"):
        gone_on(path, state, 3)

    assert "epoch,a,f1,loss\r\n3,1.0,0.75,0.125\r\n4,NA,NA,0.0625\r\n" == text_of(path)


def test_a_file_that_cannot_be_cut_is_told(path, monkeypatch):
    """Where the file cannot be cut back, training is refused, for it would have rows twice; the file is what it was."""
    state = killed(path, 2, 4)
    there, told = text_of(path), start(CSVLogger(path), resumed=True)
    monkeypatch.setattr("os.fsync", refuse)

    with pytest.raises(CheckpointError, match=r"could not be cut back to the backup.*No space left.*Check that"):
        told.load_state_dict(state)

    told.callbacks[0].close()
    assert there == text_of(path)


def refuse(*args):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_the_state_of_a_process_that_writes_nothing(path):
    """Of several processes those that write nothing have no state, and take another's without touching the file."""
    state = killed(path, 1, 2)
    told = start(CSVLogger(path), resumed=True, rank=1)
    there = text_of(path)
    empty = told.state_dict()
    told.load_state_dict(state)

    assert {"CSVLogger": {}} == empty
    assert [] == list(told.callbacks[0].growing_files())
    assert there == text_of(path)


def test_a_state_without_a_run_to_go_on_with(path):
    """Under a loop that resumes nothing, a state is taken and the file stays begun anew."""
    state = killed(path, 2, 2)
    play(CSVLogger(path), LONGER[2:3], first_epoch=2, state=state)

    assert "epoch,f1,loss\r\n2,0.5,0.25\r\n" == text_of(path)


def test_a_loop_that_gives_no_state_back(path):
    """Under a loop that goes on with a run but gives no state back, append alone decides whether rows stay."""
    for append in (False, False, True):
        logger = CSVLogger(path, append=append)
        run = Run(FakeTrainer())
        run.id, run.resumed = "run", True
        logger.set_run(run)
        logger.on_train_begin()
        logger.on_epoch_end(0, {"loss": 1.0})
        logger.on_train_end()

    assert "epoch,loss\r\n0,1.0\r\n0,1.0\r\n" == text_of(path)


def test_a_device_is_no_file_to_go_on_with():
    """With append=True, what is no file is written to and not read."""
    with pytest.warns(CallbackDegraded, match="No space left"):
        play(CSVLogger("/dev/full", append=True), SCRIPT)
