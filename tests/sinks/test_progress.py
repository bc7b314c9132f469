"""What a line about progress says, and how it fits a width."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jalon.sinks.progress import (
    ASCII,
    Progress,
    Reached,
    Style,
    bar_line,
    columns,
    duration,
    layout,
    number,
    pace,
    report,
    summary,
    throughput,
)

HALFWAY = Progress(
    "Epoch 3/50", seen=22, total=45, seconds=3.0, per_step=0.00048, metrics={"loss": 0.2215, "accuracy": 0.931, "auc": 0.5}
)

EVERYTHING = replace(
    HALFWAY, batch_size=32, bests={"val_loss": Reached(0.25, 3)}, rate="lr 0.001", waits=("stop in 4", "lr cut in 9")
)
BAR20, BAR10 = "22/45 =========........... ETA 0s", "22/45 ====...... ETA 0s"
METRICS, BEST, WAITS = " - loss: 0.2215", " - * val_loss: 0.2500, 3 epochs ago", " - stop in 4 - lr cut in 9"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.22151, "0.2215"),
        (12, "12.0000"),
        (-3.5, "-3.5000"),
        (0.001, "1.0000e-03"),
        (-0.0005, "-5.0000e-04"),
        (math.nan, "nan"),
        (math.inf, "inf"),
        (np.float32(0.5), "0.5000"),
        (np.array([0.1, 0.2]), "[0.1 0.2]"),
        ("two\nlines", "two lines"),
    ],
)
def test_number(value, text):
    """Four decimals, in scientific notation from 0.001 down; what is no number stays on one line."""
    assert text == number(value)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0s"), (59.4, "59s"), (59.6, "1:00"), (75, "1:15"), (3600, "1:00:00"), (93784, "26:03:04")]
)
def test_duration(seconds, text):
    """Seconds under a minute, then minutes, then hours."""
    assert text == duration(seconds)


@pytest.mark.parametrize(("per_step", "text"), [(0, ""), (0.00048, "480us/step"), (0.0071, "7ms/step"), (2.2, "2s/step")])
def test_pace(per_step, text):
    """The time per step has the unit that suits it; none is claimed before a step was timed."""
    assert text == pace(per_step)


def test_layout_with_room():
    """A wide terminal shows count, bar, time to go, time per step and every metric."""
    line = layout(HALFWAY, 300)

    assert "22/45 ━━━━━━━━━─────────── ETA 0s 480us/step - loss: 0.2215 - accuracy: 0.9310 - auc: 0.5000" == line


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (300, f"{BAR20} 480us/step - 66,700 samples/s{METRICS} - accuracy: 0.9310 - auc: 0.5000{BEST} - lr 0.001{WAITS}"),
        (180, f"{BAR20} 480us/step{METRICS} - accuracy: 0.9310 - auc: 0.5000{BEST} - lr 0.001{WAITS}"),
        (160, f"{BAR20}{METRICS} - accuracy: 0.9310 - auc: 0.5000{BEST} - lr 0.001{WAITS}"),
        (144, f"{BAR10}{METRICS} - accuracy: 0.9310 - auc: 0.5000{BEST} - lr 0.001{WAITS}"),
        (134, f"{BAR10}{METRICS} - accuracy: 0.9310 - auc: 0.5000{BEST}{WAITS}"),
        (120, f"{BAR10}{METRICS} - accuracy: 0.9310 - auc: 0.5000{BEST} - stop in 4"),
        (105, f"{BAR10}{METRICS} - accuracy: 0.9310{BEST} - stop in 4"),
        (89, f"{BAR10}{METRICS}{BEST} - stop in 4"),
        (79, f"{BAR10}{METRICS} - * val_loss: 0.2500, 3 ago - stop in 4"),
        (74, f"22/45 ==... ETA 0s{METRICS} - * val_loss: 0.2500, 3 ago - stop in 4"),
        (62, f"22/45 ==... ETA 0s{METRICS} - * val_loss: 0.2500, 3 ago"),
        (40, f"22/45 ==... ETA 0s{METRICS}"),
        (30, f"22/45 ETA 0s{METRICS}"),
        (20, "22/45 ETA 0s"),
        (8, "22/45 ET"),
    ],
)
def test_layout_gives_way(width, line):
    """
    What goes first where it is narrow: samples and time per step, half of the bar, the rate, the later countdowns and
    metrics, the word "epochs", half of the bar again, the countdown, the best, the bar, the metric.
    """
    assert line == layout(EVERYTHING, width, ASCII)


@given(
    width=st.integers(1, 200),
    seen=st.integers(0, 10**7),
    total=st.none() | st.integers(0, 10**7),
    metrics=st.dictionaries(st.text("loß精度e\u0301_", min_size=1, max_size=40), st.floats(), max_size=6),
    waits=st.lists(st.sampled_from(["stop in 4", "lr cut in 10"])),
)
def test_layout_never_too_wide(width, seen, total, metrics, waits):
    """No width, count, name or value makes the moving line wider than the terminal."""
    bests = {name: Reached(value, seen) for name, value in metrics.items()}
    told = Progress("", seen, total, 9e4, 0.5, metrics, batch_size=64, bests=bests, rate="lr 0.001", waits=waits)

    line = layout(told, width)

    assert columns(line) <= width


def test_layout_keeps_the_loss():
    """Of several metrics the loss is left out last, wherever it stands."""
    progress = Progress("", 1, 9, metrics={"accuracy": 0.9, "loss": 0.5, "recall": 0.8})

    assert "1/9 ───── ETA 0s - loss: 0.5000" == layout(progress, 33)


def test_columns():
    """A Chinese character takes two columns, an accent that combines none."""
    assert 4 == columns("精度")
    assert 1 == columns("e\u0301")


def test_unknown_total():
    """While the number of steps is unknown there is no bar and no time to go, but the time spent."""
    progress = Progress("", seen=12, total=None, seconds=75, per_step=0.5, metrics={"loss": 0.5})

    assert "12/Unknown 1:15 500ms/step - loss: 0.5000" == layout(progress, 80)


def test_time_to_go():
    """The time to go is the steps to do times the time of one."""
    line = layout(Progress("", 10, 100, seconds=20.0, per_step=2.0), 80)

    assert " 10/100 ━━────────────────── ETA 3:00 2s/step" == line


def test_colours_add_nothing():
    """Colours are around the bar and the mark of the best; without them the line is the same, and says as much."""
    coloured = Style(done_colour="\x1b[36m", rest_colour="\x1b[2m", mark_colour="\x1b[33m", plain="\x1b[0m")

    line = layout(EVERYTHING, 300, coloured)

    assert "22/45 \x1b[36m━━━━━━━━━\x1b[0m\x1b[2m───────────\x1b[0m ETA" in line
    assert " - \x1b[33m★\x1b[0m val_loss: 0.2500, 3 epochs ago" in line
    assert layout(EVERYTHING, 300) == re.sub(r"\x1b\[\d*m", "", line)


def test_final_lines():
    """A finished epoch leaves a line with every metric, with its bar on a terminal and with its title elsewhere."""
    done = Progress("Epoch 3/50", 45, 45, seconds=0.02, per_step=0.00048, metrics={"loss": 0.2215, "val_loss": 0.25})

    assert "45/45 ━━━━━━━━━━━━━━━━━━━━ 0s 480us/step - loss: 0.2215 - val_loss: 0.2500" == bar_line(done, 300)
    assert "Epoch 3/50 - 45/45 - 0s - 480us/step - loss: 0.2215 - val_loss: 0.2500" == summary(done)


@pytest.mark.parametrize(
    ("width", "rows"),
    [
        (79, ["45/45 ==================== 0s 480us/step - loss: 0.2215 - val_loss: 0.2500 *", "  stop in 4"]),
        (39, ["45/45 ========== 0s 480us/step", "  loss: 0.2215 - val_loss: 0.2500 *", "  stop in 4"]),
        (20, ["45/45 0s 480us/step", "  loss: 0.2215", "  val_loss: 0.2500 *", "  stop in 4"]),
    ],
)
def test_final_line_on_a_narrow_terminal(width, rows):
    """Where a finished epoch's line is too long for the terminal it is several rows, and nothing is broken or left out."""
    metrics, bests = {"loss": 0.2215, "val_loss": 0.25}, {"val_loss": Reached(0.25, 0)}
    done = Progress("", 45, 45, per_step=0.00048, metrics=metrics, bests=bests, waits=["stop in 4"])

    assert rows == bar_line(done, width, ASCII).split("\n")


def test_best_of_an_epoch():
    """A metric that is the best so far has the mark; of another the best stands beside it, and of one not reported after it."""
    bests = {"loss": Reached(0.2215, 0), "val_loss": Reached(0.25, 1), "auc": Reached(0.9, 2)}
    done = Progress("Epoch 3/50", 45, 45, metrics={"loss": 0.2215, "val_loss": 0.3}, bests=bests, waits=["stop in 4"])

    told = "loss: 0.2215 best - val_loss: 0.3000 (best 0.2500, 1 epoch ago) - best auc: 0.9000, 2 epochs ago - stop in 4"
    assert f"Epoch 3/50 - 45/45 - 0s - {told}" == summary(done)
    assert f"45/45 ━━━━━━━━━━━━━━━━━━━━ 0s - {told.replace('best', '★')}" == bar_line(done, 300)


@pytest.mark.parametrize(
    ("per_step", "batch_size", "text"), [(0.5, 32, "64 samples/s"), (0.0123, 256, "20,800 samples/s"), (0, 32, ""), (1, None, "")]
)
def test_throughput(per_step, batch_size, text):
    """Samples a second have three digits that count, and are told where the size of a batch and its time are known."""
    assert text == throughput(Progress("", per_step=per_step, batch_size=batch_size))


def test_report():
    """A line about a long epoch under way says the part that is done and the time to go."""
    progress = Progress("Epoch 3/50", 5400, 45000, seconds=60.0, per_step=0.0111, metrics={"loss": 0.5})

    assert "Epoch 3/50 - 12% -  5400/45000 - ETA 7:20 - 11ms/step - loss: 0.5000" == report(progress)
