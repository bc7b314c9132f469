"""What the page is told of runs, whoever wrote them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from runs_on_disk import epoch, write_journal

from jalon.live import api
from jalon.live.curves import MOST_ROWS, Table, reduced
from jalon.live.runs import Runs
from jalon.sinks.tfevents import EventFileWriter

NOW = 1010.0


def told(folder, name):
    """Return a run and its curves by metric, read to the end."""
    run = Runs(folder).get(name)
    run.refresh()
    while not run.complete:
        run.refresh()
    return run, {chart["name"]: chart for chart in api.curves(run, axis="epoch", width=800)}


def test_training_and_validation_together(tmp_path):
    """A metric's curve has training and validation; the learning rate comes last, and epochs count from 1."""
    write_journal(tmp_path / "a", epoch(0, learning_rate=0.1, loss=0.5, val_loss=0.6), epoch(1, accuracy=0.9, loss=0.4))
    _, charts = told(tmp_path, "a")

    assert ["loss", "accuracy", "learning_rate"] == list(charts)
    assert {"loss": [0.5, 0.4], "val_loss": [0.6, None]} == charts["loss"]["series"]
    assert [1, 2] == charts["loss"]["x"]


@pytest.mark.parametrize(
    ("records", "alive", "state"),
    [
        ([], True, "running"),
        ([], False, "dead"),
        ([{"kind": "end", "outcome": "finished", "time": 1.0}], False, "finished"),
        ([{"kind": "end", "outcome": "failed", "time": 1.0, "reason": "ValueError: x"}], False, "failed"),
        ([{"kind": "command", "command": "pause", "outcome": "done", "time": 1.0}], True, "paused"),
        ([{"kind": "command", "command": "pause", "outcome": "refused", "time": 1.0}], True, "running"),
    ],
)
def test_how_a_run_is(tmp_path, records, alive, state):
    """A run that trains, that waits, that ended and that died are told apart."""
    write_journal(tmp_path / "a", *records, alive=alive)

    assert [state] == [one["state"] for one in api.list_of(Runs(tmp_path), now=NOW)]


def test_gone_on_with(tmp_path):
    """After a resume, what came after the moment to which a run was put back is void; the resume is marked."""
    again = {"kind": "begin", "time": 1005.0, "resumed": True, "position": {"epoch": 1, "batch": 0, "step": 4}, "epochs": 10}
    batches = [{"kind": "batch", "time": 1001.0, "epoch": 0, "batch": n, "step": n, "logs": {"loss": 9.0}} for n in range(1, 8)]
    void = {"kind": "rate", "time": 1003.0, "epoch": 1, "who": "x", "was": 1.0, "value": 0.5}
    write_journal(
        tmp_path / "a", *batches, epoch(0, loss=1.0), epoch(1, loss=9.0), void, epoch(2, loss=9.0), again, epoch(1, loss=0.5)
    )
    run, charts = told(tmp_path, "a")

    assert [1.0, 0.5] == charts["loss"]["series"]["loss"]
    assert [1.0, 2.0, 3.0, 4.0] == list(run.steps.places)
    assert ["resumed"] == [mark["kind"] for mark in api.detail(run, now=NOW)["marks"]]


def test_a_loss_that_is_no_number_is_marked(tmp_path):
    """NaN and infinity are gaps in a curve, and marked."""
    write_journal(tmp_path / "a", epoch(0, loss=1.0))
    with open(tmp_path / "a" / "journal.jsonl", "a") as file:
        file.write('{"kind":"epoch","time":1.0,"epoch":1,"logs":{"loss":"NaN"}}\n{"kind":"batch"}\n{"half')
    run, charts = told(tmp_path, "a")

    assert [1.0, None] == charts["loss"]["series"]["loss"]
    assert ["loss is not finite"] == [mark["text"] for mark in run.marks]


def test_progress(tmp_path):
    """How far a run is, how long an epoch takes and what is left."""
    write_journal(tmp_path / "a", *(epoch(number, loss=1.0) for number in range(4)))
    (tmp_path / "a" / "now.json").write_text(json.dumps({"epoch": 4, "batch": 1, "step": 18, "phase": "train"}))
    run, _ = told(tmp_path, "a")
    at = api.progress(run, now=NOW)

    assert (4, 18, 0.45, 5.5, 1.0) == tuple(at[name] for name in ("epoch", "step", "share", "seconds_left", "seconds_per_epoch"))


def test_found_and_searched(tmp_path):
    """Runs are found in folders of folders, by what they have written; hidden folders, backups and links are passed over."""
    write_journal(tmp_path / "b" / "deep", epoch(0, loss=1.0))
    for place in (".hidden", "b/deep/backup"):
        write_journal(tmp_path / place)
    (tmp_path / "training.log").write_text("epoch,loss\r\n0,1.0\r\n")
    (tmp_path / "notes.csv").write_text("name,price\r\nx,1\r\n")
    (tmp_path / "link.csv").symlink_to(tmp_path / "training.log")
    runs = Runs(tmp_path)

    assert {"b/deep", "training.log"} == {one["id"] for one in api.list_of(runs, now=NOW)}
    assert ["b/deep"] == [one["id"] for one in api.list_of(runs, now=NOW, search="earlystopping DEEP")]
    assert runs.get("../training.log") is None
    assert runs.get(str(tmp_path / "training.log")) is None


def test_keras_csv(tmp_path):
    """A table of Keras's CSVLogger is a run, also while it grows; what is missing is a gap."""
    path = tmp_path / "training.log"
    path.write_text("epoch;loss;val_loss\n0;1.0;2.0\n1;0.5;NA\n")
    run, charts = told(tmp_path, "training.log")
    with open(path, "a") as file:
        file.write("2;0.25;1.0\n3;0.")
    run.refresh()
    grown = api.curves(run, axis="epoch", width=800)[0]["series"]

    assert {"loss": [1.0, 0.5], "val_loss": [2.0, None]} == charts["loss"]["series"]
    assert {"loss": [1.0, 0.5, 0.25], "val_loss": [2.0, None, 1.0]} == grown
    assert "recorded" == api.summary(run, now=NOW)["state"]


def test_event_files(tmp_path):
    """Keras's event files of train and validation are one run, with a metric's curves together."""
    for part, values in (("train", [1.0, 0.5]), ("validation", [2.0, 1.5])):
        writer = EventFileWriter(tmp_path / "tb" / part)
        for step, value in enumerate(values):
            writer.scalar("epoch_loss", value, step=step)
        writer.close()
    _, charts = told(tmp_path, "tb")

    assert {"loss": [1.0, 0.5], "val_loss": [2.0, 1.5]} == charts["loss"]["series"]


numbers = npst.arrays(np.float64, st.integers(1, 400), elements=st.floats(-1e6, 1e6) | st.just(np.nan))


@given(numbers, st.integers(10, 40))
def test_reduced_to_what_is_seen(values, width):
    """However few points are kept, the least and the most of every column, the first and the last row are among them."""
    x = np.arange(float(len(values)))
    kept, columns = reduced(x, {"a": values, "b": -values}, width)
    for before, after in ((values, columns["a"]), (-values, columns["b"])):
        if not np.isnan(before).all():
            np.testing.assert_equal((np.nanmin(before), np.nanmax(before)), (np.nanmin(after), np.nanmax(after)))

    assert (x[0], x[-1]) == (kept[0], kept[-1])
    assert len(kept) <= max(2 * width, 4 * (width + 1) + 2)


def test_memory_is_bounded():
    """Of more rows than are held every second one is kept, and columns stay beside each other."""
    table = Table()
    table.places.extend(range(MOST_ROWS))
    table.times.extend(range(MOST_ROWS))
    table.add(MOST_ROWS, 1.0, {"late": 5.0})

    assert MOST_ROWS // 2 + 1 == len(table) == len(table.column("late"))
    assert 5.0 == table.column("late")[-1]


def test_a_part_of_a_curve(tmp_path):
    """Zoomed in, a part is shown with a point on each side, so that lines reach the edges."""
    write_journal(tmp_path / "a", *(epoch(number, loss=float(number)) for number in range(100)))
    run, _ = told(tmp_path, "a")
    part = api.curves(run, axis="epoch", width=800, begin=10.5, end=12.5)[0]

    assert [10, 11, 12, 13] == part["x"]
