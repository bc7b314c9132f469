"""Curves as SVG, read back as a browser would."""

from __future__ import annotations

import math
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jalon.sinks.curves import MOST, Curves, Line
from jalon.sinks.progress import Progress, Reached


def pictures(curves, running=None, bests=None, epoch=1):
    """Return each picture by its name."""
    root = ElementTree.fromstring(f"<all>{curves.pictures(running, bests or {}, epoch)}</all>")
    return {picture.get("aria-label"): picture for picture in root}


def lines(picture):
    """Return the points of each line in a picture."""
    drawn = [path for path in picture.iter("path") if path.get("stroke-width")]
    return [[tuple(map(float, at.split())) for at in path.get("d").replace("M", "L").split("L")[1:]] for path in drawn]


def texts(picture):
    return ["".join(text.itertext()) for text in picture.iter("text")]


def of(**metrics):
    """Return curves through these values of each metric."""
    curves = Curves()
    for epoch, values in enumerate(zip(*metrics.values(), strict=True), 1):
        curves.add(epoch, dict(zip(metrics, values, strict=True)))
    return curves


def test_a_picture_for_each_metric():
    """A metric and its validation share a picture, whose title, numbers and signs say what is what."""
    drawn = pictures(of(loss=[0.5, 0.25], val_loss=[0.75, 0.5], accuracy=[0.5, 0.75]))

    assert ["loss", "accuracy"] == list(drawn)
    assert ["loss", "━ training ╍ validation", "0.75", "0.25", "1", "2"] == texts(drawn["loss"])
    assert [[(44.0, 62.0), (238.0, 104.0)], [(44.0, 20.0), (238.0, 62.0)]] == lines(drawn["loss"])
    assert ["accuracy", "0.75", "0.5", "1", "2"] == texts(drawn["accuracy"])


def test_training_and_validation_differ_without_colour():
    """The line of the validation is dashed, that of the training is not."""
    drawn = pictures(of(loss=[0.5, 0.25], val_loss=[0.75, 0.5]))["loss"]

    assert [None, "4 2"] == [path.get("stroke-dasharray") for path in drawn.iter("path") if path.get("stroke-width")]


def test_the_best_is_marked():
    """A star stands at the epoch of the best value."""
    curves = of(val_loss=[0.75, 0.25, 0.5])

    drawn = pictures(curves, bests={"val_loss": Reached(0.25, 1)}, epoch=3)["loss"]

    (star,) = [text for text in drawn.iter("text") if text.text == "★"]
    assert (141.0, 108.0) == (float(star.get("x")), float(star.get("y")))


def test_the_end_of_the_line_moves_within_an_epoch():
    """The line of the training goes on to where the epoch under way is."""
    running = Progress("", 5, 10, metrics={"loss": 0.25}, epoch=3)

    drawn = pictures(of(loss=[0.75, 0.5], val_loss=[0.75, 0.5]), running)["loss"]

    assert [3, 2] == [len(points) for points in lines(drawn)]
    assert (238.0, 104.0) == lines(drawn)[0][-1]


def test_the_first_epoch_has_a_line():
    """In the first epoch, which may be the only one, the line is that of its steps."""
    curves = Curves()
    assert "" == curves.pictures(None, {}, 1)
    for seen in range(1, 5):
        curves.add_within(Progress("", seen, 5, metrics={"loss": 1 / seen}, epoch=1))

    assert [4] == [len(points) for points in lines(pictures(curves)["loss"])]
    assert ["0", "0.8"] == texts(pictures(curves)["loss"])[-2:]

    curves.add(1, {"loss": 0.2})
    assert [5] == [len(points) for points in lines(pictures(curves)["loss"])]

    curves.add(2, {"loss": 0.1})
    assert [2] == [len(points) for points in lines(pictures(curves)["loss"])]


def test_gaps():
    """NaN and infinity leave a gap; what is no number has no line."""
    curves = of(loss=[0.5, math.nan, 0.25, math.inf], name=["a", "b", "c", "d"])

    drawn = pictures(curves)

    assert ["loss"] == list(drawn)
    assert 2 == drawn["loss"].findall("path")[1].get("d").count("M")
    assert ["loss", "0.5", "0.25", "1", "3"] == texts(drawn["loss"])


@pytest.mark.parametrize("values", [[1.0], [1.0, 1.0], [math.nan]])
def test_nothing_to_span(values):
    """One value, equal values and no value at all make a picture too."""
    assert ["loss"] == list(pictures(of(loss=values)))


def test_names_are_text():
    """Whatever signs are in a metric's name, they are text."""
    assert ['<a&"b">'] == list(pictures(of(**{'<a&"b">': [1.0, 2.0]})))


@given(count=st.integers(1, 5 * MOST))
def test_a_line_has_a_bounded_number_of_points(count):
    """However long a training, a line has a bounded number of points: the first, the last, and evenly many between."""
    line = Line()
    for epoch in range(count):
        line.add(epoch, 0.5)

    epochs = [epoch for epoch, _ in line.points]
    assert min(count, MOST // 2) <= len(epochs) <= MOST
    assert (0, count - 1) == (epochs[0], epochs[-1])
    assert len({later - epoch for epoch, later in pairwise(epochs[:-1])}) <= 1
