"""ProgbarLogger in a real notebook, executed by a real kernel."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

LOOP = Path(__file__).with_name("test_progbar_logger.py")

SETUP = f"""
import runpy
Loop = runpy.run_path({str(LOOP)!r})["Loop"]
"""
SHORT_EPOCHS = """
loop = Loop(epochs=300, steps=20, step_time=0.001)
loop.run.stop("<enough>")
loop.fit(20)
"""
ONE_LONG_EPOCH = """
Loop(epochs=1, steps=1000, step_time=0.01).fit(1000)
"""
INTERRUPTED = """
try:
    Loop(epochs=2, steps=45, step_time=0.1).fit(22, fail_in_epoch=0)
except KeyboardInterrupt:
    pass
"""
WATCHED = """
from jalon.callbacks import EarlyStopping
try:
    Loop(EarlyStopping(patience=3, mode="min"), epochs=2, steps=45, step_time=0.1).fit(22, fail_in_epoch=1)
except KeyboardInterrupt:
    pass
"""
REDIRECTED = """
import contextlib, io
with contextlib.redirect_stdout(io.StringIO()) as text:
    Loop(epochs=1).fit()
print(text.getvalue().count("\\n"))
"""
TALKATIVE = """
from jalon.callbacks import Callback
class Talker(Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.run.say(f"after {epoch + 1}")
        logs["learning_rate"] = 0.1
Loop(Talker(), epochs=2, step_time=0.1).fit()
"""
VERBOSE_2 = """
Loop(epochs=2, verbose=2).fit()
"""


class CountingClient(NotebookClient):
    """Executes a notebook and counts how often each cell updates a display."""

    def process_message(self, msg, cell, cell_index):
        if msg["msg_type"] in ("display_data", "update_display_data"):
            cell.metadata["updates"] = cell.metadata.get("updates", 0) + 1
        return super().process_message(msg, cell, cell_index)


@pytest.fixture(scope="module")
def cells():
    """Return the executed cells by their source."""
    sources = [SETUP, SHORT_EPOCHS, ONE_LONG_EPOCH, INTERRUPTED, WATCHED, REDIRECTED, TALKATIVE, VERBOSE_2]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    CountingClient(notebook, timeout=60, kernel_name="python3", coalesce_streams=True).execute()
    return dict(zip(sources, notebook.cells, strict=True))


def only_output(cell):
    (output,) = cell.outputs
    return output


def rows(cell):
    """Return the text of each row of the table that a cell shows."""
    html = only_output(cell).data["text/html"]
    return [re.sub(r"<[^>]+>", "|", row) for row in re.findall(r"<tr>(.*?)</tr>", html)]


def test_one_output(cells):
    """A training of many epochs is one output area; what no longer fits is counted, and nothing is left behind."""
    text = only_output(cells[SHORT_EPOCHS]).data["text/plain"].splitlines()

    assert "(281 earlier lines)" == text[0]
    assert text[-2].startswith("Epoch 300/300 - 20/20 - 0s - 1ms/step - accuracy: 0.9310 - loss: 0.2215")
    assert "Stopped after epoch 300 of 300: <enough>" == text[-1]


def test_five_updates_a_second(cells):
    """Seven and a half seconds of training, in epochs of a fortieth of a second, are no more than forty updates."""
    assert 36 <= cells[SHORT_EPOCHS].metadata["updates"] <= 40


def test_long_epoch(cells):
    """Ten seconds of one epoch are about fifty updates, and the bar is gone when the epoch is done."""
    assert 48 <= cells[ONE_LONG_EPOCH].metadata["updates"] <= 53
    assert "<progress" not in only_output(cells[ONE_LONG_EPOCH]).data["text/html"]


def test_table(cells):
    """Finished epochs are rows with a column per metric, late ones included, the best marked; a message is a row of its own."""
    header, first_message, first, second_message, second = rows(cells[TALKATIVE])

    assert ["steps", "time", "pace", "accuracy", "loss", "val_accuracy", "val_loss", "learning_rate"] == re.findall(
        r"\w+", header
    )
    assert "|after 1|" == first_message
    assert "|Epoch 1/2||45/45||5s||100ms/step||0.9310||0.2215||0.9200||★ 0.2500||0.1000|" == first
    assert "|after 2|" == second_message
    assert second.startswith("|Epoch 2/2|")


def test_curves(cells):
    """There is a picture for each metric, with the validation in that of its metric, and the curves have grown."""
    html = only_output(cells[SHORT_EPOCHS]).data["text/html"]

    assert ["accuracy", "loss"] == re.findall(r'aria-label="(\w+)"', html)
    assert 4 == html.count('stroke-width="1.5"')
    assert ">300</text>" in html


def test_what_the_bar_says(cells):
    """Beside the bar stand the metrics so far, and what there is to know beside them."""
    html = only_output(cells[WATCHED]).data["text/html"]

    told = re.search(r"</progress> ([^<]*)<", html)[1]
    assert re.match(r"Epoch 2/2 - 2\d/45 - ETA 2s - 100ms/step - accuracy: 0.9000 - loss: 0.5000", told)
    assert told.endswith(" - loss: 0.5000 - ★ val_loss: 0.2500, 1 epoch ago - stop in 3")


def test_html_is_escaped(cells):
    """What is said is text, whatever signs are in it."""
    assert "|Stopped after epoch 300 of 300: &lt;enough&gt;|" == rows(cells[SHORT_EPOCHS])[-1]


def test_interrupted(cells):
    """An interrupted epoch leaves its bar where it was."""
    assert re.search(r'<progress value="2[012]" max="45"', only_output(cells[INTERRUPTED]).data["text/html"])


def test_redirected(cells):
    """Where a notebook redirects the standard output, lines go there and no display is made."""
    assert "1\n" == only_output(cells[REDIRECTED]).text


def test_verbose_2(cells):
    """verbose=2 prints one line per epoch."""
    assert ["Epoch 1/2", "Epoch 2/2"] == [line[:9] for line in only_output(cells[VERBOSE_2]).text.splitlines()]
