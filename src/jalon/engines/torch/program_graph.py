"""What the members of a ``.pt2`` file say, as checked data.

These are the parts of ``torch.export``'s own description that are needed to run a program: see
``torch/_export/serde/schema.py``. Whatever else stands there is passed over unread.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

import msgspec
import torch
from msgspec import UNSET, Struct, UnsetType
from torch import Tensor

from jalon.engines.torch.formats import Refused
from jalon.engines.torch.program_archive import ProgramArchive

SCHEMA = 8
"""The version of the description that is understood; torch changes it where an older reader would misread."""

_WEIGHTS, _CONSTANTS, _MODEL = "data/weights/", "data/constants/", "models/model.json"
_STRIDED = 7
_PAYLOAD = re.compile(r"(weight|tensor)_[0-9]+")
_SYMBOL = re.compile(r"Symbol\('(\w+)'.*\)")
_TYPES = {
    **{1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32", 8: "float64"},
    **{9: "complex32", 10: "complex64", 11: "complex128", 12: "bool", 13: "bfloat16", 28: "uint16", 29: "float8_e4m3fn"},
    **{30: "float8_e5m2", 31: "float8_e4m3fnuz", 32: "float8_e5m2fnuz", 33: "float8_e8m0fnu", 34: "uint32", 35: "uint64"},
}


class Name(Struct):
    """Is the name of a tensor."""

    name: str


class Expression(Struct):
    """Is a size that depends on the inputs."""

    expr_str: str


class Size(Struct):
    """Is a size: a number, or something that depends on the inputs."""

    as_int: int | None = None
    as_expr: Expression | None = None

    @property
    def symbol(self) -> str | None:
        """The size's own name, where it is free."""
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
    """Is where a tensor's values are."""

    path_name: str
    is_param: bool
    use_pickle: bool
    tensor_meta: Meta | None


class Payloads(Struct):
    """Is where the values of tensors are, by their names."""

    config: dict[str, Payload]


class NamedNumber(Struct):
    """Is a number: itself, or the name of what computes it."""

    as_name: str | None = None
    as_int: int | None = None
    as_float: float | None = None
    as_bool: bool | None = None


class OptionalTensor(Struct):
    """Is a tensor or nothing."""

    as_tensor: Name | None = None


class Complex(Struct):
    """Is a complex number."""

    real: float
    imag: float


class Device(Struct):
    """Is a device. A program runs where its inputs are."""


class Argument(Struct):
    """Is what an operation is given or gives: exactly one of these."""

    as_none: bool | UnsetType = UNSET
    as_tensor: Name | UnsetType = UNSET
    as_tensors: list[Name] | UnsetType = UNSET
    as_optional_tensors: list[OptionalTensor] | UnsetType = UNSET
    as_optional_tensor: OptionalTensor | UnsetType = UNSET
    as_bool: bool | UnsetType = UNSET
    as_int: int | UnsetType = UNSET
    as_float: float | str | UnsetType = UNSET
    as_complex: Complex | UnsetType = UNSET
    as_string: str | UnsetType = UNSET
    as_bools: list[bool] | UnsetType = UNSET
    as_ints: list[int] | UnsetType = UNSET
    as_floats: list[float | str] | UnsetType = UNSET
    as_sym_bool: NamedNumber | UnsetType = UNSET
    as_sym_int: NamedNumber | UnsetType = UNSET
    as_sym_float: NamedNumber | UnsetType = UNSET
    as_sym_bools: list[NamedNumber] | UnsetType = UNSET
    as_sym_ints: list[NamedNumber] | UnsetType = UNSET
    as_sym_floats: list[NamedNumber] | UnsetType = UNSET
    as_scalar_type: int | UnsetType = UNSET
    as_memory_format: int | UnsetType = UNSET
    as_layout: int | UnsetType = UNSET
    as_device: Device | UnsetType = UNSET

    def only(self) -> tuple[str, Any]:
        """Return which of them it is, and its content.

        Raises:
            Refused: It is something else.
        """
        given = [(kind, content) for kind in self.__struct_fields__ if (content := getattr(self, kind)) is not UNSET]
        if len(given) != 1:
            raise Refused("holds an argument that is neither tensor, number nor text")
        return given[0]


class Given(Struct):
    """Is an argument under its name in the operation's signature."""

    name: str
    arg: Argument
    kind: int | None = None


class Node(Struct):
    """Is one operation."""

    target: str
    inputs: list[Given]
    outputs: list[Argument]


class Graph(Struct):
    """Is what is computed, in order."""

    inputs: list[Argument]
    nodes: list[Node]
    tensor_values: dict[str, Meta]


class InputSpec(Struct):
    """Says of an input what it is."""

    user_input: msgspec.Raw | None = None
    parameter: ParameterInput | None = None
    buffer: BufferInput | None = None
    tensor_constant: ConstantInput | None = None


class ParameterInput(Struct):
    """Is a parameter."""

    parameter_name: str


class BufferInput(Struct):
    """Is a buffer."""

    buffer_name: str
    persistent: bool


class ConstantInput(Struct):
    """Is a tensor that is no part of the state."""

    tensor_constant_name: str


class UserOutput(Struct):
    """Is an output of ``forward``."""

    arg: Argument


class BufferOutput(Struct):
    """Is what a buffer becomes."""

    arg: Name
    buffer_name: str


class InputMutation(Struct):
    """Is what an input becomes."""

    arg: Name
    user_input_name: str


class OutputSpec(Struct):
    """Says of an output what it is."""

    user_output: UserOutput | None = None
    buffer_mutation: BufferOutput | None = None
    user_input_mutation: InputMutation | None = None


class Signature(Struct):
    """Says what the inputs and the outputs are, in order."""

    input_specs: list[InputSpec]
    output_specs: list[OutputSpec]


class CallSignature(Struct):
    """Says how inputs and outputs are nested."""

    in_spec: str
    out_spec: str


class Call(Struct):
    """Says how a module is called; the one without a name is the program itself."""

    fqn: str
    signature: CallSignature | None = None


class GraphModule(Struct):
    """Is a program's operations and what goes in and out."""

    graph: Graph
    signature: Signature
    module_call_graph: list[Call]


class Range(Struct):
    """Is how small and how great a size may be."""

    min_val: int | None = None
    max_val: int | None = None


class SchemaVersion(Struct):
    """Is the version of the description."""

    major: int


class Description(Struct):
    """Is all that a program is but the values of its tensors."""

    graph_module: GraphModule
    schema_version: SchemaVersion
    range_constraints: dict[str, Range]


class Structure(Struct):
    """Is how values are nested: a tuple, a list or a dict of others, or a single value."""

    type: str | None
    context: str | None
    children_spec: list[Structure]


def read_description(archive: ProgramArchive) -> Description:
    """Return what a program is.

    Raises:
        Refused: It is of another version of the description.
        msgspec.ValidationError: It is no description.
    """
    content = archive.read(_MODEL)
    version = msgspec.json.decode(content, type=_Versioned).schema_version.major
    if version != SCHEMA:
        raise Refused(f"was exported by another torch (description {version}; {SCHEMA} is read). Export it again")
    return msgspec.json.decode(content, type=Description)


class _Versioned(Struct):
    schema_version: SchemaVersion


def read_structure(text: str) -> Structure:
    """Return how values are nested.

    Raises:
        Refused: It is of another version, or nested in something else than tuples, lists and dicts.
    """
    version, content = msgspec.json.decode(text, type=tuple[int, msgspec.Raw])
    if version != 1:
        raise Refused(f"describes its inputs in another way ({version}; 1 is read)")
    return msgspec.json.decode(content, type=Structure)


def read_weights(archive: ProgramArchive) -> dict[str, Tensor]:
    """Return parameters and buffers by name, in the order of the state dict."""
    return _tensors(archive, _WEIGHTS, "model_weights_config.json")


def read_constants(archive: ProgramArchive) -> dict[str, Tensor]:
    """Return the tensors that are no part of the state."""
    return _tensors(archive, _CONSTANTS, "model_constants_config.json")


def type_of(code: int) -> torch.dtype:
    """Return a type from its number.

    Raises:
        Refused: This version of torch does not have it.
    """
    dtype = getattr(torch, _TYPES.get(code, ""), None)
    if not isinstance(dtype, torch.dtype):
        raise Refused(f"holds values of type {code}, which this version of torch does not have")
    return dtype


def number_of(value: float | str) -> float:
    """Return a number; what JSON has no number for stands there as text."""
    number = float(value)
    if isinstance(value, str) and math.isfinite(number):
        raise Refused(f"holds the text {value!r} where a number should be")
    return number


def _tensors(archive: ProgramArchive, folder: str, list_name: str) -> dict[str, Tensor]:
    payloads = msgspec.json.decode(archive.read(folder + list_name), type=Payloads).config
    for name, payload in payloads.items():
        if payload.use_pickle or payload.tensor_meta is None or not _PAYLOAD.fullmatch(payload.path_name):
            raise Refused(f"is refused: {name!r} in it is a pickled object; only tensors of plain values are read")
    stored: dict[str, bytearray] = {}
    for payload in payloads.values():
        if payload.path_name not in stored:
            stored[payload.path_name] = bytearray(archive.read(folder + payload.path_name))
    return {name: _tensor(name, payload, stored[payload.path_name]) for name, payload in payloads.items()}


def _tensor(name: str, payload: Payload, values: bytearray) -> Tensor:
    meta = payload.tensor_meta
    if meta is None or meta.layout != _STRIDED:
        raise Refused(f"is refused: {name!r} in it is no dense tensor")
    dtype = type_of(meta.dtype)
    shape, strides = _numbers(meta.sizes), _numbers(meta.strides)
    if 0 in shape:
        tensor = torch.empty(shape, dtype=dtype)
    else:
        if math.prod(shape) * dtype.itemsize > len(values) or len(values) % dtype.itemsize:
            raise Refused(f"is damaged: {name!r} has {len(values):,} bytes, which do not fit its shape {shape}")
        flat = torch.frombuffer(values, dtype=dtype)
        tensor = flat.as_strided(shape, strides, _numbers([meta.storage_offset])[0])
    may_have_gradients = dtype.is_floating_point or dtype.is_complex
    if payload.is_param:
        return torch.nn.Parameter(tensor, requires_grad=meta.requires_grad and may_have_gradients)
    return tensor


def _numbers(sizes: list[Size]) -> list[int]:
    numbers = [-1 if size.as_int is None else size.as_int for size in sizes]
    if any(number < 0 for number in numbers):
        raise Refused("is damaged: a stored tensor has a size that is no number")
    return numbers


def read_note(archive: ProgramArchive, name: str) -> Mapping[str, Any] | None:
    """Return a member that is a JSON object, or ``None`` where there is none."""
    if name not in archive:
        return None
    note: dict[str, Any] = msgspec.json.decode(archive.read(name), type=dict[str, Any])
    return note
