"""Commands to a run: given as files, answered beside them."""

from __future__ import annotations

import json

import pytest

from jalon.errors import ArgumentError
from jalon.store.control import CONTROL, Answer, Command, Inbox, answer_to, checked, send


def test_given_and_answered(tmp_path):
    """A command waits until it is answered, and the answer is for the one who gave it."""
    inbox = Inbox(tmp_path)
    nothing = inbox.waiting()
    given = send(tmp_path, "set", {"name": "learning_rate", "value": 0.01}, time=1.5)
    waiting, early = inbox.waiting(), answer_to(tmp_path, given)
    inbox.answer(given, "done", "It is.", time=2.0)

    assert [] == nothing == inbox.waiting()
    assert [given] == waiting
    assert early is None
    assert Answer(given.id, "done", "It is.", "set", 2.0) == answer_to(tmp_path, given)


def test_in_the_order_in_which_they_were_given(tmp_path):
    """Commands wait in the order of their times."""
    for time, name in [(3.0, "resume"), (1.0, "pause"), (2.0, "save")]:
        send(tmp_path, name, {}, time=time)

    assert ["pause", "save", "resume"] == [command.name for command in Inbox(tmp_path).waiting()]


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("delete", {}, "There is no command 'delete'. Commands: pause, resume, stop, save, set, note."),
        ("stop", {}, r"stop: expected the arguments \['at'\]. Received: \[\]."),
        ("stop", {"at": "once"}, "stop: at must be 'batch' or 'epoch'. Received: at='once'."),
        ("set", {"name": "learning_rate", "value": "0.1"}, "set: expected the name of a number, and a number."),
        ("set", {"name": "learning_rate", "value": True}, "set: expected the name of a number, and a number."),
        ("note", {"text": " "}, "note: expected a text."),
        ("pause", {"for": 3}, r"pause: expected the arguments \[\]. Received: \['for'\]."),
    ],
)
def test_what_cannot_be_meant(tmp_path, name, arguments, told):
    """What cannot be meant is refused where it is given, and nothing is written."""
    with pytest.raises(ArgumentError, match=told):
        send(tmp_path, name, arguments, time=1.0)

    assert not (tmp_path / CONTROL).exists()
    with pytest.raises(ArgumentError):
        checked(name, arguments)


def test_files_that_are_no_commands(tmp_path):
    """What else lies in the folder is no command: a file under a command's name is removed, the rest is left alone."""
    folder = tmp_path / CONTROL
    folder.mkdir()
    bad = folder / f"{1:020d}-00000000.json"
    for path, text in [(bad, "{"), (folder / "mine.json", "{}"), (folder / ".x.tmp-1-1", "")]:
        path.write_text(text)

    assert [] == Inbox(tmp_path).waiting()
    assert ["mine.json", ".x.tmp-1-1"] == sorted((path.name for path in folder.iterdir()), reverse=True)


def test_too_much_text(tmp_path):
    """A note of more than 64 KiB is refused, and a file that long is not read."""
    with pytest.raises(ArgumentError, match="bytes are too many"):
        send(tmp_path, "note", {"text": "x" * 70_000}, time=1.0)
    folder = tmp_path / CONTROL
    folder.mkdir()
    note = {"name": "note", "arguments": {"text": "x" * 70_000}}
    (folder / f"{1:020d}-00000000.json").write_text(json.dumps(note))

    assert [] == Inbox(tmp_path).waiting()


def test_old_answers_go(tmp_path):
    """Of many answers the newest hundred are kept."""
    inbox = Inbox(tmp_path)
    (tmp_path / CONTROL).mkdir()
    for number in range(120):
        inbox.answer(Command(f"{number:020d}-00000000", "pause"), "done", "It is.", time=float(number))

    kept = sorted((tmp_path / CONTROL).iterdir())

    assert 100 == len(kept)
    assert f"{20:020d}-00000000.answer.json" == kept[0].name
