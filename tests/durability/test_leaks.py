"""R17: nothing piles up: what dead processes left is removed, files and threads stay as many, two generations are kept."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest
from harness import difference
from kills import PLANS
from scenario import Plan
from shim import Watch

GENERATIONS = 2
LONG = Plan(".safetensors", "epoch", "foreground", epochs=1000, patience=1000)


@pytest.fixture
def dead():
    """Return the number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def left_by(pid, root):
    """Return what a process may have left that was killed while it wrote, made anew: files, and a snapshot without manifest."""
    generation = root / "run" / "backup" / "00000099"
    files = [
        root / "saved" / f".best.safetensors.tmp-{pid}-7",
        root / "run" / "backup" / f".run.json.tmp-{pid}-8",
        root / f".training.log.{pid}.tmp",
        generation / "model.safetensors",
        generation / f".manifest.json.tmp-{pid}-9",
    ]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"half")
    return [*files, generation]


@pytest.mark.parametrize("interrupted", [False, True], ids=["new", "resumed"])
def test_left_by_dead_processes(lab, dead, interrupted):
    """What a dead process has left is removed as the next training begins, and the training is as ever."""
    plan = PLANS[0]
    with lab.folder() as root:
        if interrupted:
            lab.run(root, plan, Watch("kill before", 200))
        left = left_by(dead, root)

        assert difference(lab.reference(plan), lab.run(root, plan)) is None
        assert [] == [path for path in left if path.exists()]


def test_of_living_processes(lab):
    """What a process that lives is writing to the best file's folder is not removed."""
    with lab.folder() as root:
        mine = root / "saved" / f".best.safetensors.tmp-{os.getpid()}-7"
        mine.parent.mkdir()
        mine.write_bytes(b"being written")
        lab.run(root, PLANS[0])

        assert mine.exists()


@pytest.mark.slow
def test_a_thousand_epochs(lab):
    """Over a thousand epochs, open files and threads are as many as at the beginning, and generations no more than two."""
    with lab.folder() as root:
        ended = lab.run(root, LONG, meter=True)
    files, threads, generations, size = zip(*ended["measured"], strict=True)

    assert 1000 == len(files)
    assert 1 >= max(files) - min(files[10:])
    assert 1 == len(set(threads[10:]))
    assert GENERATIONS == max(generations)
    assert max(size) <= max(size[:20]) + 400_000  # the history grows by a row an epoch


def test_many_kills(lab):
    """However often a training is killed, its folders hold no more than three generations and one best file."""
    plan = replace(PLANS[0], saves="foreground")
    calls = len(lab.reference(plan)["kinds"])
    with lab.folder() as root:
        for at in range(1, calls, calls // 40):
            lab.run(root, plan, Watch("kill before", at))
            names = sorted(path.name for path in (root / "run" / "backup").glob("*") if path.name.isdecimal())

            assert len(names) <= GENERATIONS + 2  # one more to write, and one half deleted
            assert len(list((root / "saved").glob("*best*"))) <= 2
        assert difference(lab.reference(plan), lab.run(root, plan)) is None
