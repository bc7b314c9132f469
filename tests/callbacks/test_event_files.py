"""Event files that are cut back keep what counts, wherever that is broken off."""

from __future__ import annotations

import os
from itertools import count

import pytest

from jalon.callbacks import _event_files
from jalon.callbacks._event_files import cut_back
from jalon.sinks.tfevents import HEAD_BYTES, EventFileWriter, event_files, head
from jalon.testing import ManualClock


class Broken(BaseException):
    """Stands for a kill."""


def written(folder, steps, run="run"):
    """Write a file of records, each one byte string of the same length; return that of all of them."""
    writer = EventFileWriter(folder, run=run, clock=ManualClock(1_700_000_000))
    for step in steps:
        writer.scalar("loss", 1.0, step)
    writer.close()
    return writer.path.read_bytes()[HEAD_BYTES:]


def bodies(folder):
    return [path.read_bytes()[HEAD_BYTES:] for path in event_files(folder, "run")]


def test_records_move_to_a_later_file(tmp_path):
    """What counts is in one new file, with a head of its own; of the old one the head is left, under its name."""
    records = written(tmp_path, range(1, 9))
    (old,) = tmp_path.iterdir()

    path = cut_back(tmp_path, "run", len(records) // 2, now=1_700_000_000)

    assert [old, path] == sorted(tmp_path.iterdir())
    assert head(tmp_path, "run", 1_700_000_000) == old.read_bytes()
    assert records[: len(records) // 2] == path.read_bytes()[HEAD_BYTES:]


def test_nothing_to_cut(tmp_path):
    """A file that has what counts and no more is gone on with as it is."""
    records = written(tmp_path, range(1, 9))
    (old,) = tmp_path.iterdir()
    before = old.stat()

    assert old == cut_back(tmp_path, "run", len(records), now=1_700_000_000)
    assert [old] == list(tmp_path.iterdir())
    assert (before.st_ino, before.st_mtime_ns) == (old.stat().st_ino, old.stat().st_mtime_ns)


def test_no_files(tmp_path):
    """Where there is no file of the run there is none to go on with; those of others are left alone."""
    written(tmp_path, [1], run="other")
    before = list(tmp_path.iterdir())

    assert cut_back(tmp_path, "run", 0, now=0.0) is None
    assert cut_back(tmp_path / "no folder", "run", 0, now=0.0) is None
    assert before == list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [0, 10, 40, HEAD_BYTES - 1])
def test_no_whole_head(tmp_path, size):
    """A file that a kill has left without a whole head gets one, and is not the one to go on with."""
    written(tmp_path, [1])
    (old,) = tmp_path.iterdir()
    os.truncate(old, size)

    path = cut_back(tmp_path, "run", 0, now=1_700_000_000)

    assert path.name > old.name
    assert [HEAD_BYTES] * 2 == [file.stat().st_size for file in (old, path)]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_broken_off_anywhere(tmp_path, monkeypatch, moment):
    """Killed before or after each file that is put in place, again and again, all that counts is there for the next start."""
    records = written(tmp_path, range(1, 9))
    wanted = records[: len(records) // 2]
    put_in_place = _event_files.atomic.put_in_place

    for last in count(1):
        calls = count(1)

        def put(temp, target, *, calls=calls, last=last):
            due = next(calls) == last
            if due and moment == "before":
                raise Broken
            put_in_place(temp, target)
            if due:
                raise Broken

        monkeypatch.setattr(_event_files.atomic, "put_in_place", put)
        try:
            path = cut_back(tmp_path, "run", len(wanted), now=1_700_000_000)
        except Broken:
            assert any(body.startswith(wanted) for body in bodies(tmp_path)[-1:])
            with open(event_files(tmp_path, "run")[-1], "ab") as file:
                file.write(records[-20:])  # the next start got further, and was killed too
            continue
        break

    assert 4 == last
    assert path == event_files(tmp_path, "run")[-1]
    assert [b"", wanted] == sorted(set(bodies(tmp_path)))
    assert [] == [file.name for file in tmp_path.iterdir() if ".tmp-" in file.name]


def test_what_is_not_done_is_not_read(tmp_path, monkeypatch):
    """What is being written has no name that TensorBoard looks for, and a next start removes it."""
    records = written(tmp_path, range(1, 9))
    seen = []

    def put(temp, target):
        seen.append(temp)
        raise Broken

    monkeypatch.setattr(_event_files.atomic, "put_in_place", put)
    with pytest.raises(Broken):
        cut_back(tmp_path, "run", 0, now=1_700_000_000)
    monkeypatch.undo()
    (temp,) = seen
    there = temp.exists()
    cut_back(tmp_path, "run", len(records), now=1_700_000_000)

    assert "tfevents" not in temp.name
    assert (True, False) == (there, temp.exists())
