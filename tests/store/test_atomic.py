"""What a file under its final name can be relied on for."""

from __future__ import annotations

import errno
import os
import re
import resource
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from jalon.errors import CheckpointError
from jalon.store import atomic
from jalon.store.atomic import Late, refuse_unwritable, remove_leftovers, replacing, temp_beside, write_bytes


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
    """Pieces larger and smaller than the buffer, and than what goes to the system at once, are written in order."""
    pieces = [bytes([n]) * size for n, size in enumerate((10, 3_000_000, 1, 1_048_576, 77, 40_000_000, 5))]

    write_bytes(tmp_path / "big", pieces)

    assert b"".join(pieces) == (tmp_path / "big").read_bytes()


def test_a_late_piece_is_asked_for_last(tmp_path):
    """What is known only when the rest is written stands where it belongs."""
    told = []

    def pieces():
        yield b"head "
        yield Late(4, lambda: bytes(told))
        for number in (1, 2, 3, 4):
            told.append(number)
            yield bytes([number]) * 9_000_000
        yield Late(1, lambda: b"!")

    write_bytes(tmp_path / "model.pt", pieces())
    written = (tmp_path / "model.pt").read_bytes()

    assert 36_000_010 == len(written)
    assert b"head \x01\x02\x03\x04\x01\x01" == written[:11]
    assert b"\x04\x04!" == written[-3:]


def test_a_late_piece_that_does_not_come_leaves_the_old_file(tmp_path):
    """Where the last piece cannot be had, the file is not replaced."""
    path = tmp_path / "model.pt"
    path.write_bytes(b"old")

    with pytest.raises(ZeroDivisionError):
        write_bytes(path, [b"new", Late(4, lambda: bytes(1 // 0)), b"rest"])

    assert b"old" == path.read_bytes()
    assert ["model.pt"] == names_in(tmp_path)


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


@pytest.mark.skipif(not hasattr(os, "O_PATH"), reason="the old file is freed in the rename")
@pytest.mark.parametrize("threads", [True, False])
def test_a_large_old_file_is_freed(tmp_path, monkeypatch, threads):
    """What another thread frees of an old file is gone in the end, also where no other thread is to be had."""
    path = tmp_path / "model.pt"
    if not threads:
        monkeypatch.setattr(threading.Thread, "start", lambda _: raise_(RuntimeError("can't start new thread")))
    for _ in range(3):
        write_bytes(path, [bytes(20_000_000)])
    for thread in threading.enumerate():
        if thread.name == "jalon-free":
            thread.join()

    held = [str(one.readlink()) for one in Path("/proc/self/fd").iterdir() if os.path.lexists(one)]
    assert not [target for target in held if target.startswith(str(tmp_path))]


def raise_(exc: BaseException) -> NoReturn:
    raise exc


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


@pytest.mark.parametrize("full", [True, False])
def test_the_drive_is_asked_to_write_down_its_memory(tmp_path, monkeypatch, full):
    """On macOS a sync is the one that the drive has to obey, where the file system has it."""
    calls = []
    fsync = os.fsync

    def watched_fcntl(descriptor, command):
        calls.append(f"{command} {os.fstat(descriptor).st_size}")
        if not full:
            raise OSError(errno.ENOTSUP, "not here")

    monkeypatch.setattr(atomic, "F_FULLFSYNC", 51)
    monkeypatch.setattr(atomic, "fcntl", watched_fcntl, raising=False)
    monkeypatch.setattr(os, "fsync", lambda descriptor: [calls.append("fsync"), fsync(descriptor)])
    write_bytes(tmp_path / "model.pt", [b"abc"])

    assert "51 3" == calls[0]
    assert full == ("fsync" not in calls)


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


@pytest.mark.parametrize(
    ("number", "remedy"),
    [(errno.ENOSPC, "No space left on device; free space there"), (errno.EDQUOT, "Disk quota exceeded; free some of your quota")],
)
def test_a_full_disk_is_noticed_by_trying(tmp_path, monkeypatch, number, remedy):
    """Where a block cannot be brought to the disk, the path is refused with the remedy, and nothing is left."""

    def full(descriptor):
        assert 4096 == os.fstat(descriptor).st_size
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match=remedy):
        refuse_unwritable(tmp_path / "model.pt", "ModelCheckpoint")

    assert [] == names_in(tmp_path)


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system that has room for names and for nothing else."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root mounts a file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a file system")
    (folder / "data").write_bytes(bytes(65536))
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_disk_that_is_full_is_refused(full_disk):
    """On a full disk a name can still be had; the block that has to go with it cannot."""
    with pytest.raises(CheckpointError, match="No space left on device; free space there or choose another disk"):
        refuse_unwritable(full_disk / "model.pt", "ModelCheckpoint")

    assert ["data"] == names_in(full_disk)


@pytest.fixture
def dead() -> int:
    """The number of a process that lives no more."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def leave(folder: Path, *names: str) -> list[str]:
    for name in names:
        (folder / name).write_bytes(b"half")
    return sorted(names)


def test_what_a_dead_process_left_is_removed(tmp_path, dead):
    """Unfinished files of the path, whatever their ending, go; finished ones and those of other paths stay."""
    leave(tmp_path, f".model.pt.tmp-{dead}-0", f".model.pt.tmp-{dead}-12", f".model.pt.tmp-{dead}-3.keras")
    stay = leave(
        tmp_path, "model.pt", f".other.pt.tmp-{dead}-0", f"model.pt.tmp-{dead}-0", f".model.pt.tmp-{dead}", ".model.pt.tmp-x-0"
    )

    remove_leftovers(tmp_path / "model.pt")

    assert stay == names_in(tmp_path)


def test_what_is_left_of_any_file_of_a_template_is_removed(tmp_path, dead):
    """Where names come from a template, what was left under any name with its suffix goes."""
    leave(tmp_path, f".m-01.pt.tmp-{dead}-0", f".m-17.pt.tmp-{dead}-1")
    stay = leave(tmp_path, f".m-01.h5.tmp-{dead}-0", "m-01.pt")

    remove_leftovers(tmp_path / "m-{epoch:02d}.pt", same_suffix=True)

    assert stay == names_in(tmp_path)


def test_what_a_living_process_writes_stays(tmp_path):
    """Nobody's file is taken from under his hands: another process's, and this one's own."""
    stay = leave(tmp_path, f".model.pt.tmp-{os.getppid()}-0", temp_beside(tmp_path / "model.pt").name)

    remove_leftovers(tmp_path / "model.pt")

    assert stay == names_in(tmp_path)


def test_what_an_earlier_process_of_the_same_number_left_is_removed(tmp_path):
    """In a container the next process has the number of the one that was killed; its files are told apart."""
    own = int(temp_beside(tmp_path / "model.pt").name.rpartition("-")[2])
    leave(tmp_path, f".model.pt.tmp-{os.getpid()}-{own + 1000}")

    remove_leftovers(tmp_path / "model.pt")

    assert [] == names_in(tmp_path)


def test_leftovers_are_looked_for_where_a_link_points(tmp_path, dead):
    """The unfinished file lies beside the file that the link is of."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "model.pt").symlink_to(tmp_path / "disk" / "real.pt")
    leave(tmp_path / "disk", f".real.pt.tmp-{dead}-0")

    remove_leftovers(tmp_path / "model.pt")

    assert [] == names_in(tmp_path / "disk")


def test_where_there_is_nothing_nothing_is_removed(tmp_path, dead):
    """A missing folder, and a folder where an unfinished file would be, are no errors."""
    (tmp_path / f".model.pt.tmp-{dead}-0").mkdir()
    remove_leftovers(tmp_path / "missing" / "model.pt")
    remove_leftovers(tmp_path / "model.pt")

    assert [f".model.pt.tmp-{dead}-0"] == names_in(tmp_path)
