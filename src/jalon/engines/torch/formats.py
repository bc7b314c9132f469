"""Files of named tensors: ``.safetensors``, ``.h5`` and ``.pt``.

All three hold the same thing: tensors under their names, and one JSON text that says of each its type and shape, how the
optimizer's state is put together from them, and what the writer told about the file. A SHA-256 over text and tensors is
checked when the file is read. docs/reference/formats.md describes where each format keeps which.

Reading never runs code from a file.
"""

from __future__ import annotations

import errno
import hashlib
import io
import itertools
import json
import math
import os
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from threading import Thread
from typing import Any, BinaryIO, NoReturn

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from jalon._optional import require
from jalon.engines.torch import h5_seal
from jalon.engines.torch.host_copy import Entry, HostCopy, Layout, as_host_copy
from jalon.errors import ArgumentError, CheckpointError, MissingPackage
from jalon.store import atomic

SUFFIXES = (".safetensors", ".h5", ".pt")
FORMAT = 1
RESERVED = "jalon:"
"""How names begin that are not those of weights."""

_SMALL_BYTES = 1 << 20
_DIGEST_BYTES = 64
_AS_IS = {int, str, bool, type(None)}
"""Types whose values are JSON."""

Digest = bytes | atomic.Late
Chunks = Iterable[bytes | memoryview | atomic.Late]
Tensors = dict[str, Tensor]


@dataclass(slots=True)
class Checkpoint:
    """Is what a file holds.

    Args:
        weights: The tensors by name, as ``module.state_dict()`` returns them.
        optimizer: What ``optimizer.state_dict()`` returns, if it is to be saved.
        about: JSON values, as the epoch and the metric.
    """

    weights: Tensors
    optimizer: dict[Any, Any] | None = None
    about: dict[str, Any] = field(default_factory=dict)


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a file that is either whole or not there.

    Args:
        path: Where to; its suffix names the format.
        checkpoint: What to write. Tensors on a device are brought to the host.

    Raises:
        ArgumentError: An unknown suffix, or something that is neither a tensor nor plain data.
        OSError: The system refuses, as on a full disk. The old file is intact.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "net.safetensors")
        >>> write_checkpoint(path, Checkpoint(torch.nn.Linear(3, 1).state_dict(), about={"epoch": 4}))
        >>> list(read_checkpoint(path).weights), read_checkpoint(path).about
        (['weight', 'bias'], {'epoch': 4})
    """
    _format_of(path)
    outline, tensors = lay_out(checkpoint)
    write_copy(path, outline, as_host_copy(tensors))


def write_copy(path: Path, outline: Outline, copy: HostCopy, *, exposed: bool = True) -> None:
    """Write a checkpoint that was laid out, and whose tensors were copied, to a file that is either whole or not there.

    Args:
        path: Where to; its suffix names the format.
        outline: What the checkpoint is.
        copy: Its tensors.
        exposed: As in ``atomic.write_bytes``.

    Raises:
        ArgumentError: An unknown suffix.
        OSError: The system refuses, as on a full disk. The old file is intact.
    """
    encode, _ = _format_of(path)
    with _digest(_text_of(outline, copy.layout), copy) as digest:
        atomic.write_bytes(path, encode(outline, copy, digest), exposed=exposed)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a file back, all of it on the host. Plain files of other writers are read as weights.

    Args:
        path: The file; its suffix names the format.

    Raises:
        ArgumentError: An unknown suffix.
        CheckpointError: The file is missing, truncated, damaged, or holds something else than tensors and plain data.
    """
    _, read = _format_of(path)
    try:
        with open(path, "rb") as file:
            return read(file)
    except MissingPackage:
        raise
    except Refused as exc:
        raise CheckpointError(f"{path} {exc}.") from exc.__cause__
    except Exception as exc:
        raise CheckpointError(f"{path} cannot be read: {_reason(exc)}.") from exc


class Refused(Exception):
    """Carries what is wrong with a file to where its name is known."""


# ---- the parts that every format holds -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outline:
    """Says what a checkpoint is, except for its tensors.

    Args:
        about: What was told of it, as JSON text.
        optimizer: How the optimizer's state is put together from tensors, as JSON values.
    """

    about: str
    optimizer: Any

    @cached_property
    def front(self) -> str:
        """The description's text, up to where it says which tensors there are."""
        return f'{{"format": {FORMAT}, "about": {self.about}, "optimizer": {json.dumps(self.optimizer)}, "tensors": '


@dataclass(frozen=True, slots=True)
class _Texts:
    """Is what a layout adds to the texts of every file that has it."""

    tensors: bytes
    tensors_in_quotes: bytes
    safetensors: bytes


@lru_cache(maxsize=32)
def _texts(layout: Layout) -> _Texts:
    tensors = json.dumps({name: [str(dtype).removeprefix("torch."), list(shape)] for name, dtype, shape in layout.entries})
    header = {name: _safetensors_entry(name, dtype, shape, layout) for name, dtype, shape in layout.entries}
    return _Texts(f"{tensors}}}".encode(), _quoted(f"{tensors}}}"), json.dumps(header)[1:].encode())


def _text_of(outline: Outline, layout: Layout) -> bytes:
    return outline.front.encode() + _texts(layout).tensors


def _quoted(text: str) -> bytes:
    """Return a text as it stands between the quotes of a JSON string."""
    return json.dumps(text)[1:-1].encode()


def lay_out(checkpoint: Checkpoint) -> tuple[Outline, Tensors]:
    """Return what a checkpoint is, and all its tensors by name. They are the checkpoint's own.

    Raises:
        ArgumentError: Something in it is neither a dense tensor nor plain data.
    """
    tensors: Tensors = {}
    for name, value in checkpoint.weights.items():
        if name.startswith(RESERVED):
            raise ArgumentError(f"The weight {name!r} cannot be saved: names that begin with {RESERVED!r} are jalon's own.")
        tensors[name] = _dense(value, name)
    optimizer = None if checkpoint.optimizer is None else _described(checkpoint.optimizer, f"{RESERVED}optimizer", tensors)
    return Outline(_json_text(checkpoint.about), optimizer), tensors


def describe(checkpoint: Checkpoint) -> tuple[dict[str, Any], Tensors]:
    """Return what a checkpoint is, as JSON values, and all its tensors by name, on the host.

    Raises:
        ArgumentError: Something in it is neither a dense tensor nor plain data.
    """
    outline, tensors = lay_out(checkpoint)
    copy = as_host_copy(tensors)
    content: dict[str, Any] = json.loads(_text_of(outline, copy.layout))
    return content, copy.tensors


def as_described(content: Mapping[str, Any], stored: Mapping[str, Tensor]) -> Tensors:
    """Return the tensors that were described, whatever type and shape they are stored in."""
    return {name: _shaped(stored[name], dtype, shape) for name, (dtype, shape) in content["tensors"].items()}


def assemble(content: Mapping[str, Any], tensors: Tensors) -> Checkpoint:
    """Return the checkpoint that was described, from its tensors."""
    optimizer = None if content["optimizer"] is None else _restored(content["optimizer"], tensors)
    weights = {name: value for name, value in tensors.items() if not name.startswith(RESERVED)}
    return Checkpoint(weights, optimizer, content["about"])


def _put_together(text: str, sha256: str, stored: Tensors) -> Checkpoint:
    """Return what a file holds, from its text and its tensors, whatever type and shape it stores them in."""
    content = parse_description(text)
    if content["tensors"].keys() != stored.keys():
        raise Refused("is damaged: its tensors are not those that it lists")
    tensors = as_described(content, stored)
    if _sha256(text.encode(), as_host_copy(tensors).data) != sha256.encode():
        raise Refused("is damaged: its content does not have the checksum that was saved with it")
    return assemble(content, tensors)


def parse_description(text: str) -> dict[str, Any]:
    """Return what a checkpoint is, from the text that says it.

    Raises:
        Refused: A newer jalon wrote it.
    """
    content: dict[str, Any] = json.loads(text)
    _refuse_newer(content["format"])
    return content


def _refuse_newer(version: int) -> None:
    if version > FORMAT:
        raise Refused(f"was written by a newer jalon (format {version}; this one reads {FORMAT}). Install a newer one")


@contextmanager
def _digest(text: bytes, copy: HostCopy) -> Iterator[Digest]:
    """Compute the checksum of a file, that of a large one in another thread while the block writes the file."""
    if copy.layout.nbytes < _SMALL_BYTES:
        yield _sha256(text, copy.data)
        return
    outcome: Future[bytes] = Future()
    thread = Thread(target=_fulfil, args=(outcome, text, copy.data), name="jalon-digest")
    try:
        thread.start()
    except RuntimeError:  # there are no more to be had, or Python 3.12 is about to end
        _fulfil(outcome, text, copy.data)
    try:
        yield atomic.Late(_DIGEST_BYTES, outcome.result)
    finally:
        if thread.is_alive():
            thread.join()


def _fulfil(outcome: Future[bytes], text: bytes, data: Sequence[memoryview]) -> None:
    try:
        outcome.set_result(_sha256(text, data))
    except BaseException as exc:  # noqa: BLE001  # whoever asks for the result raises it
        outcome.set_exception(exc)


def _sha256(text: bytes, data: Iterable[memoryview]) -> bytes:
    digest = hashlib.sha256(text)
    for one in _in_large_pieces(data):
        digest.update(one)
    return digest.hexdigest().encode()


def _in_large_pieces(data: Iterable[memoryview]) -> Iterator[bytes | memoryview]:
    """Yield the same bytes with small pieces joined: each call that lets other threads run may have to wait to go on."""
    small = bytearray()
    for one in data:
        if len(one) < _SMALL_BYTES:
            small += one
            continue
        yield bytes(small)
        small.clear()
        yield one
    yield bytes(small)


def _dense(value: Any, name: str) -> Tensor:
    if isinstance(value, Tensor) and value.layout is torch.strided and not (value.is_quantized or value.is_meta):
        return value
    what = f"a {value.layout} tensor" if isinstance(value, Tensor) else f"a {type(value).__name__}"
    raise ArgumentError(f"{name!r} cannot be saved: it is {what}. Weights are saved as dense tensors with values.")


def _shaped(value: Tensor, dtype_name: str, shape: list[int]) -> Tensor:
    dtype = getattr(torch, dtype_name, None)
    if not isinstance(dtype, torch.dtype):
        raise Refused(f"holds values of the type {dtype_name!r}, which this version of torch does not have")
    if value.numel() == 0 and 0 in shape:
        return torch.empty(shape, dtype=dtype)
    if value.dtype != dtype:
        value = value.reshape(-1).view(torch.uint8).view(dtype)
    return value.reshape(shape)


def _json_text(about: Mapping[str, Any]) -> str:
    try:
        return json.dumps(about)
    except (TypeError, ValueError) as exc:
        raise ArgumentError(f"What is told about a checkpoint must be JSON values: {exc}. Received: {about!r}.") from exc


def _described(value: Any, name: str, tensors: Tensors) -> Any:
    """Return an optimizer's state as JSON and lay its tensors aside. A JSON object has one key, the kind of its content."""
    if type(value) in _AS_IS or (type(value) is float and math.isfinite(value)):
        return value
    if isinstance(value, Tensor):
        while name in tensors:
            name += "'"
        tensors[name] = _dense(value, name)
        return {"tensor": name}
    if isinstance(value, (dict, Mapping)):  # to ask for a dict first is what takes least
        return {
            "dict": [[_described(key, name, tensors), _described(one, f"{name}/{key}", tensors)] for key, one in value.items()]
        }
    if isinstance(value, (list, tuple)):
        items = [_described(one, f"{name}/{place}", tensors) for place, one in enumerate(value)]
        return {"tuple": items} if isinstance(value, tuple) else items
    return _described_scalar(value.item() if isinstance(value, np.generic) else value, name)


def _described_scalar(value: Any, name: str) -> Any:
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"float": repr(float(value))}
    for kind in (bool, int, str):
        if isinstance(value, kind):
            return kind(value)
    raise ArgumentError(f"{name!r} cannot be saved: it is a {type(value).__name__}, neither a tensor nor plain data.")


def _restored(value: Any, tensors: Tensors) -> Any:
    if isinstance(value, list):
        return [_restored(one, tensors) for one in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "float":
        return float(content)
    if kind == "tuple":
        return tuple(_restored(one, tensors) for one in content)
    return {_restored(key, tensors): _restored(one, tensors) for key, one in content}


# ---- .safetensors ----------------------------------------------------------------------------------------------------

_SAFETENSORS_TYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.complex64: "C64",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint64: "U64",
    torch.uint32: "U32",
    torch.uint16: "U16",
    torch.uint8: "U8",
    torch.bool: "BOOL",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
}


def _safetensors_entry(name: str, dtype: torch.dtype, shape: torch.Size, layout: Layout) -> dict[str, Any]:
    start, end = layout.places[name]
    kind = _SAFETENSORS_TYPES.get(dtype)
    return {"dtype": kind or "U8", "shape": list(shape) if kind else [end - start], "data_offsets": [start, end]}


def _encode_safetensors(outline: Outline, copy: HostCopy, digest: Digest) -> Chunks:
    texts = _texts(copy.layout)
    note = b'{"__metadata__": {"format": "pt", "jalon": "' + _quoted(outline.front) + texts.tensors_in_quotes + b'", "sha256": "'
    rest = (b'"}, ' if copy.tensors else b'"}') + texts.safetensors
    size = len(note) + _DIGEST_BYTES + len(rest)
    padding = -size % 8
    return [(size + padding).to_bytes(8, "little") + note, digest, rest + b" " * padding, *copy.data]


def _read_safetensors(file: BinaryIO) -> Checkpoint:
    data = file.read()
    stored = safetensors.torch.load(data)
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")], object_pairs_hook=_once_each)
    note = header.pop("__metadata__", {})
    if _is_foreign(note):
        return Checkpoint({name: stored[name] for name in header})
    return _put_together(note["jalon"], note["sha256"], stored)


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise Refused("is refused: it has two things of one name")
    return content


def _is_foreign(note: Mapping[str, Any]) -> bool:
    own = {"jalon", "sha256"} & note.keys()
    if len(own) == 1:
        raise Refused("is damaged: either its description or its checksum is missing")
    return not own


# ---- .h5 -------------------------------------------------------------------------------------------------------------

_H5_TYPES = {
    getattr(torch, name): name
    for name in (
        *("float64", "float32", "float16", "complex128", "complex64", "bool"),
        *("int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8"),
    )
}
_H5_NOTE = {"jalon": f"{RESERVED}description", "sha256": f"{RESERVED}sha256"}
_H5_TELLTALES = (_H5_NOTE["jalon"].encode(), b'{"format": ')
"""The name and the beginning of the text: they lie far from each other, and one is enough to know a file of ours by."""
_H5_PAGE = 512
"""The text is filled up to a multiple of so many bytes, so that its length seldom changes between two saves."""

H5Layout = tuple[tuple[str, str, tuple[int, ...]], ...]


def _encode_h5(outline: Outline, copy: HostCopy, digest: Digest) -> Chunks:
    text = _text_of(outline, copy.layout)
    text += b" " * (-len(text) % _H5_PAGE)
    content: dict[str, bytes | memoryview | atomic.Late] = {_H5_NOTE["jalon"]: text, _H5_NOTE["sha256"]: digest, **copy.parts}
    sizes = {_H5_NOTE["jalon"]: len(text), _H5_NOTE["sha256"]: _DIGEST_BYTES}
    layout = (*((name, "uint8", (size,)) for name, size in sizes.items()), *map(_h5_entry, copy.layout.entries))
    frame, tail = _h5_frame(layout)
    return [*itertools.chain.from_iterable((before, content[name]) for before, name in frame), tail]


def _h5_entry(entry: Entry) -> tuple[str, str, tuple[int, ...]]:
    name, dtype, shape = entry
    kind = _H5_TYPES.get(dtype)
    return (name, kind, tuple(shape)) if kind else (name, "uint8", (dtype.itemsize * shape.numel(),))


@lru_cache(maxsize=4)
def _h5_frame(layout: H5Layout) -> tuple[list[tuple[bytes, str]], bytes]:
    """Return what an HDF5 file of this layout has between its arrays: before each, and after the last.

    To describe an array takes HDF5 longer than to write a small one. The description is the same at every save, so it is
    made once, and the arrays are then written to where it says they are.
    """
    h5py = require("h5py", extra="torch", who="A .h5 file")
    starts: dict[int, tuple[str, int]] = {}
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=("v108", "v108")) as file:
        for name, kind, shape in layout:
            dataset = _h5_dataset(file, name, np.zeros(shape, kind))
            if dataset.nbytes:
                starts[dataset.id.get_offset()] = (name, dataset.nbytes)
    image = buffer.getvalue()
    frame, places, done = [], [], 0
    for start, (name, size) in sorted(starts.items()):
        frame.append((image[done:start], name))
        places.append(done)
        done = start + size
    structure = [*zip(places, (before for before, _ in frame), strict=True), (done, image[done:])]
    return frame, image[done:] + h5_seal.seal(structure, len(image))


def _h5_dataset(file: Any, name: str, content: np.ndarray[Any, Any]) -> Any:
    if {"", "."} & set(name.split("/")) or "\0" in name:
        raise ArgumentError(f"The weight {name!r} cannot be saved as .h5: HDF5 has no such name. Save as .safetensors or .pt.")
    try:
        return file.create_dataset(name, data=content)
    except (ValueError, RuntimeError, TypeError) as exc:
        raise ArgumentError(f"The weight {name!r} cannot be saved as .h5: {exc}. Save as .safetensors or .pt.") from exc


def _read_h5(file: BinaryIO) -> Checkpoint:
    h5py = require("h5py", extra="torch", who="A .h5 file")
    if h5_seal.is_broken(file, _H5_TELLTALES):
        raise Refused("is damaged: its structure is not the one that was saved")
    with h5py.File(file.name, "r") as root:
        size = root.id.get_filesize()
        arrays = {name: _h5_values(name, dataset, size) for name, dataset in _h5_datasets(h5py, root, "", set())}
    note = {key: arrays.pop(name).numpy().tobytes().decode() for key, name in _H5_NOTE.items() if name in arrays}
    if _is_foreign(note):
        return Checkpoint(arrays)
    return _put_together(note["jalon"].rstrip(" "), note["sha256"], arrays)


def _h5_datasets(h5py: Any, group: Any, prefix: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    seen.add(h5py.h5o.get_info(group.id).addr)
    for key in group:
        name = prefix + key
        if not isinstance(group.get(key, getlink=True), h5py.HardLink):
            raise Refused(f"is refused: {name!r} is a link to somewhere else")
        node = group[key]
        if isinstance(node, h5py.Dataset):
            yield name, node
        elif not isinstance(node, h5py.Group) or h5py.h5o.get_info(node.id).addr in seen:
            raise Refused(f"is refused: {name!r} is neither an array nor a group of arrays")
        else:
            yield from _h5_datasets(h5py, node, f"{name}/", seen)


def _h5_values(name: str, dataset: Any, file_size: int) -> Tensor:
    if dataset.dtype.kind not in "biufc" or dataset.is_virtual or dataset.external:
        raise Refused(f"is refused: {name!r} does not hold plain numbers of its own")
    if not dataset.nbytes <= dataset.id.get_storage_size() <= file_size:
        raise Refused(f"is refused: {name!r} is compressed or incomplete; only arrays stored as they are can be read")
    values = np.asarray(dataset[()])
    return torch.from_numpy(values.astype(values.dtype.newbyteorder("="), copy=False))


# ---- .pt -------------------------------------------------------------------------------------------------------------


def _encode_pt(outline: Outline, copy: HostCopy, digest: Digest) -> Chunks:
    """Return what ``torch.save`` makes of it: the plain state dict, or a dict of it and the optimizer's."""
    tensors = _compact(copy.tensors)
    weights = OrderedDict((name, value) for name, value in tensors.items() if not name.startswith(RESERVED))
    sha256 = digest if isinstance(digest, bytes) else digest.content()
    note = {"format": FORMAT, "about": json.loads(outline.about), "sha256": sha256.decode()}
    if outline.optimizer is None:
        vars(weights)["jalon"] = note  # an attribute, as torch's own _metadata: whoever loads the weights does not see it
        payload: dict[str, Any] = weights
    else:
        optimizer = _restored(outline.optimizer, tensors)
        payload = {"model_state_dict": weights, "optimizer_state_dict": optimizer, "jalon": note}
    buffer = io.BytesIO()
    torch.save(payload, buffer)
    return [buffer.getbuffer()]


def _compact(tensors: Tensors) -> Tensors:
    """Return tensors that own what they view: ``torch.save`` writes whole storages, and each under one type only."""
    types: dict[int, torch.dtype] = {}
    own = {}
    for name, value in tensors.items():
        storage = value.untyped_storage()
        alone = storage.nbytes() == value.nbytes and types.setdefault(storage.data_ptr(), value.dtype) == value.dtype
        own[name] = value if alone else value.clone()
    return own


def _read_pt(file: BinaryIO) -> Checkpoint:
    _refuse_compressed(file)
    payload = torch.load(file, map_location="cpu", weights_only=True)
    weights, optimizer, note = _sorted_out(payload)
    if note is None:
        _check_zip(file)
        return Checkpoint(weights, optimizer)
    _refuse_newer(note["format"])
    outline, tensors = lay_out(Checkpoint(weights, optimizer, note["about"]))
    if sum(value.nbytes for value in tensors.values()) > os.fstat(file.fileno()).st_size:
        raise Refused("is damaged: its tensors are larger than the file")
    copy = as_host_copy(tensors)
    return _put_together(_text_of(outline, copy.layout).decode(), note["sha256"], copy.tensors)


def _sorted_out(payload: Any) -> tuple[Tensors, dict[Any, Any] | None, dict[str, Any] | None]:
    """Return weights, optimizer and jalon's note, of a state dict or of a dict that holds one, as torch's tutorials do."""
    weights, optimizer, note = payload, None, getattr(payload, "jalon", None)
    if isinstance(payload, dict) and "model_state_dict" in payload:
        weights, optimizer, note = payload["model_state_dict"], payload.get("optimizer_state_dict"), payload.get("jalon")
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        _refuse_content(weights)
    return {name: value.detach() for name, value in weights.items()}, optimizer, note


def _refuse_content(payload: Any) -> NoReturn:
    what = f"a {type(payload).__name__}"
    if isinstance(payload, dict):
        what = f"a dict with {', '.join(map(str, list(payload)[:5])) or 'nothing in it'}"
    raise Refused(f"holds {what}, no state dict. Save module.state_dict() there")


def _refuse_compressed(file: BinaryIO) -> None:
    """Refuse an archive that may become larger than the file when it is read; ``torch.save`` compresses nothing."""
    if zipfile.is_zipfile(file):
        members = zipfile.ZipFile(file).infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise Refused("is refused: it is compressed, which torch.save never does")
    file.seek(0)


def _check_zip(file: BinaryIO) -> None:
    """Check the archive's own checksums, which ``torch.load`` does not look at."""
    if not zipfile.is_zipfile(file):
        return  # as torch wrote before 1.6
    broken = zipfile.ZipFile(file).testzip()
    if broken is not None:
        raise Refused(f"is damaged: {broken} in it does not have its checksum")


# ---- which is which --------------------------------------------------------------------------------------------------

_Format = tuple[Callable[[Outline, HostCopy, Digest], Chunks], Callable[[BinaryIO], Checkpoint]]
_FORMATS: dict[str, _Format] = {
    ".safetensors": (_encode_safetensors, _read_safetensors),
    ".h5": (_encode_h5, _read_h5),
    ".pt": (_encode_pt, _read_pt),
}


def _format_of(path: Path) -> _Format:
    if path.suffix not in _FORMATS:
        raise ArgumentError(f"A checkpoint's suffix is one of {', '.join(SUFFIXES)}. Received: {str(path)!r}.")
    return _FORMATS[path.suffix]


def _reason(exc: Exception) -> str:
    if isinstance(exc, FileNotFoundError):
        return "there is no such file"
    if isinstance(exc, OSError) and exc.errno not in (None, errno.EINVAL) and exc.strerror == os.strerror(exc.errno):
        return f"{exc.strerror}. Check that reading it is permitted and that its disk is there"
    asked = re.search(r"Unsupported (?:global|class|operand).*?GLOBAL (\S+)", str(exc), re.DOTALL)
    if asked:
        return f"it asks to run {asked[1]}; files are read without running code. Save module.state_dict() there instead"
    first_line = (str(exc).strip().splitlines() or [""])[0].rstrip(".")
    return f"it is truncated, damaged or of another format ({type(exc).__name__}: {first_line})"
