"""Description: what a ``.pt2`` file says of a program, as checked data.

These are the parts of ``torch.export``'s own description that are needed to run a program, see
``torch/_export/serde/schema.py``. Whatever else stands there is passed over unread: torch would evaluate some of it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import msgspec
import torch
from msgspec import UNSET, Struct, UnsetType

from jalon.engines.torch.formats import Refused
from jalon.engines.torch.pt2.archive import ProgramArchive
from jalon.engines.torch.pt2.tensors import DENSE, Meta, type_of

SCHEMA = 8
"""The version of the description that is understood; torch changes it where an older reader would misread."""

_MODEL = "models/model.json"
_POSITIONAL = 1
_SIZE = r"L(\[('\w+'|\d+)\])+\.size\(\)\[\d+\]"
_PLAIN_GUARD = re.compile(rf"{_SIZE} (==|>=|<=|>|<) ({_SIZE}|\d+)")
_MEMORY_FORMATS = dict(
    enumerate((torch.contiguous_format, torch.channels_last, torch.channels_last_3d, torch.preserve_format), start=1)
)


class Reference(str):
    """Is the name of a value that is computed, or given to the program, before it is used."""

    __slots__ = ()


DEVICE = Reference("the device that the program runs on")


class Name(Struct):
    """Is the name of a tensor."""

    name: str


class OptionalTensor(Struct):
    """Is a tensor or nothing."""

    as_tensor: Name | None = None


class Number(Struct):
    """Is a number: itself, or the name of what computes it."""

    as_name: str | None = None
    as_int: int | None = None
    as_float: float | None = None
    as_bool: bool | None = None


class Complex(Struct):
    """Is a complex number."""

    real: float
    imag: float


class Device(Struct):
    """Is a device. Which one is not asked: a program runs where its weights and inputs are."""


class Argument(Struct):
    """Is what an operation is given or gives: exactly one of these."""

    as_none: bool | UnsetType = UNSET
    as_tensor: Name | UnsetType = UNSET
    as_tensors: list[Name] | UnsetType = UNSET
    as_optional_tensor: OptionalTensor | UnsetType = UNSET
    as_optional_tensors: list[OptionalTensor] | UnsetType = UNSET
    as_sym_int: Number | UnsetType = UNSET
    as_sym_ints: list[Number] | UnsetType = UNSET
    as_sym_float: Number | UnsetType = UNSET
    as_sym_floats: list[Number] | UnsetType = UNSET
    as_sym_bool: Number | UnsetType = UNSET
    as_sym_bools: list[Number] | UnsetType = UNSET
    as_int: int | UnsetType = UNSET
    as_ints: list[int] | UnsetType = UNSET
    as_float: float | str | UnsetType = UNSET
    as_floats: list[float | str] | UnsetType = UNSET
    as_bool: bool | UnsetType = UNSET
    as_bools: list[bool] | UnsetType = UNSET
    as_string: str | UnsetType = UNSET
    as_complex: Complex | UnsetType = UNSET
    as_scalar_type: int | UnsetType = UNSET
    as_memory_format: int | UnsetType = UNSET
    as_layout: int | UnsetType = UNSET
    as_device: Device | UnsetType = UNSET

    def operand(self) -> Any:
        """Return a value for an operation, with references in place of what is yet to be computed.

        Raises:
            Refused: It is something else than tensors, numbers and text.
        """
        given = [(kind, content) for kind, content in msgspec.structs.asdict(self).items() if content is not UNSET]
        if len(given) != 1:
            raise Refused("is refused: an operation in it takes something else than tensors, numbers and text")
        kind, content = given[0]
        if kind in _MEANINGS:
            return _MEANINGS[kind](content)
        return [_plain(one) for one in content] if isinstance(content, list) else _plain(content)


class Given(Struct):
    """Is an argument, by place or by name."""

    name: str
    arg: Argument
    kind: int | None = None

    @property
    def is_positional(self) -> bool:
        """Whether it is given by its place."""
        return self.kind == _POSITIONAL or not self.name


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


class ParameterInput(Struct):
    """Is a parameter."""

    parameter_name: str


class BufferInput(Struct):
    """Is a buffer."""

    buffer_name: str


class ConstantInput(Struct):
    """Is a tensor that is no part of the state."""

    tensor_constant_name: str


class UserInput(Struct):
    """Is what ``forward`` is given."""


class InputSpec(Struct):
    """Says of an input which of these it is."""

    user_input: UserInput | None = None
    parameter: ParameterInput | None = None
    buffer: BufferInput | None = None
    tensor_constant: ConstantInput | None = None

    @property
    def state(self) -> str | None:
        """The name of the program's own tensor that is taken; ``None`` for what ``forward`` is given.

        Raises:
            Refused: It is an object.
        """
        if self.parameter is not None:
            return self.parameter.parameter_name
        if self.buffer is not None:
            return self.buffer.buffer_name
        if self.tensor_constant is not None:
            return self.tensor_constant.tensor_constant_name
        if self.user_input is None:
            raise Refused("is refused: its program takes something else than tensors")
        return None


class UserOutput(Struct):
    """Is what ``forward`` returns."""

    arg: Argument


class BufferMutation(Struct):
    """Is what a buffer becomes."""

    arg: Name
    buffer_name: str


class InputMutation(Struct):
    """Is what an input becomes."""

    arg: Name
    user_input_name: str


class OutputSpec(Struct):
    """Says of an output which of these it is."""

    user_output: UserOutput | None = None
    buffer_mutation: BufferMutation | None = None
    user_input_mutation: InputMutation | None = None


class Signature(Struct):
    """Says what inputs and outputs are, in order."""

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
    """Is a program's operations, and what goes in and out."""

    graph: Graph
    signature: Signature
    module_call_graph: list[Call]


class Range(Struct):
    """Is how small and how great a size may be."""

    min_val: int | None = None
    max_val: int | None = None


class Version(Struct):
    """Is the version of the description."""

    major: int


class Versioned(Struct):
    """Is a description of whatever version."""

    schema_version: Version


class Description(Struct):
    """Is all that a program is but the values of its tensors."""

    graph_module: GraphModule
    range_constraints: dict[str, Range]
    guards_code: list[str] = []

    @property
    def is_told_by_sizes(self) -> bool:
        """Whether the sizes of the inputs and their ranges say all that the program takes for granted.

        Otherwise it holds for some sizes alone, and which they are is written as code, which is not run.
        """
        return all(map(_PLAIN_GUARD.fullmatch, self.guards_code))

    @property
    def call(self) -> CallSignature:
        """How the program is called.

        Raises:
            Refused: It does not say.
        """
        for call in self.graph_module.module_call_graph:
            if call.fqn == "" and call.signature is not None:
                return call.signature
        raise Refused("is no exported program: it does not say how it is called")


def read_description(archive: ProgramArchive) -> Description:
    """Return what a program is.

    Raises:
        Refused: It is of another version of the description.
        msgspec.DecodeError: It is no description.
    """
    content = archive.read(_MODEL)
    version = msgspec.json.decode(content, type=Versioned).schema_version.major
    if version != SCHEMA:
        raise Refused(f"was exported by another torch (description {version}; {SCHEMA} is read). Export it again")
    return msgspec.json.decode(content, type=Description)


# ---- what the kinds of arguments mean ------------------------------------------------------------------------------


def _plain(content: Any) -> Any:
    """Return a reference for what has a name, and anything else as it is."""
    if isinstance(content, OptionalTensor):
        content = content.as_tensor
    if isinstance(content, Name):
        return Reference(content.name)
    if not isinstance(content, Number):
        return content
    if content.as_name is not None:
        return Reference(content.as_name)
    return next((one for one in (content.as_int, content.as_float, content.as_bool) if one is not None), None)


def _float(value: float | str) -> float:
    """Return a number; those that JSON does not have stand there as text."""
    number = float(value)
    if isinstance(value, str) and math.isfinite(number):
        raise Refused(f"is refused: it holds the text {value!r} where a number should be")
    return number


def _memory_format(code: int) -> torch.memory_format:
    if code not in _MEMORY_FORMATS:
        raise Refused(f"lays a tensor out in a way that is not known ({code})")
    return _MEMORY_FORMATS[code]


def _layout(code: int) -> torch.layout:
    if code != DENSE:
        raise Refused("is refused: it works with tensors that are not dense")
    return torch.strided


_MEANINGS: dict[str, Callable[[Any], Any]] = {
    "as_none": lambda _: None,
    "as_float": _float,
    "as_floats": lambda many: [_float(one) for one in many],
    "as_complex": lambda content: complex(content.real, content.imag),
    "as_scalar_type": type_of,
    "as_memory_format": _memory_format,
    "as_layout": _layout,
    "as_device": lambda _: DEVICE,
}
