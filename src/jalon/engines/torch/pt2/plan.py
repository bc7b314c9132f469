"""Plan: a program, checked, as steps that are taken one after another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from jalon.engines.torch.formats import Refused
from jalon.engines.torch.pt2.description import DEVICE, Description, Node, Range, Reference
from jalon.engines.torch.pt2.operations import operation
from jalon.engines.torch.pt2.structure import Misfit, read_structure
from jalon.engines.torch.pt2.tensors import Meta, type_of
from jalon.engines.torch.structures import describe
from jalon.errors import DataError

Values = dict[str, Any]

_ASSUMED = 2
"""A size that was 2 or more when a module was exported is said to be at least that; 1 is computed in the same way."""


class Plan:
    """Is a program that was checked and can be run.

    Args:
        description: The program.
        states: The names of the tensors that it has.

    Raises:
        Refused: It asks for something else than arithmetic, or for what it does not have.
    """

    def __init__(self, description: Description, states: set[str]) -> None:
        graph, signature = description.graph_module.graph, description.graph_module.signature
        if not description.is_told_by_sizes:
            raise Refused("holds for some sizes of its inputs alone, and says in code for which. Export it for fixed sizes")
        self._meta, self._ranges = graph.tensor_values, description.range_constraints
        taken = [(argument.operand(), spec.state) for argument, spec in zip(graph.inputs, signature.input_specs, strict=True)]
        self.inputs = [name for name, state in taken if state is None]
        self.states = {name: state for name, state in taken if state is not None}
        self._in, self._out = read_structure(description.call.in_spec), read_structure(description.call.out_spec)
        self._outputs = [spec.user_output.arg.operand() for spec in signature.output_specs if spec.user_output is not None]
        self.mutations = [spec for spec in signature.output_specs if spec.user_output is None]
        self.steps = [_Step(node) for node in graph.nodes]
        buffers = {spec.buffer_mutation.buffer_name for spec in self.mutations if spec.buffer_mutation is not None}
        if not {*self.states.values(), *buffers} <= states or not self._meta.keys() >= set(self.inputs):
            raise Refused("is no exported program: it asks for tensors that are not in it")
        if (self._in.size, self._out.size) != (len(self.inputs), len(self._outputs)):
            raise Refused("is no exported program: its inputs or outputs are not as many as it says")
        _refuse_undefined(self)
        _let_go(self.steps, self.results)

    @property
    def results(self) -> set[str]:
        """The names of what is still needed when all is computed."""
        names = set(_references(self._outputs))
        for spec in self.mutations:
            if spec.buffer_mutation is not None:
                names.add(spec.buffer_mutation.arg.name)
            elif spec.user_input_mutation is not None:
                names |= {spec.user_input_mutation.arg.name, spec.user_input_mutation.user_input_name}
            else:
                raise Refused("is no exported program: it has an output of another kind")
        return names

    def flat(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
        """Return the tensors that a call gives, in the program's order, whether or not a single structure was spread."""
        for given in ((args, kwargs), ((args,), {}), ((kwargs,), {})):
            try:
                tensors = list(self._in.flat(given))
            except Misfit:
                continue
            self._refuse_others(tensors)
            return tensors
        raise DataError(f"The program takes {self._in}. Received: {describe((args, kwargs))}.")

    def _refuse_others(self, tensors: list[Tensor]) -> None:
        sizes: dict[str, int] = {}
        for name, tensor in zip(self.inputs, tensors, strict=True):
            meta = self._meta[name]
            if tensor.dtype != type_of(meta.dtype) or not _fits(tensor, meta, sizes, self._ranges):
                raise DataError(f"The program takes {_in_words(meta, self._ranges)} as {name!r}. Received: {describe(tensor)}.")

    def outputs(self, values: Values) -> Any:
        """Return what was computed, nested as the exported module's outputs."""
        return self._out.nested(iter(_resolved(self._outputs, values)))


class _Step:
    """Is one operation, with where its operands come from and where its results go."""

    def __init__(self, node: Node) -> None:
        self._compute = operation(node.target)
        self._args = [given.arg.operand() for given in node.inputs if given.is_positional]
        self._kwargs = {given.name: given.arg.operand() for given in node.inputs if not given.is_positional}
        self._outputs = [argument.operand() for argument in node.outputs]
        self.reads = {*_references(self._args), *_references(list(self._kwargs.values()))}
        self.writes = set(_references(self._outputs))
        self.last_used: list[str] = []

    def __call__(self, values: Values) -> None:
        args = [values[one] if type(one) is Reference else _resolved(one, values) for one in self._args]
        results = self._compute(*args, **{name: _resolved(one, values) for name, one in self._kwargs.items()})
        if len(self._outputs) == 1:
            _keep(self._outputs[0], results, values)
        elif self._outputs:
            _keep(self._outputs, results, values)
        for name in self.last_used:
            del values[name]


# ---- names and values ------------------------------------------------------------------------------------------------


def _references(operand: Any) -> Iterator[str]:
    if isinstance(operand, Reference):
        yield operand
    elif isinstance(operand, list):
        for one in operand:
            yield from _references(one)


def _resolved(operand: Any, values: Values) -> Any:
    if isinstance(operand, Reference):
        return values[operand]
    if isinstance(operand, list):
        return [_resolved(one, values) for one in operand]
    return operand


def _keep(output: Any, result: Any, values: Values) -> None:
    if isinstance(output, Reference):
        values[output] = result
    elif isinstance(output, list):
        for one, each in zip(output, result, strict=True):
            _keep(one, each, values)


def _refuse_undefined(program: Plan) -> None:
    known = {DEVICE, *program.inputs, *program.states}
    for step in program.steps:
        if not step.reads <= known:
            break
        known |= step.writes
    else:
        if program.results <= known:
            return
    raise Refused("is no exported program: it uses what it has not computed")


def _let_go(steps: list[_Step], results: set[str]) -> None:
    """Let each step drop what no later one needs, so that a program needs no more memory than its module did."""
    needed = {DEVICE, *results}
    for step in reversed(steps):
        step.last_used = sorted((step.reads | step.writes) - needed)
        needed |= step.reads


def _fits(tensor: Tensor, meta: Meta, sizes: dict[str, int], ranges: Mapping[str, Range]) -> bool:
    """Return whether a tensor has the sizes it must have, those of the same name being equal."""
    if tensor.ndim != len(meta.sizes):
        return False
    for size, actual in zip(meta.sizes, tensor.shape, strict=True):
        if size.as_int is not None and size.as_int != actual:
            return False
        if size.symbol is not None:
            least, greatest = _bounds(ranges.get(size.symbol, Range()))
            if sizes.setdefault(size.symbol, actual) != actual or actual < least or (greatest or actual) < actual:
                return False
    return True


def _bounds(allowed: Range) -> tuple[int, int | None]:
    """Return how small and how great a size may be."""
    least = allowed.min_val or 0
    return least if least > _ASSUMED else 0, allowed.max_val


def _in_words(meta: Meta, ranges: Mapping[str, Range]) -> str:
    sizes = [str(size.as_int) if size.as_int is not None else size.symbol or "?" for size in meta.sizes]
    told = f"({', '.join(sizes)}{',' * (len(sizes) == 1)}) {str(type_of(meta.dtype)).removeprefix('torch.')}"
    return told + "".join(f", {name} being {_range_in_words(ranges[name])}" for name in sizes if name in ranges)


def _range_in_words(allowed: Range) -> str:
    least, greatest = _bounds(allowed)
    if greatest is None:
        return f"{least} or more" if least else "any size"
    return f"{least} to {greatest}"
