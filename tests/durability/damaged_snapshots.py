"""Two snapshots, of which the newer or both are damaged, read as a resume reads them."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from damage import KINDS, mutants
from damaged_files import checkpoint, state

from jalon.engines.torch.formats import write_checkpoint
from jalon.store import plain
from jalon.store.snapshot import MANIFEST, Damaged, Snapshot, Snapshots

NAMES = ("model.safetensors", "state.safetensors", MANIFEST)


def snapshots(kind: str, root: Path, rng: random.Random) -> Iterator[tuple[str, Callable[[], str]]]:
    """Yield damages to the newer of two snapshots, and to both, without end."""
    for epoch in (0, 1):
        folder = Snapshots(root).begin()
        Snapshots(root).make(folder)
        write_checkpoint(folder / NAMES[0], checkpoint(epoch))
        (folder / NAMES[1]).write_bytes(plain.encode(state(epoch)))
        Snapshots(root).commit(folder, {"epoch": epoch, "batch": 0, "bests": {"loss": 0.5}})
    saved = {path: path.read_bytes() for path in sorted(root.glob("*/*"))}
    older, newer = sorted(root.iterdir())
    while True:
        for name in NAMES:
            pair = (saved[newer / name], saved[older / name])
            for word, mutant in islice(mutants(*pair, rng), len(KINDS)):
                yield f"{word} in {name}", lambda name=name, mutant=mutant: _read(root, saved, {newer / name: mutant})
            for word, damage in _of_folders(older, newer, name):
                yield f"{word} {name}", lambda damage=damage: _read(root, saved, {}, damage)
        names = [rng.choice(NAMES) for _ in range(2)]
        both = {
            folder / name: rng.choice(KINDS)(saved[folder / name], saved[newer / name], rng)
            for folder, name in zip((older, newer), names, strict=True)
        }
        yield "both", lambda both=both: _read(root, saved, both)


def _of_folders(older: Path, newer: Path, name: str) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield what can become of a file as a whole."""
    path, other = newer / name, newer / next(one for one in NAMES if one != name)

    def in_place(put: Callable[[], object]) -> None:
        path.unlink()
        put()

    yield "deleted", path.unlink
    yield "of the snapshot before:", lambda: shutil.copyfile(older / name, path)
    yield "of another name:", lambda: shutil.copyfile(other, path)
    yield "a link in place of", lambda: in_place(lambda: path.symlink_to(older / name))
    yield "a link to the same in place of", lambda: (path.rename(newer / "moved"), path.symlink_to("moved"))
    yield "a folder in place of", lambda: in_place(path.mkdir)
    yield "one file more than", lambda: (newer / "more.safetensors").write_bytes(b"more")
    yield (
        "all but the manifest, of the snapshot before:",
        lambda: [shutil.copyfile(older / one, newer / one) for one in NAMES[:2]],
    )


def _read(root: Path, saved: dict[Path, bytes], mutants: dict[Path, bytes], damage: Callable[[], object] = lambda: None) -> str:
    """Damage snapshots, read them as a resume does, and mend them."""
    for path, mutant in mutants.items():
        path.write_bytes(mutant)
    damage()
    try:
        return _outcome(root, saved)
    except Exception:
        return "silent"
    finally:
        for folder in {path.parent for path in saved}:
            shutil.rmtree(folder)
            folder.mkdir()
        for path, content in saved.items():
            path.write_bytes(content)


def _outcome(root: Path, saved: dict[Path, bytes]) -> str:
    there = list(Snapshots(root).newest_first())
    at = next((at for at, one in enumerate(there) if isinstance(one, Snapshot)), None)
    newest = max(path.parent for path in saved)
    is_named = all(isinstance(one, Damaged) and str(root) in str(one) for one in there[:at])
    if at is None:
        return "refused" if is_named else "silent"
    snapshot = there[at]
    as_saved = all((snapshot.path / name).read_bytes() == saved[snapshot.path / name] for name in snapshot.manifest.files)
    if not as_saved or set(snapshot.manifest.files) != set(NAMES[:2]) or snapshot.about["epoch"] != snapshot.number - 1:
        return "silent"
    if snapshot.path == newest:
        return "harmless"
    # Without its manifest the newest does not exist, and there is nothing to name.
    return "fell back" if is_named and (at > 0 or not (newest / MANIFEST).exists()) else "silent"
