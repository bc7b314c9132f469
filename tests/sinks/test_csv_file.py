"""CsvFile: a table that others can read while it grows."""

from __future__ import annotations

import csv
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


@pytest.fixture
def path(tmp_path):
    return tmp_path / "table.csv"


def write(path, *rows, **options):
    table = CsvFile(path, **options)
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
    table = CsvFile(path)
    sizes = []
    for number in range(3):
        table.write({"n": number})
        sizes.append(len(read(path)))
    table.close()

    assert [1, 2, 3] == sizes


def test_a_long_row_is_one_write(path, monkeypatch):
    """A row longer than any buffer reaches the file in one piece."""
    table = CsvFile(path)
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
    table = CsvFile(path)
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
    table = CsvFile(path)
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
    table = CsvFile(path)

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
    table = CsvFile(path)
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
    table = CsvFile(path)
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
    table = CsvFile(path)
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
