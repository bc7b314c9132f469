"""CsvFile: a table that others can read while it grows."""

from __future__ import annotations

import csv
import json
import os
import resource
import signal
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jalon.errors import ArgumentError
from jalon.sinks.csv_file import CsvFile

names = st.sampled_from("abcde")
texts = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=5)


def opened(path, **options):
    """Return a table whose file is there."""
    table = CsvFile(path, **options)
    table.open()
    return table


@pytest.fixture
def path(tmp_path):
    return tmp_path / "table.csv"


def write(path, *rows, **options):
    table = opened(path, **options)
    for row in rows:
        table.write(row)
    table.close()
    return path.read_bytes()


def read(path, delimiter=","):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


@given(rows=st.lists(st.dictionaries(names, texts, min_size=1), max_size=8), separator=st.sampled_from(",;\t|"))
def test_whatever_is_written_is_read_back(tmp_path_factory, rows, separator):
    """Every row comes back, whatever its text and whichever columns appear when; what is absent is NA."""
    path = tmp_path_factory.mktemp("csv") / "table.csv"

    write(path, *rows, separator=separator)

    columns = list(dict.fromkeys(name for row in rows for name in row))
    assert [{name: row.get(name, "NA") for name in columns} for row in rows] == read(path, separator)


def test_the_text_is_excel_s(path):
    """Lines end with CRLF, floats have all their digits, what would confuse is in quotes."""
    assert b'a,b,c\r\n0.1,1,"x, ""y"""\r\n' == write(path, {"a": 0.1, "b": 1, "c": 'x, "y"'})


def test_a_row_is_there_at_once(path):
    """A row can be read, whole, as soon as it is written."""
    table = opened(path)
    sizes = []
    for number in range(3):
        table.write({"n": number})
        sizes.append(len(read(path)))
    table.close()

    assert [1, 2, 3] == sizes


def test_a_long_row_is_one_write(path, monkeypatch):
    """A row longer than any buffer reaches the file in one piece."""
    table = opened(path)
    table.write({"n": "x"})
    before = path.stat().st_size
    seen = []
    original = table._file

    class Watched:
        def write(self, data):
            written = original.write(data)
            seen.append(path.stat().st_size - before)
            return written

        def __getattr__(self, name):
            return getattr(original, name)

    monkeypatch.setattr(table, "_file", Watched())
    table.write({"n": "y" * 100_000})
    table.close()

    assert [100_002] == seen


def test_new_columns_come_at_the_right_end(path):
    """Columns that appear later stand right of the others, NA in the older rows."""
    assert b"a\r\n1\r\n" == write(path, {"a": 1})
    assert b"b,a,c,d\r\n1,2,NA,NA\r\nNA,3,4,5\r\n6,NA,NA,NA\r\n" == write(
        path, {"b": 1, "a": 2}, {"c": 4, "a": 3, "d": 5}, {"b": 6}
    )


def test_who_reads_the_old_table_sees_it_whole(path):
    """A file that was opened before columns came keeps its rows; nothing else is left in the folder."""
    table = opened(path)
    table.write({"a": 1})
    with open(path, newline="") as reader:
        table.write({"a": 2, "b": 3})
        assert "a\r\n1\r\n" == reader.read()
    table.write({"a": 4, "b": 5})
    table.close()

    assert [{"a": "1", "b": "NA"}, {"a": "2", "b": "3"}, {"a": "4", "b": "5"}] == read(path)
    assert ["table.csv"] == [file.name for file in path.parent.iterdir()]


def test_a_wider_table_is_on_the_disk_before_it_takes_the_name(path, monkeypatch):
    """What replaces the table is synchronised in full first, so that a power cut leaves the old one or the new."""
    synchronised = []
    monkeypatch.setattr("os.fsync", lambda fd: synchronised.append((os.fstat(fd).st_size, path.read_bytes())))

    write(path, {"a": 1}, {"b": 2})

    assert [(len(b"a,b\r\n1,NA\r\n"), b"a\r\n1\r\n")] == synchronised


def test_permissions_stay(path):
    """New columns don't change who may read the file."""
    table = opened(path)
    path.chmod(0o640)
    table.write({"a": 1})
    table.write({"b": 1})
    table.close()

    assert 0o640 == stat.S_IMODE(path.stat().st_mode)


def test_a_link_stays_a_link(path, tmp_path):
    """A link to the table still leads to it when columns came."""
    link = tmp_path / "link.csv"
    link.symlink_to(path)
    write(link, {"a": 1}, {"b": 2})

    assert link.is_symlink()
    assert [{"a": "1", "b": "NA"}, {"a": "NA", "b": "2"}] == read(path)


def test_it_starts_anew_by_default(path):
    """What the file held is gone, as soon as it is opened."""
    write(path, {"a": 1}, {"a": 2})
    table = opened(path)

    assert b"" == path.read_bytes()
    table.close()


def test_append_goes_on(path):
    """With append, rows go below those there, under the columns there, and the header stands once."""
    write(path, {"a": 1, "b": 2})

    assert b"a,b\r\n1,2\r\n4,3\r\n" == write(path, {"b": 3, "a": 4}, append=True)


def test_append_takes_other_columns_in(path):
    """With append, columns that the file lacks are added to it, and those it has are filled."""
    write(path, {"a": 1, "b": 2})

    assert b"a,b,c\r\n1,2,NA\r\nNA,3,4\r\n" == write(path, {"b": 3, "c": 4}, append=True)


@pytest.mark.parametrize("there", [None, b"", b"a,", b"a,b"])
def test_append_to_nothing_begins(path, there):
    """With append, a file that is not there, is empty, or has no whole first line is begun."""
    if there is not None:
        path.write_bytes(there)

    assert b"x\r\n1\r\n" == write(path, {"x": 1}, append=True)


def test_a_torn_row_is_dropped(path):
    """With append, a last row without its line's end is dropped: nobody knows what it would have been."""
    path.write_bytes(b"a,b\r\n1,2\r\n3,4")

    assert b"a,b\r\n1,2\r\n5,6\r\n" == write(path, {"a": 5, "b": 6}, append=True)


@pytest.mark.parametrize("header", [b"a,b\n", b"\xef\xbb\xbfa,b\r\n"])
def test_tables_of_others_are_gone_on_with(path, header):
    """With append, a table with plain line ends, or saved by a spreadsheet with its mark at the start, is understood."""
    path.write_bytes(header + b"1,2\n")

    write(path, {"a": 3, "b": 4, "c": 5}, append=True)

    assert [{"a": "1", "b": "2", "c": "NA"}, {"a": "3", "b": "4", "c": "5"}] == read(path)


def test_folders_are_made(tmp_path):
    """Missing folders are made."""
    assert b"a\r\n1\r\n" == write(tmp_path / "new" / "newer" / "table.csv", {"a": 1})


def test_closing_twice_is_allowed(path):
    """A closed table may be closed again."""
    table = opened(path)
    table.close()
    table.close()

    assert b"" == path.read_bytes()


@pytest.fixture
def limit():
    """Return a function that lets no file of this process grow over a size, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size=before[0]: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_loses_no_row(path, limit):
    """A row that could not be written leaves no half of itself behind, and comes when there is room again."""
    table = opened(path)
    table.write({"n": 1})
    limit(path.stat().st_size + 5)
    with pytest.raises(OSError, match="only 5 of 12 bytes could be written"):
        table.write({"n": "a long row"})
    assert b"n\r\n1\r\n" == path.read_bytes()
    limit()
    table.write({"n": 3})
    table.close()

    assert b"n\r\n1\r\na long row\r\n3\r\n" == path.read_bytes()


def test_a_full_disk_keeps_the_table_when_columns_come(path, limit):
    """Where there is no room for the wider table, the old one stays, nothing else does, and the row comes later."""
    table = opened(path)
    table.write({"n": "x" * 50})
    limit(path.stat().st_size + 1)
    with pytest.raises(OSError, match="File too large"):
        table.write({"n": 2, "m": "a long value"})
    assert [{"n": "x" * 50}] == read(path)
    assert ["table.csv"] == [file.name for file in path.parent.iterdir()]
    limit()
    table.close()

    assert [{"n": "x" * 50, "m": "NA"}, {"n": "2", "m": "a long value"}] == read(path)


@pytest.mark.parametrize("separator", ["", ",,", "\n", "\r", '"', None, 7])
def test_a_wrong_separator_is_refused(path, separator):
    """A separator is one character that can separate; anything else is refused before the file is touched."""
    with pytest.raises(ArgumentError, match=r"^CsvFile: separator must be a single character, as ',' or ';'. Received: sep"):
        CsvFile(path, separator=separator)

    assert not path.exists()


# ---- going on where a table was at some moment -----------------------------------------------------------------------------

rows = st.lists(st.dictionaries(names, texts, min_size=1), max_size=6)


def go_on(path, position, *later):
    """What a resumed run does: open the table with what came after the position, cut it back, write."""
    table = opened(path, append=True)
    assert table.cut_back(json.loads(json.dumps(position)))
    for row in later:
        table.write(row)
    table.close()
    return path.read_bytes()


@given(before=rows, lost=rows, later=rows, torn=st.binary(max_size=8))
def test_cut_back_is_exact(tmp_path_factory, before, lost, later, torn):
    """Rows and columns that came after a position are gone, a torn one too; the table goes on as if they had never been."""
    folder = tmp_path_factory.mktemp("csv")
    table = opened(folder / "cut.csv")
    for row in before:
        table.write(row)
    position, there = table.position(), table.path.read_bytes()
    for row in lost:
        table.write(row)
    table.close()
    with open(table.path, "ab") as file:
        file.write(torn.replace(b"\n", b"").replace(b'"', b""))

    assert there == go_on(table.path, position)
    assert write(folder / "whole.csv", *before, *later) == go_on(table.path, position, *later)


def test_cut_back_without_new_columns_rewrites_nothing(path):
    """Where the columns are the same, the file is shortened and not written again, however long it is."""
    table = opened(path)
    table.write({"a": 1})
    position, before = table.position(), path.stat()
    table.write({"a": 2})
    table.close()
    go_on(path, position)

    assert (before.st_ino, before.st_size) == (path.stat().st_ino, path.stat().st_size)


def test_a_position_is_as_large_for_many_rows(path):
    """A position does not grow with the table."""
    table = opened(path)
    table.write({"a": 1})
    first = table.position()
    for number in range(1000):
        table.write({"a": number})
    table.close()

    assert len(first) == len(table.position())
    assert {"columns": ["a"], "rows": 1001, "bytes": path.stat().st_size, "waiting": []} == table.position()


def test_rows_that_were_appended_to_are_counted(path):
    """What a table held before counts, so that it is there after new columns came and went."""
    write(path, {"a": 'two\nlines, "quoted"'}, {"a": 2})
    there = path.read_bytes()
    table = opened(path, append=True)
    position = table.position()
    table.write({"a": 3, "b": 4})
    table.close()

    assert there == go_on(path, position)


def test_rows_of_others_stay_when_columns_come(path):
    """A row that somebody else added to the file is still there when columns come."""
    table = opened(path)
    table.write({"a": 1})
    with open(path, "ab") as file:
        file.write(b"2\r\n")
    table.write({"a": 3, "b": 4})
    table.close()

    assert ["1", "2", "3"] == [row["a"] for row in read(path)]


def test_a_table_too_strange_to_count_is_gone_on_with(path):
    """Text in another encoding, or longer than the csv module reads, keeps no row from being added."""
    strange = b"a,b\r\n" + "é".encode("latin-1") + b",1\r\n" + b"x" * 200_000 + b",2\r\n"
    path.write_bytes(strange)

    assert strange + b"3,4\r\n" == write(path, {"a": 3, "b": 4}, append=True)


def test_waiting_rows_go_into_the_position(path, limit):
    """Rows that a full disk refuses are neither lost nor there twice, whether they were written after the position or not."""
    table = opened(path)
    table.write({"n": 1})
    limit(path.stat().st_size)
    with pytest.raises(OSError, match="File too large"):
        table.write({"n": 0.1, "m": 2})
    position = table.position()
    limit()
    table.close()

    assert [{"n": "0.1", "m": "2"}] == position["waiting"]
    assert b"n,m\r\n1,NA\r\n0.1,2\r\n3,NA\r\n" == go_on(path, position, {"n": 3})


def test_what_a_killed_process_left_is_removed(path, tmp_path):
    """A half-written wider table of a process that was killed is removed; files of others are not."""
    (tmp_path / ".table.csv.4711.tmp").write_bytes(b"a,b\r\n1")
    for kept in (".table.csv.tmp", ".other.csv.4711.tmp"):
        (tmp_path / kept).write_bytes(b"")
    write(path, {"a": 1})

    assert {"table.csv", ".table.csv.tmp", ".other.csv.4711.tmp"} == {file.name for file in tmp_path.iterdir()}


@pytest.mark.parametrize("there", [None, b"", b"a,b\r\n1,2\r\n", b"c\r\n1\r\n2\r\n3\r\n"])
def test_rows_that_are_gone(path, there):
    """A file that has fewer rows than it should, or holds another table, is left as it is, and gone on with."""
    table = opened(path)
    for number in range(3):
        table.write({"a": number, "b": 0})
    position = table.position()
    table.close()
    path.unlink() if there is None else path.write_bytes(there)
    table = opened(path, append=True)

    assert not table.cut_back(position)
    assert (there or b"") == path.read_bytes()
    table.write({"a": 9})
    table.close()
    assert "9" == read(path)[-1]["a"]


def test_a_table_that_a_spreadsheet_saved_again(path):
    """A table with its rows in place but of another length, as with other line ends, is cut back by rows."""
    table = opened(path)
    table.write({"a": 1, "b": 2})
    position = table.position()
    table.write({"a": 3, "b": 4})
    table.close()
    path.write_bytes(path.read_bytes().replace(b"\r\n", b"\n"))

    assert b"a,b\r\n1,2\r\n5,6\r\n" == go_on(path, position, {"a": 5, "b": 6})


def test_no_room_to_narrow(path, limit):
    """Where there is no room for the narrower table, that is an error, and the wider one stays."""
    table = opened(path)
    table.write({"n": "x" * 50})
    position = table.position()
    table.write({"m": 1})
    table.close()
    there = path.read_bytes()
    table = opened(path, append=True)
    limit(10)
    with pytest.raises(OSError, match="File too large"):
        table.cut_back(position)
    limit()
    table.close()

    assert there == path.read_bytes()
    assert ["table.csv"] == [file.name for file in path.parent.iterdir()]
