"""Keras's files with what ran code in versions before, and zips of PyTorch's that grow."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from evil_archives import deflated, members_of, replaced, zipped
from evil_arrays import hdf5, keras_lambda
from evil_files import BOMB, Places, evil, weights
from evil_pickles import saved


def keras_file(path: Path, config: Any, members: Mapping[str, bytes] | None = None) -> None:
    metadata = {"keras_version": "3.8.0", "date_saved": "2025-01-01@00:00:00"}
    told = {"metadata.json": json.dumps(metadata).encode(), "config.json": json.dumps(config).encode()}
    zipped(path, told | {"model.weights.h5": weights_h5()} | dict(members or {}))


def weights_h5(**links: Any) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.update({"layers/dense/vars/0": np.ones((4, 3), "f4"), **links})
    return buffer.getvalue()


@evil("cve_2024_3660.keras")
def _(path: Path, places: Places) -> None:
    keras_file(path, keras_lambda(places))


@evil("cve_2025_1550.keras")
def _(path: Path, places: Places) -> None:
    called = {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"}
    layer = {"module": "keras.layers", "class_name": "Lambda", "config": {"function": called, "arguments": {"x": places.command}}}
    keras_file(path, {"module": "keras", "class_name": "Sequential", "config": {"layers": [layer]}})


@evil("cve_2025_8747.keras")
def _(path: Path, places: Places) -> None:
    got = {"module": "keras.utils", "class_name": "function", "config": "get_file", "registered_name": "get_file"}
    layer = {
        "module": "keras.layers",
        "class_name": "Lambda",
        "config": {"function": got, "arguments": {"origin": "file:///etc/hosts"}},
    }
    keras_file(path, {"module": "keras", "class_name": "Sequential", "config": {"layers": [layer]}})


@evil("cve_2025_9906.keras")
def _(path: Path, places: Places) -> None:
    off = {"module": "keras.config", "class_name": "function", "config": "enable_unsafe_deserialization"}
    layers = [{"module": "keras.layers", "class_name": "Lambda", "config": {"function": off}}, keras_lambda(places)]
    keras_file(path, {"module": "keras", "class_name": "Sequential", "config": {"layers": layers}})


@evil("cve_2025_9905.h5", read_by={"read_checkpoint"})
def _(path: Path, places: Places) -> None:
    def fill(file: h5py.File) -> None:
        file.attrs["model_config"] = json.dumps(keras_lambda(places))
        file.create_group("model_weights").create_group("dense")["kernel:0"] = np.ones((4, 3), "f4")

    hdf5(path, fill)


@evil("linked.keras")
def _(path: Path, places: Places) -> None:
    link = h5py.ExternalLink(str(places.outside / "weights.h5"), "/weight")
    keras_file(path, {}, {"model.weights.h5": weights_h5(other=link)})


@evil("escaping.keras")
def _(path: Path, places: Places) -> None:
    keras_file(path, {}, {"../../escaped.txt": b"x", "/tmp/escaped.txt": b"x", "assets/../../../escaped.txt": b"x"})


@evil("bomb.keras")
def _(path: Path, places: Places) -> None:
    keras_file(path, {})
    deflated(path, "model.weights.h5")


@evil("bomb.pt")
def _(path: Path, places: Places) -> None:
    path.write_bytes(saved({"weight": torch.zeros(77)}))
    described = next(content for name, content in members_of(path).items() if name.endswith("data.pkl"))
    replaced(path, "data.pkl", described.replace(b"K\x4d", b"\x8a\x05" + (BOMB // 4).to_bytes(5, "little")))
    deflated(path, "data/0")


@evil("bomb_pickle.pt")
def _(path: Path, places: Places) -> None:
    path.write_bytes(saved(weights()))
    deflated(path, "data.pkl")
