"""Standardize: mean 0 and variance 1 for each feature."""

from __future__ import annotations

import json
from collections import namedtuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jalon import Callback, Transform
from jalon.callbacks import Standardize
from jalon.errors import ArgumentError, DataError, NotReady

Pair = namedtuple("Pair", "image number")


def fitted(*batches, **arguments):
    standardize = Standardize(**arguments)
    standardize.fit_transform_begin([(batch,) for batch in batches])
    return standardize


def applied(standardize, x, phase="train"):
    (changed,) = standardize.transform_batch((x,), phase)
    return changed


def shuffled(seed, *shape):
    return np.random.default_rng(seed).normal(5.0, 3.0, shape)


def test_it_is_a_callback_and_a_transform():
    """It goes into the list of callbacks, and the loop collects it."""
    assert isinstance(Standardize(), Callback)
    assert isinstance(Standardize(), Transform)


def test_each_feature_gets_mean_0_and_variance_1():
    """Over the training data, each feature of the result has mean 0 and variance 1."""
    x = shuffled(0, 100, 3) * [1.0, 10.0, 1000.0]

    changed = applied(fitted(x[:30], x[30:32], x[32:]), x)

    np.testing.assert_allclose([0.0] * 3, changed.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose([1.0] * 3, changed.var(axis=0))


@given(
    x=hnp.arrays(np.float64, st.tuples(st.integers(1, 20), st.integers(1, 3)), elements=st.floats(-1e6, 1e6)),
    size=st.integers(1, 20),
)
def test_batches_don_t_matter(x, size):
    """Mean and variance are those of the whole data, however it is cut into batches."""
    batches = [x[start : start + size] for start in range(0, len(x), size)]

    state = fitted(*batches).transform_state()

    np.testing.assert_allclose(x.mean(axis=0), state["mean"]["x"], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(x.var(axis=0), state["variance"]["x"], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("offset", [0.0, 1e9, -1e12])
def test_an_offset_does_not_matter(offset):
    """Data far from 0 keeps its variance to the last digits."""
    x = np.array([[1.0], [2.0], [3.0], [6.0]])

    state = fitted(x[:3] + offset, x[3:] + offset).transform_state()

    np.testing.assert_allclose([3.5], state["variance"]["x"], rtol=1e-14)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e10 / 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_feature_that_never_changes_becomes_0(constant, dtype):
    """A constant feature becomes exactly 0, whatever its size."""
    x = np.full((50, 1), constant, dtype)

    assert not applied(fitted(x[:7], x[7:]), x).any()


def test_epsilon_bounds_the_scale():
    """A standard deviation below epsilon is divided by as if it were epsilon."""
    x = np.array([[0.0], [2e-3]])

    assert [[-0.001], [0.001]] == applied(fitted(x, epsilon=1.0), x).tolist()


@pytest.mark.parametrize(("axis", "width"), [(1, 2), (-1, 4), (2, 3), (-3, 2)])
def test_features_may_lie_along_any_axis(axis, width):
    """Along the given axis each feature has its own mean and variance; the other axes are samples."""
    x = shuffled(1, 10, 2, 3, 4)
    others = tuple(place for place in range(4) if place != axis % 4)

    standardize = fitted(x, axis=axis)

    assert (width,) == standardize.transform_state()["mean"]["x"].shape
    expected = (x - x.mean(axis=others, keepdims=True)) / x.std(axis=others, keepdims=True)
    np.testing.assert_allclose(expected, applied(standardize, x))


def test_one_mean_for_all():
    """axis=None learns one mean and variance in all, for inputs of one axis too."""
    x = np.array([1.0, 3.0])

    assert [-1.0, 1.0] == applied(fitted(x, axis=None), x).tolist()
    assert [[[3.0]]] == applied(fitted(x, axis=None), np.array([[[5.0]]])).tolist()


@pytest.mark.parametrize("phase", ["train", "validation", "test", "predict"])
def test_every_phase_is_treated_alike(phase):
    """Validation, evaluation and predict take the mean and variance of the training data."""
    standardize = fitted(np.array([[1.0], [3.0]]))

    assert [[8.0]] == applied(standardize, np.array([[10.0]]), phase).tolist()


def test_only_the_input_is_changed():
    """Targets and weights pass as they are."""
    y, weight = object(), object()

    x, *rest = fitted(np.array([[1.0], [3.0]])).transform_batch((np.array([[1.0]]), y, weight), "train")

    assert [[-1.0]] == x.tolist()
    assert [y, weight] == rest


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_type_stays(dtype):
    """Floating numbers keep their type."""
    x = shuffled(2, 5, 2).astype(dtype)

    assert dtype == applied(fitted(x), x).dtype


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, bool])
def test_whole_numbers_become_float32(dtype):
    """One array of integers, as an image, becomes float32."""
    x = np.array([[0], [1], [1], [0]], dtype)

    changed = applied(fitted(x), x)

    assert (np.float32, [[-1.0], [1.0], [1.0], [-1.0]]) == (changed.dtype, changed.tolist())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.uint8])
def test_tensors_stay_tensors(dtype):
    """Tensors give tensors, of their type and device, with the numbers that arrays give."""
    x = torch.tensor([[0, 10], [4, 10], [4, 30], [0, 30]], dtype=dtype)

    changed = applied(fitted(x), x)

    assert changed.dtype == (dtype if dtype.is_floating_point else torch.float32)
    assert changed.device == x.device
    assert [[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]] == changed.tolist()


def test_a_tensor_may_follow_an_array():
    """What was learned from arrays serves tensors, of any type, on any device; it is fitted to each once."""
    standardize = fitted(np.array([[1.0], [3.0]]))
    single, double = (torch.tensor([[5.0]], dtype=dtype) for dtype in (torch.float32, torch.float64))

    assert [torch.float32, torch.float64, torch.float32] == [applied(standardize, x).dtype for x in (single, double, single)]
    assert "meta" == applied(standardize, torch.empty(1, 1, device="meta")).device.type


def test_gradients_flow_through():
    """The result of a tensor that needs gradients passes them on."""
    x = torch.tensor([[1.0], [3.0]], requires_grad=True)
    applied(fitted(x), x).sum().backward()

    assert [[1.0], [1.0]] == x.grad.tolist()


def test_each_of_several_inputs_has_its_own():
    """In tuples, lists, named tuples and dicts each array of floating numbers has its own mean and variance."""
    a, b = np.array([[1.0], [3.0]]), np.array([[10.0, 0.0], [30.0, 8.0]])
    nested = {"a": a, "more": [b, (a * 2,)], "pair": Pair(a, b)}

    changed = applied(fitted(nested), nested)

    assert ["a", "more", "pair"] == list(changed)
    assert (list, tuple, Pair) == (type(changed["more"]), type(changed["more"][1]), type(changed["pair"]))
    for array in (changed["a"], changed["more"][0], changed["more"][1][0], *changed["pair"]):
        np.testing.assert_equal(np.tile([[-1.0], [1.0]], array.shape[1]), array)


def test_integers_among_several_inputs_are_left():
    """Among several inputs, integers name things, and stay."""
    words, x = np.array([[3], [7]]), np.array([[1.0], [3.0]])

    changed = applied(fitted({"words": words, "x": x}), {"words": words, "x": x})

    assert changed["words"] is words
    assert [[-1.0], [1.0]] == changed["x"].tolist()


def test_given_statistics_are_taken():
    """With mean and variance given, the data is not looked at."""
    standardize = fitted(np.array([[100.0, 200.0]]), mean=[1.0, 2.0], variance=[4.0, 9.0])

    assert [[1.0, 1.0]] == applied(standardize, np.array([[3.0, 5.0]])).tolist()


def test_a_given_variance_may_be_0():
    """A variance of 0, or a small one, is a variance."""
    assert [[0.0, 2.0]] == applied(Standardize(mean=[1.0, 0.0], variance=[0.0, 0.25]), np.array([[1.0, 1.0]])).tolist()


def test_given_statistics_need_no_fit():
    """With mean and variance given it works at once, one number standing for all features."""
    standardize = Standardize(mean=1.0, variance=4.0)

    assert [[0.0, 1.0], [2.0, 3.0]] == applied(standardize, np.array([[1.0, 3.0], [5.0, 7.0]])).tolist()
    assert [[0.0]] == applied(standardize, (np.array([[1.0]]),))[0].tolist()


def test_a_second_fit_learns_afresh():
    """A new training learns from its own data."""
    standardize = fitted(np.array([[1.0], [3.0]]))
    applied(standardize, np.array([[1.0]]))
    standardize.fit_transform_begin([(np.array([[10.0], [30.0]]),)])

    assert [[1.0]] == applied(standardize, np.array([[30.0]])).tolist()


@pytest.mark.parametrize("axis", [-1, 1, None])
def test_what_was_learned_travels(axis):
    """The state is plain data, through JSON too, with which another instance gives the same results to the bit."""
    x = {"a": shuffled(3, 9, 2), "b": shuffled(4, 9, 3, 1)}
    standardize, other, third = fitted(x, axis=axis, epsilon=10.0), Standardize(), Standardize()
    state = standardize.transform_state()
    other.load_transform_state(state)
    third.load_transform_state(json.loads(json.dumps(state, default=np.ndarray.tolist)))

    for key in x:
        np.testing.assert_array_equal(applied(standardize, x)[key], applied(other, x)[key])
        np.testing.assert_array_equal(applied(standardize, x)[key], applied(third, x)[key])


def test_a_state_replaces_what_was_learned():
    """A state taken in holds from then on, for kinds of input already seen too."""
    standardize, other = fitted(np.array([[1.0], [3.0]])), fitted(np.array([[0.0], [8.0]]))
    applied(standardize, np.array([[8.0]]))
    standardize.load_transform_state(other.transform_state())

    assert [[1.0]] == applied(standardize, np.array([[8.0]])).tolist()


def test_unfitted_use_is_an_error():
    """Used before it has learned, it says how it comes to learn."""
    with pytest.raises(NotReady, match=r"no mean and variance for x\. Train with it in the list of callbacks"):
        applied(Standardize(), np.array([[1.0]]))


def test_an_input_it_does_not_know_is_an_error():
    """Another structure of the input than it learned from is an error that names both."""
    with pytest.raises(NotReady, match=r"no mean and variance for x\. It has learned those of x\.a, x\.b\."):
        applied(fitted({"a": np.ones((2, 1)), "b": np.ones((2, 1))}), np.array([[1.0]]))


@pytest.mark.parametrize("width", [1, 4])
def test_another_number_of_features_is_an_error(width):
    """An input of other features than it learned from is an error with both numbers."""
    with pytest.raises(DataError, match=rf"x has {width} features along axis -1, but mean and variance are known for 3"):
        applied(fitted(shuffled(5, 4, 3)), np.ones((2, width)))


def test_learned_from_one_feature_it_takes_one_feature():
    """What was learned of one feature is not spread over several."""
    with pytest.raises(DataError, match="x has 3 features along axis -1, but mean and variance are known for 1"):
        applied(fitted(shuffled(5, 4, 1)), np.ones((2, 3)))


def test_batches_of_other_features_are_an_error():
    """Training data that changes its number of features is an error."""
    with pytest.raises(DataError, match="x has 2 features along axis -1, but mean and variance are known for 3"):
        fitted(np.ones((4, 3)), np.ones((4, 2)))


@pytest.mark.parametrize(
    ("axis", "shape", "message"),
    [(-1, (5,), r"Standardize\(axis=-1\): x has 1 axis, .*Pass axis=None"), (3, (5, 2), r"Standardize\(axis=3\): x has 2 axes")],
)
def test_an_axis_that_is_not_there_is_an_error(axis, shape, message):
    """Data without the axis of the features is an error with the remedy."""
    with pytest.raises(DataError, match=message):
        fitted(np.ones(shape), axis=axis)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_data_that_is_not_finite_is_an_error(bad):
    """NaN or infinity in the training data is found when it is learned from, with its feature."""
    x = shuffled(6, 4, 5)
    x[2, 3] = bad

    with pytest.raises(DataError, match=r"x holds NaN or infinite values, in feature 3\."):
        fitted(x)
    x[0, 4] = bad
    with pytest.raises(DataError, match=r"in feature 3 and 1 more\. Replace or drop them before training\."):
        fitted(x)


@pytest.mark.parametrize(
    "batches", [[], [(np.zeros((0, 2)),)], [({"words": np.array([[1]])},)]], ids=["none", "empty", "no numbers"]
)
def test_nothing_to_learn_from_is_an_error(batches):
    """Training data without a number is an error."""
    with pytest.raises(DataError, match="the training data holds no numbers"):
        Standardize().fit_transform_begin(batches)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"axis": 0}, r"axis must be None or a whole number other than 0, the axis that counts samples. Received: axis=0"),
        ({"axis": 1.0}, r"Received: axis=1.0"),
        ({"axis": True}, r"Received: axis=True"),
        ({"axis": (1, 2)}, r"Received: axis=\(1, 2\)"),
        ({"mean": 0.0}, r"mean and variance go together. Received: mean=0.0, variance=None"),
        ({"variance": 1.0}, r"mean and variance go together"),
        ({"mean": [0.0], "variance": [1.0, 2.0]}, r"one number per feature each. Received: shapes \(1,\) and \(2,\)"),
        ({"mean": [[0.0]], "variance": [[1.0]]}, r"one number per feature each"),
        ({"mean": 0.0, "variance": -1.0}, r"a variance is never negative"),
        ({"epsilon": 0.0}, r"epsilon must be more than 0"),
        ({"epsilon": "small"}, r"epsilon must be a finite number"),
    ],
)
def test_a_wrong_argument_is_an_error(arguments, message):
    """What cannot be is refused in the constructor, with what was received."""
    with pytest.raises(ArgumentError, match=rf"^Standardize: .*{message}"):
        Standardize(**arguments)
