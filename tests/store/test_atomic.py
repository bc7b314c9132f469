"""What a file under its final name can be relied on for."""

from __future__ import annotations

import errno
import os
import re
import resource
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jalon.errors import CheckpointError
from jalon.store.atomic import refuse_unwritable, replacing, write_bytes


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Let the system refuse to write more, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def read_only_folder() -> Iterator[Path]:
    """A folder in which this process may not write, also where the tests run as root."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o555)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    yield folder
    if is_root:
        os.seteuid(0)
    folder.chmod(0o755)
    folder.rmdir()


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_new_content_takes_the_place_of_old(tmp_path):
    """After the write the file holds the new bytes, and nothing else is left in the folder."""
    path = tmp_path / "model.pt"
    path.write_bytes(b"a longer old content")

    write_bytes(path, [b"new ", memoryview(b"content"), b""])

    assert b"new content" == path.read_bytes()
    assert ["model.pt"] == names_in(tmp_path)


def test_large_pieces_arrive_whole(tmp_path):
    """Pieces larger and smaller than the buffer are written in order."""
    pieces = [bytes([n]) * size for n, size in enumerate((10, 3_000_000, 1, 1_048_576, 77))]

    write_bytes(tmp_path / "big", pieces)

    assert b"".join(pieces) == (tmp_path / "big").read_bytes()


@pytest.mark.parametrize("fault", [RuntimeError("no"), KeyboardInterrupt(), OSError(errno.ENOSPC, "full")])
def test_a_fault_leaves_the_old_file(tmp_path, fault):
    """Whatever ends the block early, the old file is what it was and the temp file is gone."""
    path = tmp_path / "model.pt"
    path.write_bytes(b"old")

    def write_half() -> None:
        with replacing(path) as temp:
            temp.write_bytes(b"half of the n")
            raise fault

    with pytest.raises(type(fault)):
        write_half()

    assert b"old" == path.read_bytes()
    assert ["model.pt"] == names_in(tmp_path)


def test_a_full_disk_leaves_the_old_file(tmp_path):
    """Where the system refuses to take all of the bytes, its error comes out and the old file stays."""
    path = tmp_path / "model.pt"
    path.write_bytes(b"old")

    with pytest.raises(OSError, match="File too large"), file_size_limit(100_000):
        write_bytes(path, [b"x" * 2_000_000])

    assert b"old" == path.read_bytes()
    assert ["model.pt"] == names_in(tmp_path)


def test_the_temp_file_says_whose_it_is(tmp_path):
    """The temp file lies beside the target and is named after it and the process."""
    with replacing(tmp_path / "model.pt") as temp:
        temp.write_bytes(b"")
        found = names_in(tmp_path)

    assert [temp.name] == found
    assert re.fullmatch(rf"\.model\.pt\.tmp-{os.getpid()}-\d+", temp.name)


def test_permissions_follow_the_umask(tmp_path):
    """Others may read a file exactly if the umask lets them."""
    before = os.umask(0o027)
    try:
        write_bytes(tmp_path / "model.pt", [b"x"])
    finally:
        os.umask(before)

    assert 0o640 == stat.S_IMODE((tmp_path / "model.pt").stat().st_mode)


def test_missing_folders_are_made(tmp_path):
    """A file can be put into folders that are not there yet."""
    write_bytes(tmp_path / "a" / "b" / "model.pt", [b"x"])

    assert b"x" == (tmp_path / "a" / "b" / "model.pt").read_bytes()


def test_a_link_stays_a_link(tmp_path):
    """Where the path is a symbolic link, the file it points to gets the new content."""
    (tmp_path / "disk").mkdir()
    link = tmp_path / "model.pt"
    link.symlink_to(tmp_path / "disk" / "real.pt")

    write_bytes(link, [b"x"])

    assert link.is_symlink()
    assert b"x" == (tmp_path / "disk" / "real.pt").read_bytes()


def test_bytes_reach_the_disk_before_the_name_and_the_name_before_the_end(tmp_path, monkeypatch):
    """The file is synced, then renamed, then its folder is synced."""
    calls = []
    fsync, replace = os.fsync, os.replace

    def watched_fsync(descriptor):
        status = os.fstat(descriptor)
        calls.append("sync folder" if stat.S_ISDIR(status.st_mode) else f"sync {status.st_size} bytes")
        fsync(descriptor)

    def watched_replace(*args):
        calls.append("rename")
        replace(*args)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    write_bytes(tmp_path / "model.pt", [b"abc"])

    assert ["sync 3 bytes", "rename", "sync folder"] == calls


def test_a_new_folder_is_synced_into_the_one_above(tmp_path, monkeypatch):
    """A folder that had to be made is on the disk too when the file is."""
    synced = []
    fsync = os.fsync

    def watched_fsync(descriptor):
        synced.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    write_bytes(tmp_path / "a" / "b" / "model.pt", [b"abc"])

    assert {tmp_path.stat().st_ino, (tmp_path / "a").stat().st_ino, (tmp_path / "a" / "b").stat().st_ino} <= set(synced)


def test_writers_of_one_path_do_not_mix(tmp_path):
    """Two threads that write the same file leave the content of one of them, whole."""
    path = tmp_path / "model.pt"
    contents = [bytes([letter]) * 50_000 for letter in b"ab"]
    threads = [threading.Thread(target=lambda c=c: [write_bytes(path, [c]) for _ in range(10)]) for c in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert path.read_bytes() in contents
    assert ["model.pt"] == names_in(tmp_path)


def test_a_writable_path_is_not_touched(tmp_path):
    """Trying a path makes its folder and changes nothing else."""
    path = tmp_path / "new" / "model.pt"
    refuse_unwritable(path, "ModelCheckpoint")
    path.write_bytes(b"old")
    refuse_unwritable(path, "ModelCheckpoint")

    assert b"old" == path.read_bytes()
    assert ["model.pt"] == names_in(tmp_path / "new")


def test_a_folder_at_the_path_is_refused(tmp_path):
    """The message says that the path is a folder and what to give instead."""
    with pytest.raises(CheckpointError) as caught:
        refuse_unwritable(tmp_path, "ModelCheckpoint")

    assert f"ModelCheckpoint cannot write {tmp_path}: it is a folder; give the path of a file in it." == str(caught.value)


@pytest.mark.parametrize("below", ["model.pt", "deeper/model.pt"])
def test_a_file_in_place_of_a_folder_is_named(tmp_path, below):
    """The message names the file that is in the way, however far above."""
    (tmp_path / "runs").write_bytes(b"")

    with pytest.raises(CheckpointError, match=f"{tmp_path / 'runs'} is a file where a folder should be"):
        refuse_unwritable(tmp_path / "runs" / below, "ModelCheckpoint")


@pytest.mark.parametrize("below", ["model.pt", "new/model.pt"])
def test_a_folder_without_permission_is_refused(read_only_folder, below):
    """Where nothing may be written, it is said so with the remedy."""
    with pytest.raises(CheckpointError, match="Permission denied; choose another folder or change its permissions"):
        refuse_unwritable(read_only_folder / below, "CSVLogger")
