"""ProgbarLogger, seen where it shows: on a real pseudo-terminal, through a pipe, in a file."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import textwrap
import threading

import pytest

from jalon.callbacks import BackupAndRestore, CSVLogger, EarlyStopping, ModelCheckpoint
from jalon.callbacks.progbar_logger import ProgbarLogger
from jalon.core.callback import Callback
from jalon.core.callback_list import CallbackList
from jalon.core.logs import BatchLogs
from jalon.core.run import Best, Run
from jalon.core.trainer import TrainerAdapter
from jalon.errors import ArgumentError, CallbackDegraded, JalonWarning, OlderSpelling, Preempted
from jalon.testing import play

EPOCH_LOGS = {"accuracy": 0.931, "loss": 0.2215, "val_accuracy": 0.92, "val_loss": 0.25}
BAR = "━" * 20
METRICS = "accuracy: 0.9310 - loss: 0.2215 - val_accuracy: 0.9200 - val_loss: 0.2500"


class NoModel(TrainerAdapter):
    suffixes = (".none",)
    iterations = 0
    validates = True

    def metric_names(self):
        return None

    def metric_direction(self, metric):
        return None

    def learning_rates(self):
        return []

    def set_learning_rates(self, rates):
        pass

    def snapshot_weights(self, into=None):
        return None

    def restore_weights(self, snapshot):
        pass

    def freeze(self, path, *, weights_only, about):
        return lambda: None

    def load(self, path):
        pass

    def named_weights(self):
        return iter(())


class ManualClock:
    """Is moved by hand: each training step takes a fixed time."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now

    def wall(self):
        return self.now


class Loop:
    """Drives callbacks through the hooks of a training, as an engine does."""

    def __init__(self, *callbacks, verbose=1, epochs=3, steps=45, step_time=0.0, rank=0):
        self.clock = ManualClock()
        self.progbar = ProgbarLogger(clock=self.clock)
        self.callbacks = CallbackList([self.progbar, *callbacks])
        self.run = Run(NoModel(), epochs=epochs, rank=rank)
        self.params = {"verbose": verbose, "epochs": epochs, "steps": steps}
        self.step_time = step_time
        self.seen = self.reads = 0
        self.logs = BatchLogs(self.read, lambda: self.seen)

    def begin(self):
        self.callbacks.begin(self.run, object(), self.params)

    def read(self):
        self.reads += 1
        return {"accuracy": 0.9, "loss": 0.5}

    def batches(self, hook, steps, logs):
        for batch in range(steps):
            self.seen += 1
            self.clock.now += self.step_time
            self.callbacks.tell_batch(hook, batch, logs)

    def fit(self, batches=45, fail_in_epoch=None):
        self.begin()
        with self.callbacks.session():
            self.callbacks.on_train_begin()
            for epoch in range(self.run.epochs):
                self.callbacks.on_epoch_begin(epoch)
                self.batches("on_train_batch_end", batches, self.logs)
                if epoch == fail_in_epoch:
                    raise KeyboardInterrupt
                self.validate()
                self.callbacks.on_epoch_end(epoch, dict(EPOCH_LOGS))
            self.callbacks.on_train_end()

    def validate(self):
        self.callbacks.on_test_begin()
        self.batches("on_test_batch_end", 5, {"loss": 9.0})
        self.callbacks.on_test_end({"loss": 9.0})

    def evaluate(self):
        self.begin()
        with self.callbacks.session():
            self.callbacks.on_test_begin()
            self.batches("on_test_batch_end", 45, self.logs)
            self.callbacks.on_test_end({"loss": 0.25})

    def predict(self):
        self.begin()
        with self.callbacks.session():
            self.callbacks.on_predict_begin()
            self.batches("on_predict_batch_end", 45, {"outputs": [1, 2, 3]})
            self.callbacks.on_predict_end()


class Terminal:
    """Is a pseudo-terminal, read back by a screen that understands what a moving line needs and nothing else."""

    def __init__(self, columns):
        self.columns = columns
        self.master, slave = pty.openpty()
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.stream = os.fdopen(slave, "w", encoding="utf-8")
        self.data = b""
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self):
        with contextlib.suppress(OSError):  # the end of a pseudo-terminal is an input/output error
            while chunk := os.read(self.master, 65536):
                self.data += chunk

    def close(self):
        self.stream.close()
        self.reader.join()
        os.close(self.master)
        self.text = self.data.decode()

    def rows(self):
        """Return the screen's rows; a line ended on the last one leaves an empty row."""
        rows, column = [""], 0
        for token in re.findall(r"\x1b\[[\d;]*[A-Za-z]|.", self.text, re.DOTALL):
            if token == "\r":
                column = 0
            elif token == "\n":
                rows.append("")
            elif token == "\x1b[K":
                rows[-1] = rows[-1][:column]
            elif not re.fullmatch(r"\x1b\[[\d;]*m", token):
                assert len(token) == 1, f"the screen does not know {token!r}"
                if column == self.columns:
                    rows.append("")
                    column = 0
                rows[-1] = rows[-1][:column] + token + rows[-1][column + 1 :]
                column += 1
        return rows

    def drawings(self):
        """Return each state of the moving line, without colours."""
        return re.findall(r"\r([^\r\n]+)\x1b\[K", re.sub(r"\x1b\[[\d;]*m", "", self.text))


@pytest.fixture
def on_terminal(monkeypatch):
    """Return a function that does something with the standard output on a terminal."""
    monkeypatch.setenv("TERM", "xterm")
    for name in ("NO_COLOR", "CI"):
        monkeypatch.delenv(name, raising=False)

    def on_terminal(action, columns=80):
        with contextlib.closing(Terminal(columns)) as terminal, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", terminal.stream)
            action()
        return terminal

    return on_terminal


@pytest.mark.parametrize("count_mode", ["steps", "samples"])
def test_the_spelling_of_keras_2(count_mode):
    """Keras 2's count_mode is taken, and one warning says what to write today."""
    with pytest.warns(OlderSpelling, match="Steps are counted; leave it out") as told:
        ProgbarLogger(count_mode=count_mode)
    assert 1 == len(told)


def test_an_unknown_count_mode():
    """Another count_mode is refused."""
    with pytest.raises(ArgumentError, match=r"Received: count_mode='epochs'"):
        ProgbarLogger(count_mode="epochs")


HEAD = f"45/45 {BAR} 1s 10ms/step"


@pytest.mark.parametrize(
    ("columns", "first", "second"),
    [
        (300, [f"{HEAD} - {METRICS} ★"], [f"{HEAD} - {METRICS} (★ 0.2500, 1 epoch ago)"]),
        (
            80,
            [f"{HEAD} - accuracy: 0.9310 - loss: 0.2215", "  val_accuracy: 0.9200 - val_loss: 0.2500 ★"],
            [f"{HEAD} - accuracy: 0.9310 - loss: 0.2215", "  val_accuracy: 0.9200 - val_loss: 0.2500 (★ 0.2500, 1 epoch ago)"],
        ),
        (
            40,
            [HEAD, "  accuracy: 0.9310 - loss: 0.2215", "  val_accuracy: 0.9200", "  val_loss: 0.2500 ★"],
            [HEAD, "  accuracy: 0.9310 - loss: 0.2215", "  val_accuracy: 0.9200", "  val_loss: 0.2500 (★ 0.2500, 1 ago)"],
        ),
    ],
)
def test_terminal(on_terminal, columns, first, second):
    """What stays on the terminal is a title and a line with all metrics per epoch, broken between them where it is narrow."""
    loop = Loop(epochs=2, step_time=0.01)

    terminal = on_terminal(loop.fit, columns)

    assert ["Epoch 1/2", *first, "Epoch 2/2", *second, ""] == terminal.rows()


@pytest.mark.parametrize("columns", [8, 40, 80, 300])
def test_moving_line_never_wraps(on_terminal, columns):
    """The moving line leaves the last column free, at any width."""
    loop = Loop(epochs=1, step_time=0.06)

    terminal = on_terminal(loop.fit, columns)

    assert terminal.drawings()
    assert all(len(line) < columns for line in terminal.drawings())


def test_moving_line_on_a_narrow_terminal(on_terminal):
    """At 40 columns there is still room for count, bar, time to go and the loss."""
    terminal = on_terminal(Loop(epochs=1, step_time=0.1).fit, 40)

    assert "22/45 ━━━━────── ETA 2s - loss: 0.5000" == terminal.drawings()[21]


def test_twenty_drawings_a_second(on_terminal):
    """However many the steps, the line is drawn at most every twentieth of a second, and metrics are read only then."""
    loop = Loop(epochs=1, steps=2000, step_time=0.001)

    terminal = on_terminal(lambda: loop.fit(2000))

    assert 39 == len(terminal.drawings()) == loop.reads


def test_no_drawing_in_short_epochs(on_terminal):
    """Epochs shorter than the interval between two drawings show their last line alone, and read no metric."""
    loop = Loop(epochs=3, steps=2, step_time=0.001)

    terminal = on_terminal(lambda: loop.fit(2))

    assert 0 == len(terminal.drawings()) == loop.reads
    assert "2/2 " + BAR in terminal.rows()[1]


def test_first_step_does_not_count_for_the_pace(on_terminal):
    """A slow first step, which compiles or warms up, spoils neither the time per step nor the time to go."""
    loop = Loop(epochs=1, steps=11)

    def train():
        loop.begin()
        loop.callbacks.on_train_begin()
        loop.callbacks.on_epoch_begin(0)
        for batch, seconds in enumerate([30.0] + [0.5] * 10):
            loop.clock.now += seconds
            loop.callbacks.tell_batch("on_train_batch_end", batch, loop.logs)
        loop.callbacks.on_train_end()

    terminal = on_terminal(train)

    assert "ETA 4s 500ms/step" in terminal.drawings()[2]


def test_validation_is_silent_and_out_of_the_pace(on_terminal):
    """Validation within fit draws nothing, and its time is no training step's."""
    loop = Loop(epochs=1, step_time=0.1)

    terminal = on_terminal(loop.fit)

    assert "9.0000" not in terminal.text
    assert f"45/45 {BAR} 5s 100ms/step" in terminal.rows()[0]


def test_unknown_total(on_terminal):
    """A number of steps that is unknown is learnt in the first epoch."""
    loop = Loop(epochs=2, steps=None, step_time=0.06)

    terminal = on_terminal(loop.fit)

    first, second = terminal.text.split("Epoch 2/2")
    assert "\r5/Unknown 0s" in first
    assert "ETA" not in first
    assert f"45/45 {BAR}" in terminal.rows()[1]
    assert "Unknown" not in second
    assert "ETA" in second


def test_epoch_that_was_cut_short(on_terminal):
    """An epoch that was stopped after 12 of 45 steps says so."""
    terminal = on_terminal(lambda: Loop(epochs=1).fit(12))

    assert "12/45 ━━━━━─" in terminal.rows()[0]


@pytest.mark.parametrize(("action", "metrics"), [("evaluate", " - loss: 0.2500"), ("predict", "")])
def test_evaluate_and_predict(on_terminal, action, metrics):
    """Evaluate and predict have a bar too, without a title."""
    loop = Loop(epochs=1, step_time=0.2)

    terminal = on_terminal(getattr(loop, action))

    assert [f"45/45 {BAR} 9s 200ms/step{metrics}", ""] == terminal.rows()
    assert len(terminal.drawings()) > 10
    assert "outputs" not in terminal.text


def test_evaluate_of_unknown_length(on_terminal):
    """A number of steps that is unknown is known when evaluate has ended."""
    terminal = on_terminal(Loop(epochs=1, steps=None).evaluate)

    assert [f"45/45 {BAR} 0s - loss: 0.2500", ""] == terminal.rows()


def test_evaluate_after_fit(on_terminal):
    """The logger that was silent in validation shows a later evaluate."""
    loop = Loop(epochs=1)

    def fit_then_evaluate():
        loop.fit()
        loop.evaluate()

    assert f"45/45 {BAR} 0s - loss: 0.2500" == on_terminal(fit_then_evaluate).rows()[-2]


class Talker(Callback):
    """Prints, speaks and adds a metric."""

    def on_train_batch_end(self, batch, logs=None):
        if batch == 20:
            print("printed")
            self.run.say("spoken")

    def on_epoch_end(self, epoch, logs=None):
        print(f"End of epoch {epoch}")
        logs["learning_rate"] = 0.1


def test_others_messages_are_whole(on_terminal):
    """What callbacks print or say stands above the bar, and a metric that a later callback adds is in the line."""
    loop = Loop(Talker(), epochs=1, step_time=0.06)

    rows = on_terminal(loop.fit, 300).rows()

    assert ["printed", "spoken", "End of epoch 0"] == rows[:3]
    assert rows[3].endswith("val_loss: 0.2500 ★ - learning_rate: 0.1000")
    assert [""] == rows[4:]


def test_everything_is_given_back(on_terminal):
    """After fit the run speaks as before, and the stream is untouched."""
    loop = Loop(epochs=1)
    before = loop.run.speaker

    terminal = on_terminal(loop.fit)

    assert before is loop.run.speaker
    assert [] == loop.run.recorders
    assert "write" not in vars(terminal.stream)


def test_exception_ends_the_line(on_terminal):
    """After Ctrl-C the bar stays as it was; below it stand what happened and the prompt, each on a line of its own."""
    loop = Loop(epochs=2, step_time=0.06)

    def interrupted():
        with pytest.raises(KeyboardInterrupt):
            loop.fit(fail_in_epoch=0)
        loop.progbar.close()
        print("prompt")

    rows = on_terminal(interrupted).rows()

    assert "Epoch 1/2" == rows[0]
    assert re.match(r"4\d/45 ━", rows[1])
    assert ["Left in epoch 1 of 2: KeyboardInterrupt", "prompt", ""] == rows[2:]


def test_last_lines(capsys, tmp_path):
    """At the end: why training stopped, the best and where it is kept, what else was written, and which callbacks failed."""
    loop = Loop(epochs=1)
    loop.run.stop("no improvement in val_loss for 10 epochs")
    loop.run.bests = {
        "val_loss": Best("val_loss", 0.0712, 12, tmp_path / "best.safetensors"),
        "accuracy": Best("accuracy", 0.9, 3),
    }
    loop.run.files = {"ModelCheckpoint": tmp_path / "best.safetensors", "TensorBoard": tmp_path, "Gone": tmp_path / "gone"}
    loop.run.degraded = {"TensorBoard": "OSError: disk full"}

    loop.fit()

    assert [
        "Stopped after epoch 1 of 1: no improvement in val_loss for 10 epochs",
        f"Best val_loss 0.0712 in epoch 13, kept in {tmp_path / 'best.safetensors'}",
        "Best accuracy 0.9000 in epoch 4, kept in no file",
        f"Written: {tmp_path} (TensorBoard)",
        "TensorBoard failed on the way: OSError: disk full",
    ] == capsys.readouterr().out.splitlines()[1:]


def test_last_lines_of_real_callbacks(capsys, tmp_path):
    """What was put back, what could not be saved and what observers could not write is told when training ends."""
    losses = [{"loss": value} for value in (3.0, 1.0, 2.0, 2.0)]

    with pytest.warns(JalonWarning):
        play(
            [
                ProgbarLogger(),
                EarlyStopping("loss", patience=2, restore_best_weights=True),
                ModelCheckpoint(tmp_path / "{epoch}.json", monitor="loss"),
                Failing(tmp_path / "2.json"),
                CSVLogger(tmp_path / "training.log"),
                BackupAndRestore(tmp_path / "backup"),
            ],
            losses,
            verbose=2,
        )

    lines = capsys.readouterr().out.splitlines()
    assert [
        "Stopped after epoch 4 of 4: no improvement in loss for 2 epochs",
        "Best loss 1.0000 in epoch 2, put back into the model",
        f"Written: {tmp_path / 'training.log'} (CSVLogger), {tmp_path / '4.json'} (ModelCheckpoint)",
        "Failing failed on the way: RuntimeError: it does not work",
    ] == lines[4:8]
    assert lines[8].startswith(f"On the way: ModelCheckpoint: the model of epoch 2 was not saved to {tmp_path / '2.json'}: ")
    assert 9 == len(lines)


class Failing(Callback):
    """Cannot observe, and is in the way of a file.

    Args:
        path: The file.
    """

    critical = False

    def __init__(self, path):
        self._path = path

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            self._path.mkdir()
            raise RuntimeError("it does not work")


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        (KeyboardInterrupt(), "Left in epoch 1 of 2: KeyboardInterrupt"),
        (Preempted("SIGTERM was received"), "Left in epoch 1 of 2: Training was left: SIGTERM was received. Start"),
        (ValueError("two\nlines"), "Failed in epoch 1 of 2: ValueError: two"),
    ],
)
def test_last_lines_after_a_fault(capsys, tmp_path, fault, line):
    """A training that is left or fails says so, and what there is of it, the backup included."""

    class Faulty(Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise fault

    with pytest.raises(type(fault)):
        play([ProgbarLogger(), Faulty(), BackupAndRestore(tmp_path)], [{"loss": 1.0}] * 2, verbose=2)

    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(line)
    assert f"Written: {tmp_path} (BackupAndRestore)" == second


def test_the_best_of_a_training_that_is_left(capsys, tmp_path):
    """What is still being written when training is left counts: it is waited for."""

    class Leaving(Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    losses = [{"loss": 3.0}, {"loss": 1.0}, {"loss": 2.0}]
    saver = ModelCheckpoint(tmp_path / "best.json", "loss", save_best_only=True)
    with pytest.raises(KeyboardInterrupt):
        play([ProgbarLogger(), saver, Leaving()], losses, verbose=2)

    assert f"Best loss 1.0000 in epoch 2, kept in {tmp_path / 'best.json'}" == capsys.readouterr().out.splitlines()[-1]


def test_no_last_line(capsys):
    """A training that ran as planned and kept nothing ends with its last epoch's line."""
    Loop(epochs=2, step_time=0.001).fit()

    assert [
        f"Epoch 1/2 - 45/45 - 0s - 1ms/step - {METRICS} best",
        f"Epoch 2/2 - 45/45 - 0s - 1ms/step - {METRICS} (best 0.2500, 1 epoch ago)",
    ] == capsys.readouterr().out.splitlines()


def test_one_line_a_minute(capsys):
    """Where output is no terminal, a long epoch says once a minute how far it is."""
    Loop(epochs=2, steps=45, step_time=4.0).fit()

    assert [
        "Epoch 1/2 - 33% - 15/45 - ETA 2:00 - 4s/step - accuracy: 0.9000 - loss: 0.5000",
        "Epoch 1/2 - 67% - 30/45 - ETA 1:00 - 4s/step - accuracy: 0.9000 - loss: 0.5000",
        "Epoch 1/2 - 100% - 45/45 - ETA 0s - 4s/step - accuracy: 0.9000 - loss: 0.5000",
    ] == capsys.readouterr().out.splitlines()[:3]


def test_verbose_2(on_terminal):
    """verbose=2 is one line per epoch, on a terminal too."""
    terminal = on_terminal(Loop(verbose=2, epochs=2, step_time=4.0).fit, 300)

    assert [
        f"Epoch 1/2 - 45/45 - 3:20 - 4s/step - {METRICS} best",
        f"Epoch 2/2 - 45/45 - 3:20 - 4s/step - {METRICS} (best 0.2500, 1 epoch ago)",
        "",
    ] == terminal.text.split("\r\n")


def test_auto(on_terminal):
    """verbose="auto" shows a bar."""
    assert on_terminal(Loop(verbose="auto", epochs=1, step_time=0.06).fit).drawings()


@pytest.mark.parametrize("silent", [{"verbose": 0}, {"rank": 1}])
def test_silent(capsys, silent):
    """With verbose=0, and on every rank but the first, nothing is written and nobody is called per step."""
    loop = Loop(**silent)
    loop.fit()

    assert "" == capsys.readouterr().out
    assert () == loop.callbacks.batch_hooks["on_train_batch_end"]


def test_second_fit(capsys):
    """The same logger shows a second fit as it showed the first."""
    loop = Loop(epochs=1)
    loop.fit()
    loop.fit()

    first, second = capsys.readouterr().out.splitlines()
    assert first == second


def test_pipe(tmp_path):
    """A real pipe gets whole lines: no carriage return, no backspace, no escape code."""
    script = f"""
        import runpy
        loop = runpy.run_path({__file__!r})["Loop"](epochs=2, step_time=1.0)
        loop.run.stop("enough")
        loop.fit(100)
    """

    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)

    assert not re.search(r"[\r\b\x1b]", done.stdout)
    assert [
        "Epoch 1/2 - 100% - 60/60 - ETA 0s - 1s/step - accuracy: 0.9000 - loss: 0.5000",
        f"Epoch 1/2 - 100/100 - 1:45 - 1s/step - {METRICS} best",
    ] == done.stdout.splitlines()[:2]
    assert "Stopped after epoch 2 of 2: enough" == done.stdout.splitlines()[-1]


def test_ascii_pipe(tmp_path, monkeypatch):
    """A file in ASCII gets what a callback says, with question marks for what ASCII does not know."""
    with open(tmp_path / "log", "w", encoding="ascii") as file, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", file)
        loop = Loop(epochs=1)
        loop.run.stop("arrêté")
        loop.fit()

    assert "Stopped after epoch 1 of 1: arr?t?\n" == (tmp_path / "log").read_text().splitlines(keepends=True)[-1]


def test_broken_pipe(monkeypatch):
    """A pipe that nobody reads any more is warned of and ends neither training nor the callbacks that speak."""
    read, write = os.pipe()
    os.close(read)
    loop = Loop(SpeaksAtTheEnd(), epochs=2)
    stream = os.fdopen(write, "w")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        with pytest.warns(CallbackDegraded, match="BrokenPipeError"):
            loop.fit()
    with contextlib.suppress(BrokenPipeError):
        stream.close()

    assert loop.callbacks.callbacks[0].reached_the_end


class SpeaksAtTheEnd(Callback):
    """Says something at each epoch's end."""

    reached_the_end = False

    def on_epoch_end(self, epoch, logs=None):
        self.run.say("an epoch ended")

    def on_train_end(self, logs=None):
        self.reached_the_end = True


def test_no_standard_output(monkeypatch):
    """A program without standard output trains in silence."""
    monkeypatch.setattr(sys, "stdout", None)

    Loop(epochs=1).fit()


def test_stand_in_for_the_standard_output(monkeypatch):
    """An object that can write and flush and nothing else, as a tee into a file, gets whole lines."""

    class Tee:
        def __init__(self):
            self.text = ""

        def write(self, text):
            self.text += text

        def flush(self):
            pass

    tee = Tee()
    monkeypatch.setattr(sys, "stdout", tee)

    Loop(epochs=1).fit()

    assert tee.text.startswith("45/45 - 0s - accuracy: 0.9310")
