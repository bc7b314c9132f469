"""Takes each protection out of a copy of the source, and runs the test that has to fail without it.

    .venv/bin/python tests/durability/mutations.py [WORD ...]

With words, only the protections whose names have one of them. Prints a line each; ends with 1 if a test passed without its
protection. A quarter of an hour on two cores.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Mutation:
    """Is a protection taken out.

    Args:
        protection: What is protected.
        path: The file, within the package.
        old: What stands there.
        new: What stands there without the protection.
        test: What to run.
        only: Which tests of that, as of ``pytest -k``.
    """

    protection: str
    path: str
    old: str
    new: str
    test: str
    only: str = ""


MUTATIONS = (
    Mutation(
        "a file is written beside its final name",
        "store/atomic.py",
        "    place_of = _renaming_synced(path) if exposed else nullcontext(path)\n"
        '    with place_of as temp, open(temp, "xb", buffering=_BUFFER_BYTES) as file:',
        '    with nullcontext(path) as temp, open(temp, "wb", buffering=_BUFFER_BYTES) as file:',
        "test_kill_at_every_call.py",
        "test_training",
    ),
    Mutation(
        "a file is on the disk before it is renamed",
        "store/atomic.py",
        "        file.flush()\n        _sync_open(file.fileno())\n",
        "        file.flush()\n",
        "test_power_cut.py",
    ),
    Mutation(
        "a snapshot's files are on the disk before its manifest",
        "store/snapshot.py",
        "        os.fsync(descriptor)\n",
        "",
        "test_power_cut.py",
    ),
    Mutation(
        "the manifest holds true of every file",
        "store/snapshot.py",
        'if hashlib.file_digest(file, "sha256").hexdigest() != record.sha256:',
        "if False:",
        "test_damaged_files.py",
        "snapshot",
    ),
    Mutation(
        "the snapshot before the newest is kept",
        "callbacks/_backup.py",
        "\nGENERATIONS = 2\n",
        "\nGENERATIONS = 1\n",
        "test_damaged_files.py",
        "resume",
    ),
    Mutation(
        "a run is kept from its beginning",
        "callbacks/backup_and_restore.py",
        "            self._keep_the_beginning()\n",
        "",
        "test_determinism.py",
        "arrays",
    ),
    Mutation(
        "a run that is begun keeps its name",
        "callbacks/_backup.py",
        "        if known is None:\n            self.delete()\n",
        "        if True:\n            self.delete()\n",
        "test_kill_at_every_call.py",
        "test_recovery",
    ),
    Mutation(
        "the table is cut back",
        "sinks/csv_file.py",
        "            file.truncate(length)\n            self._length = length\n        elif",
        "            pass\n        elif",
        "test_random_instants.py",
        "test_random_instants",
    ),
    Mutation(
        "event files are cut back",
        "callbacks/tensorboard.py",
        "            path = cut_back(folder, name, length, now=self.run.clock.wall())\n",
        "            path = max(Path(folder).glob(f'*{name}.v2'), default=None)\n",
        "test_random_instants.py",
        "test_random_instants",
    ),
    Mutation(
        "callbacks have their state back",
        "core/callback_list.py",
        "            callback.load_state_dict(state[key])\n",
        "            pass\n",
        "test_random_instants.py",
        "test_random_instants",
    ),
    Mutation(
        "random numbers go on",
        "callbacks/backup_and_restore.py",
        '        load_random_state(state["random"])\n',
        "",
        "test_determinism.py",
        "arrays",
    ),
    Mutation(
        "a failed write is tried again with the next row",
        "sinks/csv_file.py",
        "            self._writer.writerow([row.get(name, MISSING) for name in self.columns])\n"
        "            self._rows += 1\n"
        "            del self._waiting[0]\n",
        "            del self._waiting[0]\n"
        "            self._writer.writerow([row.get(name, MISSING) for name in self.columns])\n"
        "            self._rows += 1\n",
        "test_errors_everywhere.py",
        "test_while_recovering or (test_once and EIO)",
    ),
    Mutation(
        "a snapshot that cannot be written ends no training",
        "callbacks/backup_and_restore.py",
        "            elif isinstance(fault, OSError):\n",
        "            elif False:\n",
        "test_errors_everywhere.py",
        "test_once and EIO",
    ),
    Mutation(
        "an unwritable folder is refused at the start",
        "store/atomic.py",
        '    try:\n        if path.is_dir():\n            raise IsADirectoryError(errno.EISDIR, "it is a folder")',
        '    return\n    try:\n        if path.is_dir():\n            raise IsADirectoryError(errno.EISDIR, "it is a folder")',
        "test_unwritable_folder.py",
    ),
    Mutation(
        "signals let the batch end",
        "core/signals.py",
        "SIGNALS: tuple[signal.Signals, ...] = tuple(",
        "SIGNALS: tuple[signal.Signals, ...] = () and tuple(",
        "test_signals.py",
    ),
    Mutation(
        "HDF5's library never sees a damaged structure",
        "engines/torch/formats.py",
        "    if h5_seal.is_broken(",
        "    if False and h5_seal.is_broken(",
        "test_damaged_files.py",
        "h5",
    ),
    Mutation(
        "a file's content has its checksum",
        "engines/torch/formats.py",
        "    if _sha256(text.encode(), as_host_copy(tensors).data) != sha256.encode():",
        "    if False:",
        "test_damaged_files.py",
        "safetensors",
    ),
    Mutation(
        "a pickle is read as data alone",
        "engines/torch/formats.py",
        'torch.load(file, map_location="cpu", weights_only=True)',
        'torch.load(file, map_location="cpu", weights_only=False)',
        "test_no_code.py",
    ),
    Mutation(
        "a folder belongs to one training",
        "store/lock.py",
        "            while self._descriptor is None:\n                self._try()\n",
        "            pass\n",
        "test_two_processes.py",
    ),
    Mutation(
        "what killed writers left is removed",
        "store/atomic.py",
        "    target = Path(os.path.realpath(path))\n    own = range(_FIRST_NUMBER, next(_numbers))\n",
        "    return\n    target = Path(os.path.realpath(path))\n    own = range(_FIRST_NUMBER, next(_numbers))\n",
        "test_leaks.py",
    ),
)


def fails(mutation: Mutation) -> bool:
    """Return whether the test fails without the protection."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "src")
        shutil.copytree(ROOT / "src", source)
        path = source / "jalon" / mutation.path
        text = path.read_text(encoding="utf-8")
        if text.count(mutation.old) != 1:
            raise SystemExit(f"{mutation.protection}: {mutation.path} has {text.count(mutation.old)} times:\n{mutation.old}")
        path.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-qx", "-p", "no:cacheprovider", str(Path(__file__).with_name(mutation.test))]
        command += ["-k", mutation.only] if mutation.only else []
        environment = os.environ | {"PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{mutation.protection}: the test could not run:\n{done.stdout[-2000:]}")
    return done.returncode == 1


def main(words: list[str]) -> int:
    """Print what came of each mutation, and return 1 if a test passed without its protection."""
    chosen = [one for one in MUTATIONS if not words or any(word in one.protection for word in words)]
    unnoticed = 0
    for one in chosen:
        failed = fails(one)
        unnoticed += not failed
        print(f"{'fails  ' if failed else 'PASSES '} {one.test:<28} {one.protection}", flush=True)
    print(f"{len(chosen)} protections taken out, {unnoticed} not noticed")
    return int(unnoticed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
