"""One writer per folder, and the next one as soon as that one is gone."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from jalon.errors import CheckpointError, FolderInUse
from jalon.store import lock as lock_module
from jalon.store.lock import FolderLock

fcntl = pytest.importorskip("fcntl", reason="Windows has no flock")

TRIES = """
import sys
from pathlib import Path
from jalon.errors import FolderInUse
from jalon.store.lock import FolderLock

try:
    FolderLock(Path(sys.argv[1]), who="another").acquire()
    print("acquired", flush=True)
    sys.stdin.read()
except FolderInUse as exc:
    print(exc.pid, flush=True)
"""


@contextmanager
def other_process(program, folder):
    """Start a program, and yield it with the first line that it says; it ends when its input does."""
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        yield child, child.stdout.readline().strip()


def what_another_process_hears(folder):
    """Return the number that another process is refused with, or that it acquired the folder."""
    with other_process(TRIES, folder) as (_, said):
        return said


@pytest.fixture
def lock(tmp_path):
    lock = FolderLock(tmp_path / "run", who="BackupAndRestore")
    yield lock
    lock.release()


def test_another_process_is_refused_with_the_number_of_the_first(lock):
    """The folder belongs to the first until it lets it go."""
    lock.acquire()
    refused = what_another_process_hears(lock.folder)
    lock.release()
    after = what_another_process_hears(lock.folder)

    assert (str(os.getpid()), "acquired") == (refused, after)


def test_this_process_is_refused_with_the_number_of_the_other(lock):
    """The message says which process trains there and what to do."""
    with other_process(TRIES, lock.folder) as (other, _), pytest.raises(FolderInUse) as caught:
        lock.acquire()

    assert other.pid == caught.value.pid
    assert (
        f"BackupAndRestore: process {other.pid} is training in {lock.folder}. "
        "Wait for its end, stop it, or choose another folder."
    ) == str(caught.value)


def test_two_writers_in_one_process(lock):
    """A second one is refused too; for the one who has the folder it changes nothing to ask again."""
    lock.acquire()
    lock.acquire()

    with pytest.raises(FolderInUse) as caught:
        FolderLock(lock.folder, who="BackupAndRestore").acquire()
    assert os.getpid() == caught.value.pid


def test_one_after_the_other_in_one_process(lock):
    """Releasing twice does no harm, and does not take the folder from the next one."""
    following = FolderLock(lock.folder, who="BackupAndRestore")
    lock.acquire()
    lock.release()
    following.acquire()
    lock.release()

    assert str(os.getpid()) == what_another_process_hears(lock.folder)
    following.release()


def test_a_kill_frees_the_folder(lock):
    """The next one need not clean up after a process that was killed."""
    with other_process(TRIES, lock.folder) as (other, said):
        other.kill()
        other.wait()
        lock.acquire()

    assert "acquired" == said
    assert str(os.getpid()) == lock.path.read_text()


TRAINS_WITH_WORKERS = """
import os, signal, sys
from pathlib import Path
from torch.utils.data import DataLoader, Dataset
from jalon.store.lock import FolderLock

class Rows(Dataset):
    def __len__(self):
        return 8
    def __getitem__(self, index):
        print(os.getpid(), file=sys.stderr, flush=True)
        while True:
            signal.pause()

FolderLock(Path(sys.argv[1]), who="another").acquire()
iterator = iter(DataLoader(Rows(), num_workers=2))
print(*(worker.pid for worker in iterator._workers), flush=True)
next(iterator)
"""


def test_a_kill_frees_the_folder_from_workers_that_live_on(lock):
    """The workers of a ``DataLoader`` have been forked from the one who has the folder, and do not have it."""
    with other_process(TRAINS_WITH_WORKERS, lock.folder) as (trains, said):
        workers = list(map(int, said.split()))
        with pytest.raises(FolderInUse) as caught:
            lock.acquire()
        trains.kill()
        trains.wait()
        try:
            lock.acquire()
        finally:
            for worker in workers:  # they were alive, or this fails
                os.kill(worker, signal.SIGKILL)

    assert (2, trains.pid) == (len(workers), caught.value.pid)


def test_reading_the_folder_does_not_free_it(lock, tmp_path):
    """A callback may copy the folder elsewhere, the lock's file included."""
    lock.acquire()
    shutil.copytree(lock.folder, tmp_path / "elsewhere")

    assert str(os.getpid()) == what_another_process_hears(lock.folder)


def ask_in_a_child(lock, told):
    lock.release()
    try:
        lock.acquire()
    except FolderInUse as exc:
        told.put(exc.pid)


def test_a_forked_child_does_not_have_the_folder(lock):
    """It can neither release what its parent has nor acquire it."""
    fork = multiprocessing.get_context("fork")
    told = fork.SimpleQueue()
    lock.acquire()
    child = fork.Process(target=ask_in_a_child, args=(lock, told))
    child.start()
    refused = told.get()
    child.join()

    assert os.getpid() == refused
    assert str(os.getpid()) == what_another_process_hears(lock.folder)


def test_a_folder_that_is_removed_in_between_is_locked_anew(lock, monkeypatch):
    """What was opened before another process removed the folder, and locked after that, protects nothing."""
    take, calls = lock_module._lock, []

    def remove_and_take(descriptor):
        if not calls:
            shutil.rmtree(lock.folder)
        calls.append(descriptor)
        return take(descriptor)

    monkeypatch.setattr(lock_module, "_lock", remove_and_take)
    lock.acquire()
    monkeypatch.undo()

    assert 2 == len(calls)
    assert str(os.getpid()) == what_another_process_hears(lock.folder)


def test_one_that_has_not_said_its_number_is_named_without(lock):
    """Between taking the lock and writing the number there is a moment."""
    lock.folder.mkdir()
    with open(lock.path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(FolderInUse, match="another process is training in") as caught:
            lock.acquire()

    assert caught.value.pid is None


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_where_there_are_no_locks_the_folder_is_not_protected(lock, monkeypatch, code):
    """Some network file systems have none; training there is possible all the same."""
    monkeypatch.setattr(fcntl, "flock", refusing(code))
    lock.acquire()

    assert str(os.getpid()) == lock.path.read_text()


def refusing(code, opened=None):
    """Return a system's call that fails; ``opened`` gets what it was called with."""

    def refuse(descriptor, operation):
        if opened is not None:
            opened.append(descriptor)
        raise OSError(code, os.strerror(code))

    return refuse


def test_what_else_goes_wrong_is_said(lock, monkeypatch):
    """An error of the disk is told with the path, and leaves nothing open."""
    opened = []
    monkeypatch.setattr(fcntl, "flock", refusing(errno.EIO, opened))

    with pytest.raises(CheckpointError, match=f"BackupAndRestore cannot write {lock.path}: Input/output error. Choose another"):
        lock.acquire()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(*opened)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    """The message names the file that cannot be written."""
    (tmp_path / "file").touch()
    lock = FolderLock(tmp_path / "file" / "run", who="BackupAndRestore")

    with pytest.raises(CheckpointError, match=f"BackupAndRestore cannot write {lock.path}: "):
        lock.acquire()
