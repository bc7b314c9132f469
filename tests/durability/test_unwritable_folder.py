"""R6: a folder in which nothing can be written is refused before the first batch, with the path, the reason and what to do."""

import errno
import os
import re

import pytest
from bystanders import fill
from faults import PLAN, REFUSALS, REMEDIES
from harness import difference
from mounts import mounted, read_only

FOLDERS = ("saved", "run/backup", "logs/train", "logs/validation")
NOBODY = 65534


def refusal(lab, root, folder, **how):
    """Train, and return why it was refused: before the first batch, by an error that names the folder and the remedy."""
    ended = lab.run(root, PLAN, **how)

    assert not ended["begun"]
    assert (ended["fault"] or "").startswith(REFUSALS)
    assert re.search(folder.split("/")[0], ended["fault"])
    assert REMEDIES.search(ended["fault"])
    return ended["fault"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_read_only(lab, folder):
    """A folder on a read-only disk is refused."""
    with lab.folder() as root:
        (root / folder).mkdir(parents=True)
        with read_only(root / folder):
            assert os.strerror(errno.EROFS) in refusal(lab, root, folder)


@pytest.mark.parametrize("folder", FOLDERS)
def test_file_in_the_way(lab, folder):
    """A file where the folder should be is refused, and it is not touched."""
    with lab.folder() as root:
        (root / folder).parent.mkdir(exist_ok=True)
        (root / folder).write_text("mine")

        assert refusal(lab, root, folder)
        assert "mine" == (root / folder).read_text()


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_permission(lab, folder):
    """A folder of somebody else's is refused."""
    if os.geteuid() != 0:
        pytest.skip("to train as somebody else needs root")
    with lab.folder() as root:
        lab.place.chmod(0o755)
        for path in (root, root / "saved", root / "run", root / "logs"):
            path.mkdir(exist_ok=True)
            os.chown(path, NOBODY, NOBODY)
        (root / folder).mkdir(exist_ok=True, mode=0o755)
        os.chown(root / folder, 0, 0)

        assert os.strerror(errno.EACCES) in refusal(lab, root, folder, user=NOBODY)


@pytest.mark.parametrize("folder", ["saved", "run/backup"])
def test_full(lab, folder):
    """A folder on a full disk is refused."""
    with lab.folder() as root:
        (root / folder).mkdir(parents=True)
        with mounted(root / folder, "tmpfs", "tmpfs", "size=1m", "nr_inodes=20"):
            fill(root / folder)

            assert os.strerror(errno.ENOSPC) in refusal(lab, root, folder)


def test_missing(lab):
    """Folders that are missing are made."""
    with lab.folder() as root:
        assert difference(lab.reference(PLAN), lab.run(root, PLAN)) is None
