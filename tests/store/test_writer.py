"""What is submitted is written in order by another thread, and what went wrong comes back."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import wait

import pytest

from jalon.store.writer import WRITER, BackgroundWriter


@pytest.fixture
def writer():
    return BackgroundWriter()


def test_in_the_order_of_submission(writer):
    """One write is done after another, in a thread of its own, however long the first one takes."""
    goes_on, done = threading.Event(), []
    outcomes = [
        writer.submit(lambda: (goes_on.wait(), done.append((1, threading.current_thread().name)))),
        writer.submit(lambda: done.append((2, threading.current_thread().name))),
    ]
    assert outcomes == writer.pending()
    goes_on.set()
    wait(outcomes)

    assert [(1, "jalon-writer_0"), (2, "jalon-writer_0")] == done
    assert [] == writer.pending()


def test_what_went_wrong_comes_back(writer):
    """A write that failed raises for whoever asks for its outcome, and the next one is done all the same."""

    def fails():
        raise OSError("disk full")

    failed, after = writer.submit(fails), writer.submit(lambda: None)

    assert after.result() is None
    with pytest.raises(OSError, match="disk full"):
        failed.result()


def test_no_thread_before_the_first_write(writer):
    """What never writes has no thread."""
    before = set(threading.enumerate())
    assert [] == writer.pending()
    assert before == set(threading.enumerate())

    writer.submit(lambda: None).result()
    assert 1 == len(set(threading.enumerate()) - before)


def test_a_write_that_waits_can_be_taken_back(writer):
    """A write that has not begun can be cancelled; it is then neither done nor pending."""
    goes_on, done = threading.Event(), []
    first, second = writer.submit(goes_on.wait), writer.submit(lambda: done.append(2))
    third = writer.submit(lambda: done.append(3))

    assert second.cancel()
    assert [first, third] == writer.pending()
    goes_on.set()
    wait([third])
    assert [3] == done


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows does not fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_a_forked_process_has_a_writer_of_its_own(writer):
    """A child that was forked while something was being written has nothing pending, and writes by a thread of its own."""
    goes_on = threading.Event()
    outcome = writer.submit(goes_on.wait)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        told = f"{len(writer.pending())} {writer.submit(lambda: None).exception(timeout=60)}"
        os.write(writing, told.encode())
        os._exit(0)
    os.close(writing)
    with open(reading) as file:
        assert "0 None" == file.read()
    os.waitpid(child, 0)
    goes_on.set()

    assert outcome.result()


def test_everything_is_written_before_the_process_ends(tmp_path):
    """A program that ends right after its last save has saved."""
    program = (
        "import sys, time, pathlib; from jalon.store.writer import WRITER\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "for number in range(20): WRITER.submit(lambda number=number: (path / str(number)).write_text('x' * 100_000))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False)

    assert (0, "") == (done.returncode, done.stderr)
    assert {100_000} == {(tmp_path / str(number)).stat().st_size for number in range(20)}


def test_there_is_one_of_this_process():
    """All that save share one writer, so that what one counts on is written before."""
    assert isinstance(WRITER, BackgroundWriter)
    assert WRITER.submit(lambda: None).result() is None
