"""Plain data come back as they were, bit for bit, and nothing else goes in or comes out."""

from __future__ import annotations

import json
import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.numpy import load

from jalon.errors import CheckpointError
from jalon.store.plain import decode, encode

NUMBERS = arrays.boolean_dtypes() | arrays.integer_dtypes() | arrays.unsigned_integer_dtypes() | arrays.floating_dtypes()
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | arrays.arrays(NUMBERS | arrays.complex_number_dtypes(), arrays.array_shapes(min_dims=0, min_side=0))
)
DATA = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text(), inner)
        | st.dictionaries(st.integers() | st.floats(allow_nan=False) | st.booleans(), inner)
    ),
)


def same(one, other):
    """Return whether two data are the same, NaN and the sign of zero included."""
    if isinstance(one, np.ndarray):
        return (
            isinstance(other, np.ndarray)
            and (one.dtype, one.shape) == (other.dtype, other.shape)
            and one.tobytes() == other.tobytes()
        )
    if isinstance(one, float):
        return (isinstance(other, float) and struct.pack("d", one) == struct.pack("d", other)) or (one != one and other != other)
    if isinstance(one, dict):
        return list(map(repr, one)) == list(map(repr, other)) and all(map(same, one.values(), other.values()))
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


@given(DATA)
def test_what_goes_in_comes_out(data):
    """JSON values and arrays in one another come back with their types, shapes, keys and their order."""
    assert same(data, decode(encode(data)))


def test_tuples_become_lists():
    """A tuple is a list afterwards, and a number of numpy's a number."""
    data = {"pair": (1, (2.5, None)), "number": np.float32(0.5), "count": np.int64(3)}

    assert {"pair": [1, [2.5, None]], "number": 0.5, "count": 3} == decode(encode(data))


@pytest.mark.parametrize("data", [{"$array": ["array-0", "<f4", [1]]}, {"$items": [[1, 2]]}, {"$": {"$array": 1}}])
def test_keys_that_look_like_our_own(data):
    """A dict whose keys are those by which arrays are told comes back as it was."""
    assert data == decode(encode(data))


def test_numbers_that_json_has_not():
    """Infinity, NaN, the smallest and the longest numbers come back."""
    data = [math.inf, -math.inf, math.nan, -0.0, 5e-324, 1.7976931348623157e308, 2**200]

    assert same(data, decode(encode(data)))


def test_arrays_are_copies():
    """What comes out can be changed, and what went in may change afterwards."""
    array = np.arange(3.0)
    content = encode({"array": array})
    array[:] = 9
    out = decode(content)["array"]
    out[0] = 7

    assert [7, 1, 2] == out.tolist()


@pytest.mark.parametrize(
    "array", [np.arange(6).reshape(2, 3).T, np.arange(9)[::-2], np.ones(2, ">f4"), np.asfortranarray(np.eye(3))]
)
def test_arrays_however_they_lie_in_memory(array):
    """Transposed, reversed and foreign arrays come back with the same values and type."""
    out = decode(encode(array))

    assert (array.dtype, array.tolist()) == (out.dtype, out.tolist())


def test_the_file_is_safetensors():
    """Arrays are tensors of bytes, and the rest is JSON in the metadata under "data": any reader of the format reads it."""
    content = encode({"weights": np.arange(3, dtype="<u2"), "epoch": 4})
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])

    assert {"array-0": [0, 0, 1, 0, 2, 0]} == {name: one.tolist() for name, one in load(content).items()}
    assert {"weights": {"$array": ["array-0", "<u2", [3]]}, "epoch": 4} == json.loads(header["__metadata__"]["data"])
    assert 0 == int.from_bytes(content[:8], "little") % 8


class Own:
    def __repr__(self):
        return "x" * 1000


@pytest.mark.parametrize(
    "data", [object(), {"a": [Own()]}, {1, 2}, b"bytes", 1j, lambda: None, np.array([object()]), np.array("a")]
)
def test_what_is_no_plain_data_is_refused(data):
    """Anything else is refused when it goes in, by its type, in a line of bounded length."""
    with pytest.raises(TypeError, match="no plain data") as caught:
        encode(data)
    assert len(str(caught.value)) < 150


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data[:20], lambda data: b"", lambda data: data + b"x"])
def test_damaged_files_are_refused(damage):
    """What is no such file is named as one, and not read half."""
    with pytest.raises(CheckpointError, match="This is no plain data"):
        decode(damage(encode({"array": np.ones(3)})))


def forged(text, array=b"12345678"):
    """Return a file whose metadata say something else than an encoder would."""
    header = {"array-0": {"dtype": "U8", "shape": [len(array)], "data_offsets": [0, len(array)]}, "__metadata__": {"data": text}}
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    return len(head).to_bytes(8, "little") + head + array


FORGED = {
    "another array": '{"$array": ["array-1", "<f4", [2]]}',
    "objects": '{"$array": ["array-0", "|O", [1]]}',
    "a structure": '{"$array": ["array-0", [["a", "<f8"]], [1]]}',
    "another size": '{"$array": ["array-0", "<f4", [3]]}',
    "a size that is none": '{"$array": ["array-0", "<f4", ["2"]]}',
    "no such type": '{"$array": ["array-0", "float99", [2]]}',
    "too few": '{"$array": ["array-0"]}',
    "keys that are none": '{"$items": [[[1], 2]]}',
    "no pairs": '{"$items": [1]}',
    "no JSON": "{",
}


@pytest.mark.parametrize("text", FORGED.values(), ids=FORGED.keys())
def test_forged_files_are_refused(text):
    """Metadata that do not hold together are an error of ours, whatever they say; no object is ever made of bytes."""
    with pytest.raises(CheckpointError, match="This is no plain data"):
        decode(forged(text))


def test_deep_nesting_is_refused():
    """A file cannot exhaust the interpreter's stack."""
    with pytest.raises(CheckpointError, match="This is no plain data"):
        decode(forged("[" * 100_000 + "]" * 100_000))
