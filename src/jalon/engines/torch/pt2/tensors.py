"""The tensors in a ``.pt2`` file: bytes, and what says of them which type and shape they are."""

from __future__ import annotations

import math
import re
from typing import Any

import msgspec
import torch
from msgspec import Struct
from torch import Tensor

from jalon.engines.torch.formats import Refused
from jalon.engines.torch.pt2.archive import ProgramArchive

DENSE = 7
"""How a tensor says that it is dense."""

_WEIGHTS = ("data/weights/", "model_weights_config.json")
_CONSTANTS = ("data/constants/", "model_constants_config.json")
_PAYLOAD = re.compile(r"(weight|tensor)_[0-9]+")
_SYMBOL = re.compile(r"Symbol\('(\w+)'.*\)")
_TYPES = {
    **{1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32", 8: "float64"},
    **{9: "complex32", 10: "complex64", 11: "complex128", 12: "bool", 13: "bfloat16", 28: "uint16", 29: "float8_e4m3fn"},
    **{30: "float8_e5m2", 31: "float8_e4m3fnuz", 32: "float8_e5m2fnuz", 33: "float8_e8m0fnu", 34: "uint32", 35: "uint64"},
}


class Expression(Struct):
    """Is a size that depends on the inputs, as a text that is not evaluated."""

    expr_str: str


class Size(Struct):
    """Is a size: a number, or something that depends on the inputs."""

    as_int: int | None = None
    as_expr: Expression | None = None

    @property
    def symbol(self) -> str | None:
        """Its name, where it may be any size."""
        found = None if self.as_expr is None else _SYMBOL.fullmatch(self.as_expr.expr_str)
        return found[1] if found else None


class Meta(Struct):
    """Is what a tensor is like."""

    dtype: int
    sizes: list[Size]
    strides: list[Size]
    storage_offset: Size
    layout: int
    requires_grad: bool = False


class Payload(Struct):
    """Is where a tensor's bytes are."""

    path_name: str
    is_param: bool
    use_pickle: bool
    tensor_meta: Meta | None


class Payloads(Struct):
    """Is where the bytes of tensors are, by their names."""

    config: dict[str, Payload]


def type_of(code: int) -> torch.dtype:
    """Return a type from its number.

    Raises:
        Refused: This version of torch does not have it.
    """
    dtype = getattr(torch, _TYPES.get(code, ""), None)
    if not isinstance(dtype, torch.dtype):
        raise Refused(f"holds values of the type {code}, which this version of torch does not have")
    return dtype


def read_names(archive: ProgramArchive) -> tuple[set[str], set[str]]:
    """Return the names of the weights, and of the tensors that are no part of the state."""
    return set(_payloads(archive, "".join(_WEIGHTS))), set(_payloads(archive, "".join(_CONSTANTS)))


def read_weights(archive: ProgramArchive) -> dict[str, Tensor]:
    """Return parameters and buffers by name, in the order of the state dict."""
    return _read(archive, *_WEIGHTS)


def read_constants(archive: ProgramArchive) -> dict[str, Tensor]:
    """Return the tensors that are no part of the state, by name."""
    return _read(archive, *_CONSTANTS)


def _read(archive: ProgramArchive, folder: str, index: str) -> dict[str, Tensor]:
    """Return tensors; those that shared their memory share it again."""
    payloads = _payloads(archive, folder + index)
    paths = {payload.path_name for payload in payloads.values()}
    stored = {path: bytearray(archive.read(folder + path)) for path in paths}
    return {name: _tensor(name, payload, stored[payload.path_name]) for name, payload in payloads.items()}


def _payloads(archive: ProgramArchive, index: str) -> dict[str, Payload]:
    payloads = msgspec.json.decode(archive.read(index), type=Payloads).config
    for name, payload in payloads.items():
        if payload.use_pickle or not _PAYLOAD.fullmatch(payload.path_name):
            raise Refused(f"is refused: {name!r} in it is a pickled object; tensors alone are read")
    return payloads


def _tensor(name: str, payload: Payload, content: bytearray) -> Tensor:
    meta = payload.tensor_meta
    if meta is None or meta.layout != DENSE:
        raise Refused(f"is refused: {name!r} in it is no dense tensor")
    dtype, shape = type_of(meta.dtype), _numbers(meta.sizes)
    if 0 in shape:
        tensor = torch.empty(shape, dtype=dtype)
    elif math.prod(shape) * dtype.itemsize > len(content) or len(content) % dtype.itemsize:
        raise Refused(f"is damaged: the {len(content):,} bytes of {name!r} are not those of its shape {tuple(shape)}")
    else:
        (offset,) = _numbers([meta.storage_offset])
        tensor = torch.frombuffer(content, dtype=dtype).as_strided(shape, _numbers(meta.strides), offset)
    if payload.is_param:
        return torch.nn.Parameter(tensor, meta.requires_grad and (dtype.is_floating_point or dtype.is_complex))
    return tensor


def _numbers(sizes: list[Any]) -> list[int]:
    numbers = [-1 if size.as_int is None else size.as_int for size in sizes]
    if any(number < 0 for number in numbers):
        raise Refused("is damaged: a tensor in it has a size that is no number")
    return numbers
