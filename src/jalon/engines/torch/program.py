"""``.pt2`` files: a module as a program that needs no code, exported, written and read back."""

from __future__ import annotations

import inspect
import io
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import torch
from torch import Tensor, fx, nn

from jalon.core.trainer import Write
from jalon.engines.torch.fit import evaluating
from jalon.engines.torch.formats import FORMAT, Checkpoint, Refused
from jalon.engines.torch.pt2.archive import NOTE, ProgramArchive, sealed
from jalon.engines.torch.pt2.description import read_description
from jalon.engines.torch.pt2.module import ProgramModule
from jalon.engines.torch.pt2.plan import Plan
from jalon.engines.torch.pt2.tensors import read_constants, read_names, read_weights
from jalon.engines.torch.randomness import load_random_state, random_state
from jalon.engines.torch.structures import leaves, map_leaves
from jalon.errors import ArgumentError, CheckpointError, NotReady
from jalon.store import atomic

if TYPE_CHECKING:
    from jalon.engines.torch.model import Model

_REASON_LETTERS = 200


def freeze(model: Model, path: Path, about: Mapping[str, Any], *, exposed: bool = True) -> Write:
    """Export a model's module as it is now, and return what writes the program to a file that is either whole or not there.

    The module is exported in evaluation, for any number of rows where its ``forward`` allows that. It is left as it was. The
    file holds no batch of data and nothing of where the code lies.

    Args:
        model: The model. It must have seen a batch.
        path: The file.
        about: JSON values to store beside the weights.
        exposed: As in ``atomic.write_bytes``.

    Raises:
        NotReady: The model has seen no batch, so that nobody knows what its inputs are like.
        ArgumentError: The module cannot be exported, or does not with arithmetic alone what it does.
    """
    if model.example_inputs is None:
        raise NotReady(
            f"{path} cannot be written: a .pt2 file is made for inputs of a kind, and the model has seen none. "
            "Call fit or evaluate first, or save as .safetensors."
        )
    names = list(model.module.state_dict())
    note = json.dumps({"format": FORMAT, "about": dict(about), "weights": names})
    try:
        content = _exported(model.module, model.example_inputs, note, rows=torch.export.Dim.AUTO)
        if not read_description(ProgramArchive(content, complete=False)).is_told_by_sizes:
            content = _exported(model.module, model.example_inputs, note, rows=None)
        _refuse_what_cannot_be_read(content, names)
    except Exception as exc:
        raise ArgumentError(
            f"{type(model.module).__name__} cannot be saved as .pt2: {_reason(exc)}. Save as .safetensors, .h5 or .pt."
        ) from exc
    return partial(_write, path, content, exposed=exposed)


def read(path: Path) -> Checkpoint:
    """Read weights and what was told about them. Nothing in the file is run, nor is the program looked at.

    Args:
        path: The file.

    Raises:
        CheckpointError: It is missing, damaged, or holds something else than plain tensors.
    """
    with _naming(path), open(path, "rb") as file:
        archive = ProgramArchive(file)
        note, weights = _note(archive), read_weights(archive)
        return Checkpoint({name: weights[name].detach() for name in note.weights or weights}, None, note.about)


def load(path: Path) -> ProgramModule:
    """Return the program in a file as a module that predicts. Loading it runs nothing; predicting computes with tensors alone.

    Args:
        path: The file, written by jalon or by ``torch.export.save``.

    Raises:
        CheckpointError: It is missing, damaged, or asks for something else than arithmetic.
    """
    with _naming(path), open(path, "rb") as file:
        archive = ProgramArchive(file)
        note, weights = _note(archive), read_weights(archive)
        in_order = {name: weights[name] for name in note.weights or weights}
        return ProgramModule(read_description(archive), in_order, read_constants(archive))


# ---- out -------------------------------------------------------------------------------------------------------------


def _write(path: Path, content: io.BytesIO, *, exposed: bool) -> None:
    atomic.write_bytes(path, sealed(content.getbuffer()), exposed=exposed)


def _exported(module: nn.Module, inputs: Any, note: str, *, rows: Any) -> io.BytesIO:
    """Return the archive that ``torch.export`` makes of a module, without a seal.

    Args:
        module: The module.
        inputs: What it takes.
        note: The member of jalon's own.
        rows: How many rows inputs have, as ``torch.export`` is told; ``None`` for as many as these have.
    """
    hollow = map_leaves(_hollow, inputs)
    shapes: Any = torch.export.ShapesCollection()  # type: ignore[no-untyped-call]
    for leaf in leaves(hollow):
        shapes[leaf] = {0: rows} if leaf.ndim else {}
    args, kwargs = _arguments(module, hollow)
    with _as_it_was(module), evaluating(module), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module, args, kwargs, dynamic_shapes=shapes, strict=False).run_decompositions({})
        _strip(program)
        content = io.BytesIO()
        torch.export.save(program, content, extra_files={NOTE.removeprefix("extra/"): note})
    return content


def _strip(program: torch.export.ExportedProgram) -> None:
    """Take away what tells of the data and the code, and make each weight own its memory: torch writes whole storages."""
    program.example_inputs = None
    for part in program.graph_module.modules():
        for node in part.graph.nodes if isinstance(part, fx.GraphModule) else ():
            node.meta = {"val": node.meta["val"]} if "val" in node.meta else {}
    for tensors in (program.state_dict, program.constants):
        for name, value in tensors.items():
            if isinstance(value, Tensor) and not (value.is_contiguous() and value.nbytes == value.untyped_storage().nbytes()):
                own = value.detach().clone(memory_format=torch.contiguous_format)
                tensors[name] = nn.Parameter(own, value.requires_grad) if isinstance(value, nn.Parameter) else own


def _hollow(value: Tensor) -> Tensor:
    """Return an input that is like one that was seen and holds nothing of it; of one row no program for many can be made."""
    rows = [max(2, size) for size in value.shape[:1]]
    return torch.zeros(*rows, *value.shape[1:], dtype=value.dtype, device=value.device)


def _arguments(module: nn.Module, inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return what a module is called with for these inputs, as ``ModuleCall`` calls it."""
    signature = inspect.signature(module.forward)
    spread: tuple[tuple[Any, ...], dict[str, Any]] = ((inputs,), {})
    if isinstance(inputs, Mapping):
        spread = ((), dict(inputs))
    elif isinstance(inputs, (tuple, list)):
        spread = (tuple(inputs), {})
    try:
        signature.bind(*spread[0], **spread[1])
    except TypeError:
        return (inputs,), {}
    return spread


@contextmanager
def _as_it_was(module: nn.Module) -> Iterator[None]:
    """Put back what ``forward`` sets in its module when it is followed, and the random numbers that it draws."""
    parts = [(part, dict(vars(part))) for part in module.modules()]
    random = random_state()
    try:
        yield
    finally:
        load_random_state(random)
        for part, attributes in parts:
            vars(part).clear()
            vars(part).update(attributes)


def _refuse_what_cannot_be_read(content: io.BytesIO, names: list[str]) -> None:
    archive = ProgramArchive(content, complete=False)
    weights, constants = read_names(archive)
    others = weights ^ set(names)
    if others:
        raise Refused(f"has {', '.join(sorted(others)[:3])} either in its state dict or in its program, not in both")
    Plan(read_description(archive), weights | constants)


def _reason(exc: Exception) -> str:
    """Return in one line what an exception says."""
    if isinstance(exc, Refused):
        return f"it {exc}"
    lines = (line.strip() for line in str(exc).splitlines())
    line = f"{type(exc).__name__}: {next(filter(None, lines), 'no reason was told')}".rstrip(".")
    return line if len(line) <= _REASON_LETTERS else line[:_REASON_LETTERS] + "…"


# ---- in --------------------------------------------------------------------------------------------------------------


def _note(archive: ProgramArchive) -> _Note:
    """Return what jalon told about a file; nothing, of a file of another writer."""
    if not archive.is_sealed:
        return _Note()
    note = msgspec.json.decode(archive.read(NOTE), type=_Note)
    if note.format > FORMAT:
        raise Refused(f"was written by a newer jalon (format {note.format}; this one reads {FORMAT}). Install a newer one")
    return note


class _Note(msgspec.Struct):
    format: int = FORMAT
    about: dict[str, Any] = msgspec.field(default_factory=dict)
    weights: list[str] = msgspec.field(default_factory=list)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Say of whatever is wrong with a file which file it is."""
    try:
        yield
    except FileNotFoundError as exc:
        raise CheckpointError(f"{path} cannot be read: there is no such file.") from exc
    except Refused as exc:
        raise CheckpointError(f"{path} {exc}.") from exc.__cause__
    except Exception as exc:
        raise CheckpointError(f"{path} cannot be read: it is truncated, damaged or of another format ({_reason(exc)}).") from exc
