"""HDF5 and safetensors files, and plain data in them, that are not what they should be."""

from __future__ import annotations

import base64
import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from evil_files import GIANT, WEIGHTS, Places, evil, network, weights
from evil_pickles import CALLS, bytecode

from jalon.engines.torch.formats import Checkpoint, write_checkpoint

# ---- HDF5 ---------------------------------------------------------------------------------------------------------


def keras_lambda(places: Places) -> dict[str, Any]:
    code = base64.b64encode(bytecode(places)).decode()
    config = {"name": "evil", "function": [code, None, None], "function_type": "lambda", "module": "builtins"}
    return {"class_name": "Sequential", "config": {"name": "net", "layers": [{"class_name": "Lambda", "config": config}]}}


def hdf5(path: Path, fill: Callable[[h5py.File], object]) -> None:
    with h5py.File(path, "w") as file:
        fill(file)


@evil("lambda.h5", read_by=WEIGHTS)
def _(path: Path, places: Places) -> None:
    def fill(file: h5py.File) -> None:
        file.update({name: value.numpy() for name, value in weights().items()})
        file.attrs["model_config"] = json.dumps(keras_lambda(places))
        file.attrs["keras_version"] = "2.15.0"

    hdf5(path, fill)


@evil("soft_link.h5")
def _(path: Path, places: Places) -> None:
    hdf5(path, lambda file: file.update({"bias": np.ones(3, "f4"), "weight": h5py.SoftLink("/bias")}))


@evil("external_link.h5")
def _(path: Path, places: Places) -> None:
    other = str(places.outside / "weights.h5")
    hdf5(path, lambda file: file.update({name: h5py.ExternalLink(other, f"/{name}") for name in weights()}))


@evil("external_values.h5")
def _(path: Path, places: Places) -> None:
    other = [(str(places.outside / "victim.txt"), 0, 48)]
    hdf5(path, lambda file: file.create_dataset("weight", (3, 4), "f4", external=other))


@evil("virtual.h5")
def _(path: Path, places: Places) -> None:
    layout = h5py.VirtualLayout((3, 4), "f4")
    layout[:] = h5py.VirtualSource(str(places.outside / "weights.h5"), "weight", (3, 4))
    hdf5(path, lambda file: file.create_virtual_dataset("weight", layout))


@evil("references.h5")
def _(path: Path, places: Places) -> None:
    hdf5(path, lambda file: file.create_dataset("weight", data=np.array([file.ref] * 12, h5py.ref_dtype).reshape(3, 4)))


@evil("texts.h5")
def _(path: Path, places: Places) -> None:
    hdf5(path, lambda file: file.create_dataset("weight", data=[places.code] * 3, dtype=h5py.string_dtype()))


@evil("opaque.h5")
def _(path: Path, places: Places) -> None:
    hdf5(path, lambda file: file.create_dataset("weight", data=np.array([bytecode(places)] * 3).astype("V200")))


@evil("compound.h5")
def _(path: Path, places: Places) -> None:
    hdf5(path, lambda file: file.create_dataset("weight", data=np.zeros(3, [("a", "f4"), ("b", "S8")])))


@evil("named_type.h5")
def _(path: Path, places: Places) -> None:
    hdf5(path, lambda file: file.update({"weight": np.dtype("f4")}))


@evil("circle.h5")
def _(path: Path, places: Places) -> None:
    hdf5(path, lambda file: file.create_group("a").update({"back": file["/"]}))


@evil("compressed.h5")
def _(path: Path, places: Places) -> None:
    hdf5(
        path,
        lambda file: file.create_dataset("weight", data=np.zeros((16, 1 << 20), "f4"), compression="gzip", chunks=(1, 1 << 20)),
    )


@evil("unwritten.h5")
def _(path: Path, places: Places) -> None:
    hdf5(path, lambda file: file.create_dataset("weight", (GIANT,), "f4"))


@evil("unwritten_chunks.h5")
def _(path: Path, places: Places) -> None:
    hdf5(path, lambda file: file.create_dataset("weight", (GIANT,), "f4", chunks=(1 << 20,)))


@evil("deep.h5")
def _(path: Path, places: Places) -> None:
    def fill(file: h5py.File) -> None:
        group: Any = file
        for _ in range(1500):
            group = group.create_group("g")

    hdf5(path, fill)


# ---- safetensors ---------------------------------------------------------------------------------------------------------


def safetensors(header: Any, values: bytes = b"", *, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + values


def entry(shape: list[int], start: int, end: int, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


DEEP = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
SAFETENSORS: dict[str, Callable[[Places], bytes]] = {
    "long_header": lambda _: safetensors(b"{" + b" " * 100_000_001 + b"}"),
    "longer_than_the_file": lambda _: safetensors({}, length=99_999_999),
    "longest": lambda _: safetensors({}, length=(1 << 64) - 1),
    "overlapping": lambda _: safetensors({"weight": entry([3, 4], 0, 48), "bias": entry([3], 0, 12)}, b"\0" * 48),
    "twice": lambda _: safetensors(b'{"weight":%s,"weight":%s}' % ((json.dumps(entry([3, 4], 0, 48)).encode(),) * 2), b"\0" * 48),
    "odd_type": lambda _: safetensors({"weight": entry([3, 4], 0, 48, "OBJECT")}, b"\0" * 48),
    "type_is_a_list": lambda _: safetensors({"weight": entry([3, 4], 0, 48, ["F32"])}, b"\0" * 48),
    "huge_shape": lambda _: safetensors({"weight": entry([1 << 62, 4], 0, 48)}, b"\0" * 48),
    "negative": lambda _: safetensors({"weight": entry([-3, -4], 0, 48)}, b"\0" * 48),
    "backwards": lambda _: safetensors({"weight": entry([3, 4], 48, 0)}, b"\0" * 48),
    "beyond": lambda _: safetensors({"weight": entry([3, 4], 1000, 1048)}, b"\0" * 48),
    "gap": lambda _: safetensors({"weight": entry([3, 4], 8, 56)}, b"\0" * 56),
    "deep": lambda _: safetensors(DEEP),
    "deep_note": lambda _: safetensors({"__metadata__": {"jalon": DEEP.decode(), "sha256": "0" * 64}}),
    "no_text": lambda _: safetensors(b"\xff\xfe{}"),
    "note_of_lists": lambda _: safetensors({"__metadata__": {"jalon": ["x"], "sha256": []}}),
    "pickled_note": lambda places: safetensors(
        {"__metadata__": {"jalon": base64.b64encode(pickle.dumps(CALLS["system"](places))).decode(), "sha256": "0" * 64}}
    ),
}
for case_name, make_bytes in SAFETENSORS.items():

    @evil(f"{case_name}.safetensors")
    def _(path: Path, places: Places, make: Callable[[Places], bytes] = make_bytes) -> None:
        path.write_bytes(make(places))


for class_name in ("os.system", "jalon.cli.main", "builtins.exec", "antigravity.fly"):

    @evil(f"transform_{class_name}.safetensors", read_by={"read_checkpoint"})
    def _(path: Path, places: Places, named: str = class_name) -> None:
        optimizer = torch.optim.SGD(network().parameters()).state_dict()
        about = {"transforms": [{"class": named, "state": places.command}]}
        write_checkpoint(path, Checkpoint(weights(), optimizer, about))


# ---- plain data ---------------------------------------------------------------------------------------------------------

TEXTS: dict[str, Callable[[Places], Any]] = {
    **{
        f"type_{place}": lambda _, dtype=dtype: {"$array": ["array-0", dtype, [2]]}
        for place, dtype in enumerate(("|O", "O", "V8", "S8"))
    },
    "type_fields": lambda _: {"$array": ["array-0", "f4,O", [1]]},
    "type_dict": lambda _: {"$array": ["array-0", {"names": ["a"], "formats": ["O"]}, [1]]},
    "type_text": lambda places: {"$array": ["array-0", places.code, [1]]},
    "type_repeated": lambda _: {"$array": ["array-0", "(9999999999,)f4", [1]]},
    "shape_giant": lambda _: {"$array": ["array-0", "<f4", [GIANT]]},
    "shape_overflow": lambda _: {"$array": ["array-0", "<f4", [10**30]]},
    "shape_text": lambda places: {"$array": ["array-0", "<f4", places.code]},
    "no_such_array": lambda _: {"$array": ["array-9", "<f4", [2]]},
    "short": lambda _: {"$array": ["array-0"]},
    "number": lambda _: {"$array": 5},
    "items_number": lambda _: {"$items": 5},
    "unhashable": lambda _: {"$items": [[{"a": 1}, 2]]},
    "three_items": lambda _: {"$items": [[1, 2, 3]]},
}
for case_name, make_data in TEXTS.items():

    @evil(f"plain_{case_name}.safetensors", read_by={"read_checkpoint"})
    def _(path: Path, places: Places, make: Callable[[Places], Any] = make_data) -> None:
        header = {"array-0": entry([16], 0, 16, "U8"), "__metadata__": {"data": json.dumps(make(places))}}
        path.write_bytes(safetensors(header, b"\0" * 16))


@evil("plain_deep.safetensors", read_by={"read_checkpoint"})
def _(path: Path, places: Places) -> None:
    path.write_bytes(safetensors({"__metadata__": {"data": DEEP.decode()}}))


@evil("plain_pickle.safetensors")
def _(path: Path, places: Places) -> None:
    path.write_bytes(pickle.dumps(CALLS["system"](places)))
