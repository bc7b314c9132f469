"""Pickles that call what they should not, bare, in zips, in tars, and under other names."""

from __future__ import annotations

import builtins
import importlib
import io
import marshal
import os
import pickle
import runpy
import shutil
import subprocess
import tarfile
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from evil_archives import replaced, zipped
from evil_files import GIANT, Places, evil, network, weights


class Calls:
    """Is pickled as the call of a function."""

    def __init__(self, function: Callable[..., Any], *args: Any, state: Any = None) -> None:
        self.reduced = (function, args) if state is None else (function, args, state)

    def __reduce__(self) -> Any:
        return self.reduced


CALLS: dict[str, Callable[[Places], Calls]] = {
    "system": lambda places: Calls(os.system, places.command),
    "popen": lambda places: Calls(os.popen, places.command),
    "subprocess": lambda places: Calls(subprocess.check_output, ["touch", str(places.canary)]),
    "exec": lambda places: Calls(builtins.exec, places.code),
    "eval": lambda places: Calls(builtins.eval, places.code),
    "open": lambda places: Calls(builtins.open, str(places.canary), "w"),
    "import": lambda places: Calls(importlib.import_module, "antigravity"),
    "runpy": lambda places: Calls(runpy._run_code, places.code, {}),
    "rmtree": lambda places: Calls(shutil.rmtree, str(places.outside)),
    "nested": lambda places: Calls(pickle.loads, pickle.dumps(Calls(os.system, places.command))),
    "torch_load": lambda places: Calls(torch.storage._load_from_bytes, saved(Calls(os.system, places.command))),
    "from_file": lambda places: Calls(torch.from_file, str(places.canary), True, 10),
    "getattr": lambda places: Calls(getattr, Calls(importlib.import_module, "os"), "system"),
    "state": lambda places: Calls(types.SimpleNamespace, state={"x": Calls(os.system, places.command)}),
    "marshal": lambda places: Calls(marshal.loads, bytecode(places)),
}


def saved(value: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def bytecode(places: Places) -> bytes:
    return marshal.dumps(compile(places.code, "evil", "exec"))


for call_name, make_call in CALLS.items():

    @evil(f"{call_name}.pt")
    def _(path: Path, places: Places, make: Callable[[Places], Calls] = make_call) -> None:
        path.write_bytes(saved({**weights(), "bias": make(places)}))


@evil("optimizer.pt")
def _(path: Path, places: Places) -> None:
    path.write_bytes(saved({"model_state_dict": weights(), "optimizer_state_dict": CALLS["system"](places)}))


@evil("note.pt")
def _(path: Path, places: Places) -> None:
    path.write_bytes(saved({"model_state_dict": weights(), "jalon": {"format": 1, "about": {}, "sha256": CALLS["exec"](places)}}))


@evil("module.pt")
def _(path: Path, places: Places) -> None:
    path.write_bytes(saved(network()))


@evil("legacy.pt")
def _(path: Path, places: Places) -> None:
    path.write_bytes(saved({**weights(), "bias": CALLS["system"](places)}, _use_new_zipfile_serialization=False))


@evil("bare.pt")
def _(path: Path, places: Places) -> None:
    path.write_bytes(pickle.dumps(CALLS["system"](places)))


@evil("protocol0.pt")
def _(path: Path, places: Places) -> None:
    path.write_bytes(pickle.dumps(CALLS["exec"](places), protocol=0))


@evil("instance.pt")
def _(path: Path, places: Places) -> None:
    path.write_bytes(b"(S'" + places.command.encode() + b"'\nios\nsystem\n.")


@evil("tar.pt")
def _(path: Path, places: Places) -> None:
    content = pickle.dumps(CALLS["system"](places), protocol=2)
    with tarfile.open(path, "w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors", "../outside/escaped"):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


@evil("script.pt")
def _(path: Path, places: Places) -> None:
    members = {"constants.pkl": pickle.dumps(()), "data.pkl": pickle.dumps(CALLS["system"](places)), "version": b"3"}
    zipped(path, {f"script/{name}": content for name, content in members.items()} | {"script/code/__torch__.py": b"import os"})


@evil("persistent.pt")
def _(path: Path, places: Places) -> None:
    content = saved(weights())
    path.write_bytes(content)
    replaced(path, "data.pkl", b"cposix\nsystem\n(V" + places.command.encode() + b"\ntQ.")


for suffix in (".safetensors", ".h5", ".pt2", ".keras", ".npz", ".csv", ".jsonl"):

    @evil(f"misnamed{suffix}")
    def _(path: Path, places: Places) -> None:
        path.write_bytes(saved({**weights(), "bias": CALLS["system"](places)}))

    @evil(f"misnamed_bare{suffix}")
    def _(path: Path, places: Places) -> None:
        path.write_bytes(pickle.dumps(CALLS["system"](places)))


@evil("distributed")
def _(path: Path, places: Places) -> None:
    path.mkdir()
    (path / ".metadata").write_bytes(pickle.dumps(CALLS["system"](places)))
    (path / "__0_0.distcp").write_bytes(saved(CALLS["system"](places)))


@evil("repeated.pt", read_by={"read_checkpoint"})
def _(path: Path, places: Places) -> None:
    giant = torch.zeros(1).expand(GIANT)
    path.write_bytes(saved({"weight": giant, "bias": giant}))


@evil("repeated_note.pt")
def _(path: Path, places: Places) -> None:
    note = {"format": 1, "about": {}, "sha256": "0" * 64}
    path.write_bytes(saved({"model_state_dict": {"weight": torch.zeros(1).expand(GIANT)}, "jalon": note}))
