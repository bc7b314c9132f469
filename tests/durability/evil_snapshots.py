"""Snapshots and backups whose manifests, rows and states say what they should not."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from evil_arrays import DEEP
from evil_files import VICTIM, Places, evil, of_backup, weights
from evil_pickles import CALLS, saved

from jalon.engines.torch.formats import Checkpoint, write_checkpoint
from jalon.store import plain
from jalon.store.snapshot import Snapshots


def snapshot(path: Path, *, name: str | None = None, manifest: Callable[[bytes], bytes] = bytes) -> Path:
    """Write a snapshot of weights whose manifest, sealed anew, says something else.

    Args:
        path: Its folder.
        name: What the file of weights is called in the manifest.
        manifest: Changes what the manifest says.
    """
    snapshots = Snapshots(path.parent)
    folder = snapshots.begin()
    snapshots.make(folder)
    write_checkpoint(folder / "model.safetensors", Checkpoint(weights(), None, {}))
    snapshots.commit(folder, {"epoch": 3})
    folder.rename(path)
    body = (path / "manifest.json").read_bytes()[len(b'{"sha256":"","content":') + 64 : -1]
    if name is not None:
        body = body.replace(b'"model.safetensors"', json.dumps(name).encode())
    body = manifest(body)
    (path / "manifest.json").write_bytes(b'{"sha256":"%s","content":' % hashlib.sha256(body).hexdigest().encode() + body + b"}")
    return path


NAMES = {
    **{"up": "../victim.txt", "further_up": "../../outside/victim.txt", "absolute": "/etc/passwd", "empty": "", "itself": "."},
    **{"parent": "..", "backslash": "..\\victim.txt", "nul": "model.safetensors\0", "its_manifest": "manifest.json"},
    **{"in_a_folder": "folder/model.safetensors", "device": "/dev/zero", "drive": "C:\\victim.txt"},
}
for case_name, file_name in NAMES.items():

    @evil(f"named_{case_name}")
    def _(path: Path, places: Places, named: str = file_name) -> None:
        snapshot(path, name=named)


MANIFESTS: dict[str, Callable[[bytes], bytes]] = {
    "no_json": lambda body: body[:-1],
    "deep_json": lambda body: b'{"format":1,"files":{},"about":' + DEEP + b"}",
    "list": lambda body: b"[" + body + b"]",
    "of_another_size": lambda body: body.replace(b'"size":', b'"size":9'),
    "of_giant_size": lambda body: body.replace(b'"size":', b'"size":' + b"9" * 40),
    "newer": lambda body: body.replace(b'"format":1', b'"format":2'),
    "no_text": lambda body: body.replace(b"epoch", b"\xff\xfe"),
    "other_field": lambda body: body.replace(b'"format":1', b'"format":1,"run":"x"'),
}
for case_name, change in MANIFESTS.items():

    @evil(f"manifest_{case_name}")
    def _(path: Path, places: Places, change: Callable[[bytes], bytes] = change) -> None:
        snapshot(path, manifest=change)


@evil("linked_file")
def _(path: Path, places: Places) -> None:
    file = snapshot(path) / "model.safetensors"
    shutil.move(file, places.outside / "linked_file.safetensors")
    file.symlink_to(places.outside / "linked_file.safetensors")


@evil("linked_manifest")
def _(path: Path, places: Places) -> None:
    file = snapshot(path) / "manifest.json"
    shutil.move(file, places.outside / "linked_manifest.json")
    file.symlink_to(places.outside / "linked_manifest.json")


@evil("file_is_a_pipe")
def _(path: Path, places: Places) -> None:
    file = snapshot(path) / "model.safetensors"
    file.unlink()
    os.mkfifo(file)


@evil("manifest_is_a_pipe")
def _(path: Path, places: Places) -> None:
    file = snapshot(path) / "manifest.json"
    file.unlink()
    os.mkfifo(file)


# ---- backups ---------------------------------------------------------------------------------------------------------


def snapshots_in(path: Path) -> list[Path]:
    return [one for one in path.iterdir() if one.name.isdecimal()]


def resealed(folder: Path, change: Callable[[dict[str, Any]], None], files: Mapping[str, bytes] | None = None) -> None:
    """Let a snapshot's manifest say something else, and hold other files."""
    content = json.loads((folder / "manifest.json").read_bytes())["content"]
    for name, data in (files or {}).items():
        (folder / name).write_bytes(data)
        content["files"][name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    change(content)
    body = json.dumps(content).encode()
    (folder / "manifest.json").write_bytes(b'{"sha256":"%s","content":' % hashlib.sha256(body).hexdigest().encode() + body + b"}")


@of_backup("identity_pickled")
def _(path: Path, places: Places) -> None:
    (path / "run.json").write_bytes(pickle.dumps(CALLS["system"](places)))


@of_backup("identity_deep")
def _(path: Path, places: Places) -> None:
    (path / "run.json").write_bytes(DEEP)


@of_backup("identity_of_lists")
def _(path: Path, places: Places) -> None:
    (path / "run.json").write_text('{"id": [], "fingerprint": [[1]]}')


@of_backup("history_pickled")
def _(path: Path, places: Places) -> None:
    (path / "history.jsonl").write_bytes(pickle.dumps(CALLS["system"](places)) * 1000)


@of_backup("history_no_rows")
def _(path: Path, places: Places) -> None:
    size = (path / "history.jsonl").stat().st_size
    (path / "history.jsonl").write_bytes((b'{"epoch": ' + b" " * (size // 2 - 12) + b"\n") * 2 + b" " * size)


@of_backup("history_elsewhere")
def _(path: Path, places: Places) -> None:
    (path / "history.jsonl").unlink()
    (path / "history.jsonl").symlink_to(places.outside / "victim.txt")
    sha256 = hashlib.sha256(VICTIM[:20].encode()).hexdigest()
    for folder in snapshots_in(path):
        resealed(folder, lambda content: content["about"]["history"].update(rows=2, bytes=20, sha256=sha256))


@of_backup("history_giant")
def _(path: Path, places: Places) -> None:
    for folder in snapshots_in(path):
        resealed(folder, lambda content: content["about"]["history"].update(bytes=1 << 50))


@of_backup("state_pickled")
def _(path: Path, places: Places) -> None:
    for folder in snapshots_in(path):
        resealed(folder, lambda content: None, {"state.safetensors": pickle.dumps(CALLS["system"](places))})


@of_backup("state_of_other_things")
def _(path: Path, places: Places) -> None:
    state = plain.encode({"callbacks": {"os.system": places.command}, "random": places.code, "model": ["x"]})
    for folder in snapshots_in(path):
        resealed(folder, lambda content: None, {"state.safetensors": state})


@of_backup("model_pickled")
def _(path: Path, places: Places) -> None:
    for folder in snapshots_in(path):
        resealed(folder, lambda content: None, {"model.safetensors": saved(CALLS["system"](places))})
