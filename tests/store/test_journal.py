"""The journal: appended by a thread of its own, readable while it is written and after whatever broke it off."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from multiprocessing import get_context

import pytest

from jalon.store import process
from jalon.store.journal import JOURNAL, JournalTail, JournalWriter, decoded, records, standing


def epoch(number, **logs):
    return {"kind": "epoch", "time": 1.0, "epoch": number, "logs": logs}


@pytest.fixture
def writer(tmp_path):
    """Return a writer of a new journal, closed at the end."""
    made = JournalWriter(tmp_path, anew=True, now=lambda: {"epoch": 3})
    yield made
    made.close()


def test_a_record_is_a_line(tmp_path, writer):
    """What was handed in is read back in order, numbers that JSON has not included, and each line is JSON of any reader."""
    written = [epoch(0, loss=0.5), epoch(1, loss=math.inf, accuracy=0.25), {"kind": "note", "text": "<b>\n\u2028"}]
    for record in written:
        writer.append(record)
    writer.write()

    assert written == list(records(tmp_path / JOURNAL))
    assert b'"loss":"Infinity"' in (tmp_path / JOURNAL).read_bytes().splitlines()[1]


def test_a_torn_tail(tmp_path):
    """Half a line, as a killed process leaves it, is no record, and what goes on begins a line of its own."""
    (tmp_path / JOURNAL).write_bytes(b'{"kind":"epoch","epoch":0,"logs":{"loss":1.0}}\n{"kind":"epoch","epo')
    before = list(records(tmp_path / JOURNAL))
    writer = JournalWriter(tmp_path, anew=False)
    writer.append(epoch(1, loss=0.5))
    writer.close()

    assert [0] == [record["epoch"] for record in before]
    assert [0, 1] == [record["epoch"] for record in records(tmp_path / JOURNAL)]


@pytest.mark.parametrize("line", [b"", b"[]", b'{"epoch":1}', b'{"kind":1}', b"\xff\xfe", b'{"kind":"epoch"', b"[" * 100_000])
def test_what_is_no_record(line):
    """Whatever else a line holds, it is passed over."""
    assert decoded(line) is None


def test_followed_while_it_grows(tmp_path, writer):
    """A reader gets each whole line once, and a half one when its end is there."""
    tail = JournalTail(writer.path)
    writer.append(epoch(0))
    writer.write()
    first = tail.lines()
    os.write(writer._descriptor, b'{"kind":')
    second = tail.lines()
    os.write(writer._descriptor, b'"note"}\n')

    assert (1, 0, 1) == (len(first), len(second), len(tail.lines()))
    assert [] == tail.lines()


def test_another_journal_in_its_place(tmp_path, writer):
    """A reader of a journal that a new run has replaced is told so, and reads the new one from its beginning."""
    tail = JournalTail(writer.path)
    writer.append(epoch(0, loss=1.0))
    writer.write()
    tail.lines()
    other = JournalWriter(tmp_path, anew=True)
    other.append({"kind": "begin", "time": 2.0, "a": "longer" * 100})
    other.close()
    lines = tail.lines()

    assert tail.begun_anew
    assert ["begin"] == [decoded(line)["kind"] for line in lines]


def test_read_piece_by_piece(tmp_path, writer):
    """A long journal is read in bounded pieces, of whole lines, and the reader knows how much is left."""
    for number in range(1000):
        writer.append(epoch(number, loss=0.5))
    writer.write()
    tail = JournalTail(writer.path)
    lines = tail.lines(most=1000)
    behind = tail.behind
    while more := tail.lines(most=1000):
        lines += more

    assert behind > 50_000
    assert list(range(1000)) == [decoded(line)["epoch"] for line in lines]


def test_bounded_while_the_disk_takes_nothing(tmp_path, writer, monkeypatch):
    """Where the disk takes nothing, what waits is bounded; once it takes something again, a record says what was lost."""
    with writer._lock:  # as long as a write hangs
        for number in range(30_000):
            writer.append(epoch(number))
        waiting = len(writer._waiting)
    writer.write()
    written = list(records(writer.path))

    assert 20_000 == waiting
    assert "10,000 records were lost: the disk took them too slowly." == written[-1]["text"]
    assert list(range(20_000)) == [record["epoch"] for record in written[:-1]]


def test_a_write_that_fails_is_tried_again(tmp_path, writer, monkeypatch):
    """A write that fails, or is half done, loses nothing."""
    real, faults = os.write, [lambda fd, data: real(fd, data[:9]), lambda fd, data: (_ for _ in ()).throw(OSError(28, "full"))]
    monkeypatch.setattr(os, "write", lambda fd, data: (faults.pop(0) if faults else real)(fd, data))
    writer.append(epoch(0, loss=1.0))
    with pytest.raises(OSError, match="full"):
        writer.write()
    writer.write()

    assert [epoch(0, loss=1.0)] == list(records(writer.path))


def test_a_forked_child_writes_nothing(tmp_path, writer):
    """A process that was forked, as one that loads data, neither writes nor waits for a thread that it has not."""
    child = get_context("fork").Process(target=lambda: (writer.append(epoch(9)), writer.write(), writer.close()))
    child.start()
    child.join(30)
    writer.append(epoch(0))
    writer.write()

    assert 0 == child.exitcode
    assert [0] == [record["epoch"] for record in records(writer.path)]


def test_where_it_stands(tmp_path):
    """Beside the journal stands where the run is at the moment, whole at any time; what cannot be read says nothing."""
    nothing = standing(tmp_path)
    JournalWriter(tmp_path, anew=True, now=lambda: {"epoch": 3}).close()
    said = standing(tmp_path)
    (tmp_path / "now.json").write_bytes(b"{")

    assert {} == nothing == standing(tmp_path)
    assert 3 == said["epoch"]
    assert said["written"] > 0


def test_a_process_is_told_from_every_other():
    """A process lives until it has ended, whoever gets its number afterwards; on another machine nobody can say."""
    child = subprocess.Popen(
        [sys.executable, "-c", "from jalon.store.process import identity; print(identity()); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    other = eval(child.stdout.readline())
    alive = process.is_alive(other)
    later = process.is_alive(other | {"started": other["started"] + 1})
    elsewhere = process.is_alive(other | {"host": "elsewhere"})
    child.kill()
    child.stdout.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    nobody_took_note = process.is_alive(other)
    child.wait()
    child.stdin.close()

    assert (True, False, None, False) == (alive, later, elsewhere, nobody_took_note)
    assert process.is_alive(other) is False
