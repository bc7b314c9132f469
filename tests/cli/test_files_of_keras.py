"""``jalon verify`` and ``jalon inspect`` of what Keras writes, without Keras."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
from importlib.metadata import version

import numpy as np
import pytest


@pytest.fixture(scope="module")
def keras_files(tmp_path_factory):
    """Return a folder with the files that Keras writes of a small trained model."""
    folder = tmp_path_factory.mktemp("keras")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the frameworks say of each other
        import keras

        model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(1)])
        model.compile("adam", "mse")
        model.fit(np.ones((8, 4)), np.ones((8, 1)), epochs=2, verbose=0)
        model.save(folder / "model.keras")
        model.save(folder / "old.h5")
        model.save_weights(folder / "model.weights.h5")
    return folder


@pytest.fixture
def keras_folder(keras_files, tmp_path):
    """Return a copy of those files."""
    for path in keras_files.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_files_of_keras(keras_folder, call):
    """Keras's files are whole as far as can be told, and that they carry no checksum of their content is said."""
    code, lines = call("verify", keras_folder)

    assert 0 == code
    assert f"whole  {keras_folder}/model.keras  Keras model; it carries checksums of its archive alone" == lines[0]
    assert lines[1].endswith("model.weights.h5  weights of a Keras model, .h5; it carries no checksum of its content")
    assert lines[2].endswith("old.h5  weights of a Keras model, .h5; it carries no checksum of its content")


@pytest.mark.parametrize("name", ["model.keras", "model.weights.h5", "old.h5"])
def test_a_truncated_file_of_keras(keras_folder, call, name):
    """A file of Keras's that is too short is damaged."""
    os.truncate(keras_folder / name, (keras_folder / name).stat().st_size // 2)

    code, lines = call("verify", keras_folder / name)

    assert 1 == code
    assert lines[0].startswith(f"damaged  {keras_folder / name}  cannot be read")


def test_a_changed_keras_archive(keras_folder, call, flip):
    """A changed byte of the weights in a .keras file is found by the archive's checksums."""
    path = keras_folder / "model.keras"
    flip(path, path.read_bytes().index(b"\x89HDF") + 9000)

    code, lines = call("verify", path)

    assert 1 == code
    assert "model.weights.h5 in it does not have its checksum" in lines[0]


def test_keras_is_not_imported(keras_folder):
    """Keras's files are read without Keras, whose loading would run what they ask for."""
    program = (
        "import sys; from pathlib import Path; from jalon.cli.contents import checkpoints, hdf5; folder = Path(sys.argv[1]);"
        "hdf5.look_keras(folder / 'model.keras'); checkpoints.look(folder / 'model.weights.h5');"
        "print({'keras', 'tensorflow', 'torch'} & sys.modules.keys())"
    )
    ended = subprocess.run([sys.executable, "-c", program, keras_folder], capture_output=True, text=True, check=True)

    assert "set()\n" == ended.stdout


@pytest.mark.parametrize(
    ("name", "optimizer", "first"),
    [
        ("model.keras", "Adam, step 2, 10 tensors, 160 B", "layers/dense/vars/0    4×3    float32          12  48 B"),
        ("model.weights.h5", "adam, step 2, 10 tensors, 160 B", "layers/dense/vars/0    4×3    float32          12  48 B"),
        ("old.h5", "adam, step 2, 10 tensors, 160 B", None),
    ],
)
def test_what_is_in_a_file_of_keras(keras_folder, call, name, optimizer, first):
    """Weights by name, the optimizer and its steps are shown, and how many parameters there are without the optimizer's."""
    code, lines = call("inspect", keras_folder / name)
    told = dict(line.split("  ", 1) for line in lines if "  " in line)

    assert 0 == code
    assert "19 parameters in 4 tensors, 76 B" == told["weights"].strip()
    assert optimizer == told["optimizer"].strip()
    assert first is None or first in lines


def test_what_a_keras_model_says_of_itself(keras_folder, call):
    """Class, version and date of a .keras file are shown."""
    _, lines = call("inspect", keras_folder / "model.keras")
    told = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in lines if "  " in line)

    assert "Sequential" == told["model"]
    assert f"keras {version('keras')}" == told["versions"]
    assert "written" in told
