"""What a line about progress says, and how it fits a width."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jalon.sinks.progress import ASCII, Progress, Style, bar_line, columns, duration, layout, number, pace, report, summary

HALFWAY = Progress(
    "Epoch 3/50", seen=22, total=45, seconds=3.0, per_step=0.00048, metrics={"loss": 0.2215, "accuracy": 0.931, "auc": 0.5}
)


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
        (79, "22/45 =========........... ETA 0s 480us/step - loss: 0.2215 - accuracy: 0.9310"),
        (60, "22/45 =========........... ETA 0s 480us/step - loss: 0.2215"),
        (50, "22/45 =========........... ETA 0s - loss: 0.2215"),
        (40, "22/45 ====...... ETA 0s - loss: 0.2215"),
        (35, "22/45 ==... ETA 0s - loss: 0.2215"),
        (30, "22/45 ETA 0s - loss: 0.2215"),
        (20, "22/45 ==... ETA 0s"),
        (8, "22/45 ET"),
    ],
)
def test_layout_gives_way(width, line):
    """Where it is narrow the later metrics go first, then the time per step, the bar by halves, the first metric."""
    assert line == layout(HALFWAY, width, ASCII)


@given(
    width=st.integers(1, 200),
    seen=st.integers(0, 10**7),
    total=st.none() | st.integers(0, 10**7),
    metrics=st.dictionaries(st.text("loß精度e\u0301_", min_size=1, max_size=40), st.floats(), max_size=6),
)
def test_layout_never_too_wide(width, seen, total, metrics):
    """No width, count, name or value makes the moving line wider than the terminal."""
    line = layout(Progress("", seen, total, seconds=9e4, per_step=0.5, metrics=metrics), width)

    assert columns(line) <= width


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


def test_colours_only_around_the_bar():
    """Colours change nothing but the bar: without them the line is the same."""
    coloured = Style(done_colour="\x1b[36m", rest_colour="\x1b[2m", plain="\x1b[0m")

    line = layout(HALFWAY, 80, coloured)

    assert "22/45 \x1b[36m━━━━━━━━━\x1b[0m\x1b[2m───────────\x1b[0m ETA" in line
    assert layout(HALFWAY, 80) == re.sub(r"\x1b\[\d*m", "", line)


def test_final_lines():
    """A finished epoch leaves a line with every metric, with its bar on a terminal and with its title elsewhere."""
    done = Progress("Epoch 3/50", 45, 45, seconds=0.02, per_step=0.00048, metrics={"loss": 0.2215, "val_loss": 0.25})

    assert "45/45 ━━━━━━━━━━━━━━━━━━━━ 0s 480us/step - loss: 0.2215 - val_loss: 0.2500" == bar_line(done)
    assert "Epoch 3/50 - 45/45 - 0s - 480us/step - loss: 0.2215 - val_loss: 0.2500" == summary(done)


def test_report():
    """A line about a long epoch under way says the part that is done and the time to go."""
    progress = Progress("Epoch 3/50", 5400, 45000, seconds=60.0, per_step=0.0111, metrics={"loss": 0.5})

    assert "Epoch 3/50 - 12% -  5400/45000 - ETA 7:20 - 11ms/step - loss: 0.5000" == report(progress)
