"""R5 on real disks: full, without inodes, with a limit to a file's size, and made immutable while training runs."""

import errno
import subprocess

import pytest
from faults import PLAN, explains
from harness import difference
from mounts import mounted

FOR_AN_EPOCH = {"interfere": {1: "fill", 2: "free"}}
"""What is done to the disk: full while the second epoch runs."""


def check(lab, failed, code):
    """Check that a training ended as it should although something could not be written, and said so."""
    reference = lab.reference(PLAN) | {"disk": {}}

    assert difference(reference, failed | {"disk": {}}, ignore=["bests"]) is None
    assert [] != failed["warnings"]
    assert [] == [text for text in failed["warnings"] if not explains(text, code)]
    assert [] == failed["disk"]["temporary"]


@pytest.mark.parametrize("options", [("size=4m",), ("size=64m", "nr_inodes=60")], ids=["bytes", "inodes"])
def test_full_disk(lab, tmp_path, options):
    """While the disk is full nothing is saved and training goes on; once there is room, so does saving."""
    with mounted(tmp_path, "tmpfs", "tmpfs", *options):
        check(lab, lab.run(tmp_path, PLAN, **FOR_AN_EPOCH), errno.ENOSPC)

        assert difference(lab.reference(PLAN), lab.run(tmp_path, PLAN), ignore=["bests", "best file"]) is None


def test_limit_to_file_size(lab):
    """Where files may not grow beyond a size, as under a quota of a shell, what is larger is not saved and training goes on."""
    with lab.folder() as root:
        lab.run(root, PLAN)
        size = max(path.stat().st_size for path in root.rglob("state.safetensors"))
    with lab.folder() as root:
        failed = lab.run(root, PLAN, file_size=size - 1)
        check(lab, failed, errno.EFBIG)

        assert difference(lab.reference(PLAN), lab.run(root, PLAN)) is None


def test_immutable(disk_lab):
    """Where folders are made immutable while training runs, nothing is saved and training goes on; then, so does saving."""
    with disk_lab.folder() as root:
        may = subprocess.run(["chattr", "+i", str(root)], capture_output=True, text=True)
        if may.returncode != 0:
            pytest.skip(f"no file can be made immutable here: {may.stderr.strip()}")
        subprocess.run(["chattr", "-i", str(root)], check=True)
        failed = disk_lab.run(root, PLAN, interfere={1: "immutable", 2: "mutable"})
        check(disk_lab, failed, errno.EPERM)

        assert difference(disk_lab.reference(PLAN), disk_lab.run(root, PLAN), ignore=["bests", "best file"]) is None


def test_temporary_folder_on_another_disk(disk_lab, lab):
    """Nothing goes through the folder for temporary files, which may be on another disk, from which nothing can be renamed."""
    with disk_lab.folder() as root, lab.folder() as elsewhere:
        ended = disk_lab.run(root, PLAN, temp_folder=str(elsewhere))

        assert difference(disk_lab.reference(PLAN), ended) is None
        assert [] == list(elsewhere.iterdir())
