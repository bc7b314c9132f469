"""Files of arrays are those of the other frameworks, whole, and say what is wrong with them."""

from __future__ import annotations

import json

import ml_dtypes  # noqa: F401  # adds bfloat16 to numpy
import numpy as np
import pytest
import safetensors.numpy
import torch

from jalon.engines.torch.formats import Checkpoint, read_checkpoint, write_checkpoint
from jalon.errors import ArgumentError, CheckpointError
from jalon.store import arrays
from jalon.store.arrays import Stored

KINDS = ("float64", "float32", "float16", "bfloat16", "complex64", "complex128", "bool", "int8", "int64", "uint32")


@pytest.fixture
def path(tmp_path):
    """Return where a file is written."""
    return tmp_path / "weights.safetensors"


def test_every_type_and_shape_comes_back(path):
    """Bit for bit, those that the format does not have too, and arrays without elements."""
    weights = {kind: np.arange(6).reshape(2, 3).astype(kind) for kind in KINDS} | {"none": np.zeros((0, 3)), "one": np.array(5.0)}
    arrays.write(path, Stored(weights, {"step": np.array(3)}, {"epoch": 4}))

    back = arrays.read(path)

    assert list(weights) == list(back.weights)
    for name, value in weights.items():
        assert (value.dtype, value.shape) == (back.weights[name].dtype, back.weights[name].shape)
        assert value.tobytes() == back.weights[name].tobytes()
    assert ({"step": 3}, {"epoch": 4}) == (back.optimizer, back.about)


def test_pytorch_reads_them_and_the_other_way_round(path):
    """They are the files that are written under PyTorch."""
    arrays.write(path, Stored({"kernel": np.ones((2, 1), "bfloat16")}, {"mu.kernel": np.ones(2)}, {"epoch": 4}))
    found = read_checkpoint(path)

    assert torch.equal(torch.ones(2, 1, dtype=torch.bfloat16), found.weights["kernel"])
    assert (["mu.kernel"], {"epoch": 4}) == (list(found.optimizer), found.about)

    write_checkpoint(path, Checkpoint({"kernel": torch.full((2,), 7.0)}, about={"epoch": 5}))

    assert ([7.0, 7.0], {"epoch": 5}) == (arrays.read(path).weights["kernel"].tolist(), arrays.read(path).about)


def test_the_library_of_the_format_reads_them_and_is_read(path):
    """Weights are under their own names, and a file with nothing but weights is taken."""
    arrays.write(path, Stored({"kernel": np.ones(3, "f4")}))

    assert [1.0, 1.0, 1.0] == safetensors.numpy.load_file(path)["kernel"].tolist()

    safetensors.numpy.save_file({"bias": np.zeros(2)}, path)

    assert ["bias"] == list(arrays.read(path).weights)


@pytest.mark.parametrize("place", [9, -1, 200])
def test_a_changed_byte_is_noticed(path, place):
    """In the header, in what it says, and in the arrays."""
    arrays.write(path, Stored({"kernel": np.ones(3)}, about={"epoch": 4}))
    damaged = bytearray(path.read_bytes())
    damaged[place] ^= 1
    path.write_bytes(damaged)

    with pytest.raises(CheckpointError, match=r"weights.safetensors"):
        arrays.read(path)


def test_what_cannot_be_read_says_why(path):
    """A missing file, a cut one, a newer one, and the state of one of PyTorch's optimizers."""
    with pytest.raises(CheckpointError, match="No such file"):
        arrays.read(path)
    arrays.write(path, Stored({"kernel": np.ones(3)}))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(CheckpointError, match=r"damaged, or no .safetensors file"):
        arrays.read(path)
    path.write_bytes(whole.replace(b'{\\"format\\": 1', b'{\\"format\\": 2'))
    with pytest.raises(CheckpointError, match=r"newer jalon \(format 2; this one reads 1\)"):
        arrays.read(path)
    write_checkpoint(path, Checkpoint({}, {"state": {0: {"step": torch.ones(1)}}}))
    with pytest.raises(CheckpointError, match="state of an optimizer of PyTorch"):
        arrays.read(path)


def test_what_cannot_be_written_is_refused(path):
    """Names of jalon's own, and what is no JSON; nothing is there then."""
    with pytest.raises(ArgumentError, match="'jalon:x' cannot be saved"):
        arrays.write(path, Stored({"jalon:x": np.ones(1)}))
    with pytest.raises(ArgumentError, match="must be JSON values"):
        arrays.write(path, Stored({}, about={"epoch": json}))

    assert not path.exists()
