"""The structure of a module for TensorBoard, and where its embeddings are."""

from __future__ import annotations

import copy
import dataclasses
import random
import warnings
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from itertools import chain
from operator import attrgetter
from types import BuiltinFunctionType, FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from jalon.core.trainer import Embedding, Graph
from jalon.sinks.graph_def import Node, graph_def

Shapes = dict[str, tuple[int, ...]]

_PLAIN = (
    bool, int, float, complex, str, bytes, type(None), type, FunctionType, BuiltinFunctionType, weakref.ref, Enum,
    Tensor, nn.Module, torch.dtype, torch.device, torch.memory_format,
)  # fmt: skip
"""What an attribute of a module may be for its ``forward`` to be followed on a copy."""


def graph(model: Any) -> Graph | None:
    """Return the operations of a module and what they are fed with, or ``None`` where it has none.

    ``forward`` is followed symbolically, without data, on a copy that shares no tensor with the module and has no hooks;
    random numbers are what they were before. Where a ``forward`` cannot be followed, the layers are there, in the order in
    which they were made.

    Args:
        model: A module, or a ``jalon.Model``.
    """
    module: nn.Module = model if isinstance(model, nn.Module) else model.module
    nodes = _traced(module) or list(_listed(module))
    return Graph("graph_def", graph_def(nodes)) if nodes else None


def embeddings(model: Any) -> Iterator[Embedding]:
    """Yield the embedding layers of a module or of a ``jalon.Model``."""
    module: nn.Module = model if isinstance(model, nn.Module) else model.module
    for path, part in module.named_modules():
        if isinstance(part, (nn.Embedding, nn.EmbeddingBag)):
            yield Embedding(path or type(part).__name__, _slashed(f"{path}.weight".lstrip(".")))


# ---- the layers, as they were made -----------------------------------------------------------------------------------


def _listed(module: nn.Module) -> Iterator[Node]:
    inputs: tuple[str, ...] = ()
    for path, part in module.named_modules():
        own = _shapes(part.named_parameters(recurse=False))
        is_leaf = next(part.children(), None) is None
        if own or (is_leaf and path):
            name = _slashed(path) or type(part).__name__
            yield Node(name, type(part).__name__, inputs, own)
            inputs = (name,)


# ---- what forward does -------------------------------------------------------------------------------------------------


class _Tracer(fx.Tracer):
    """Follows ``forward`` through every module that is not torch's own."""

    proxy_buffer_attributes = True

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        # m.forward in place of the call that was asked for, so that no hook runs, not even one for all modules.
        return super().call_module(m, m.forward, args, kwargs)


def _traced(module: nn.Module) -> list[Node]:
    """Return what ``forward`` does, or nothing where it cannot be followed."""
    tracer = _Tracer()
    try:
        if tracer.is_leaf_module(module, "") or not _can_be_copied(module, tracer):
            return []
        with _random_numbers_kept(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            hollow = _hollow_copy(module)
            return list(_nodes(hollow, tracer.trace(hollow)))
    except Exception:  # noqa: BLE001  # whatever a forward raises that meets no data
        return []


def _nodes(module: nn.Module, traced: fx.Graph) -> Iterator[Node]:
    names: dict[fx.Node, str] = {}
    taken: Counter[str] = Counter()
    for node in traced.nodes:
        name, op, shapes = _described(module, node)
        taken[name] += 1
        names[node] = name if taken[name] == 1 else f"{name}_{taken[name]}"
        yield Node(names[node], op, tuple(names[source] for source in node.all_input_nodes), shapes)


def _described(module: nn.Module, node: fx.Node) -> tuple[str, str, Shapes]:
    """Return the name of an operation, its kind and the shapes of its weights."""
    target = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
    if node.op == "call_module":
        part = module.get_submodule(target)
        return _slashed(target), type(part).__name__, _shapes(part.named_parameters())
    if node.op == "get_attr":
        value = attrgetter(target)(module)
        return _slashed(target), type(value).__name__, _shapes([("value", value)])
    if node.op in ("placeholder", "output"):
        return node.name, node.op, {}
    within = next(reversed(node.meta.get("nn_module_stack", {}).values()), ("",))[0]
    return _slashed(f"{within}.{node.name}".lstrip(".")), target, {}


def _can_be_copied(module: nn.Module, tracer: fx.Tracer) -> bool:
    """Return whether the modules that are entered hold nothing but what a copy is sure to leave alone."""
    return all(
        _is_plain(value)
        for path, part in module.named_modules()
        if not path or not tracer.is_leaf_module(part, path)
        for name, value in vars(part).items()
        if "hooks" not in name
    )


def _is_plain(value: Any) -> bool:
    if isinstance(value, _PLAIN):
        return True
    if isinstance(value, Mapping):
        return all(map(_is_plain, value.values()))
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(map(_is_plain, value))
    return dataclasses.is_dataclass(value) and all(_is_plain(getattr(value, field.name)) for field in dataclasses.fields(value))


def _hollow_copy(module: nn.Module) -> nn.Module:
    """Return a copy whose weights have shapes and no values, and which has no hooks."""
    memo: dict[int, Any] = {}
    for tensor in chain(module.parameters(), module.buffers()):
        if not nn.parameter.is_lazy(tensor):
            empty = torch.empty_like(tensor, device="meta")
            memo[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty
    for part in module.modules():
        memo |= {id(value): type(value)() for name, value in vars(part).items() if "hooks" in name and value}
    return copy.deepcopy(module, memo)


@contextmanager
def _random_numbers_kept() -> Iterator[None]:
    by_python, by_numpy = random.getstate(), np.random.get_state()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(by_python)
        np.random.set_state(by_numpy)


# ---- names and shapes --------------------------------------------------------------------------------------------------


def _slashed(path: str) -> str:
    return path.replace(".", "/")


def _shapes(weights: Iterable[tuple[str, Any]]) -> Shapes:
    return {
        _slashed(name): tuple(weight.shape)
        for name, weight in weights
        if isinstance(weight, Tensor) and not nn.parameter.is_lazy(weight)
    }
