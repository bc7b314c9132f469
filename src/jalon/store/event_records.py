"""TensorBoard's event files, read as a stream of points, without TensorFlow and without protobuf.

A file is a row of records: the length of the data (u64, little-endian), the masked CRC-32C of these eight bytes, the data, and
the masked CRC-32C of the data. The data is an ``Event``: its time, its step, and a summary of values, each with its tag. A scalar
is there as a ``simple_value``, as PyTorch and jalon write it, or as a tensor without dimensions, as TensorFlow does.

A writer gives every point of a curve the same bytes but for its time, its step and its value. So a record's message is taken
apart once for each curve, and from then on only these three are looked at.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from io import FileIO
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from crc32c import crc32c

MARK = "tfevents"
"""What stands in the name of every event file."""
CHUNK_BYTES = 1 << 20
"""How much is read at once."""
LARGEST_BYTES = 64 << 20
"""Up to what size a record is held in memory; of a larger one only the checksum is looked at."""

_PASSED_OVER = ".profile-empty"
_FRAME_BYTES = 16
_MOST_KEPT = 4096
_TIME = 0x09
_STEP = b"\x10"
_START = 1
_FIXED_SIZES = {1: 8, 5: 4}
_FLOAT, _BFLOAT16 = 1, 14
_CONTENT, _HALVES = 4, 13
_TYPES = {1: "<f", 2: "<d", 3: "<i", 4: "<B", 5: "<h", 6: "<b", 9: "<q", 10: "<?", 17: "<H", 19: "<e", 22: "<I", 23: "<Q"}
"""How the content of a tensor of each type is packed."""
_LISTS = {5: "<f", 6: "<d", 7: None, 10: None, 11: None, 16: None, 17: None}
"""The fields in which a tensor may list its values, and how these are packed; ``None`` for whole numbers of varying size."""
_double = struct.Struct("<d").unpack_from
_u32 = struct.Struct("<I").unpack_from
_float = struct.Struct("<f").unpack_from


class TornRecord(Exception):
    """Says that a file ends within a record."""


class DamagedRecord(Exception):
    """Says that a record does not have its checksum."""


class Point(NamedTuple):
    """Is a value on a curve.

    Args:
        tag: The curve's name.
        step: Its place on the curve.
        wall_time: When it was written, in seconds since 1970.
        value: The value.
    """

    tag: str
    step: int
    wall_time: float
    value: float


_point = Point._make


class Restart(NamedTuple):
    """Says that a run began again: earlier points from a step on no longer count.

    Args:
        step: From which step on.
        wall_time: When it was written, in seconds since 1970.
        of_file: Whether that concerns the points of this file alone, which was cut back. Otherwise those of its whole folder.
    """

    step: int
    wall_time: float
    of_file: bool = False


class EventFile:
    """Reads an event file, and what is added to it later.

    Memory is bounded by one chunk and one record.

    Args:
        path: The file, which need not be there yet.

    Attributes:
        place: How many bytes of it were read: always whole records.

    Example:
        >>> import tempfile
        >>> from jalon.sinks.tfevents import EventFileWriter
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     writer = EventFileWriter(Path(folder))
        ...     writer.scalar("loss", 0.5, step=1)
        ...     writer.flush()
        ...     file = EventFile(writer.path)
        ...     print([(point.tag, point.step, point.value) for point in file.points()])
        ...     writer.scalar("loss", 0.25, step=2)
        ...     writer.close()
        ...     print([(point.tag, point.step, point.value) for point in file.points()])
        [('loss', 1, 0.5)]
        [('loss', 2, 0.25)]
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.place = 0
        self._lengths: dict[bytes, int] = {}
        self._scalars = _Scalars()

    def points(self) -> Iterator[Point | Restart]:
        """Yield what was added since the last call, as far as it is whole.

        A record that is torn, as long as it is being written, or damaged ends it quietly; the next call tries it again.

        Raises:
            OSError: The file is there and cannot be read.
        """
        if self._was_cut_back():
            self.place = 0
            yield Restart(0, 0.0, of_file=True)
        parse = self._scalars.parse
        try:
            for data in self.records():
                yield from parse(data)
        except (TornRecord, DamagedRecord, FileNotFoundError):
            return

    def records(self) -> Iterator[bytes]:
        """Yield the data of each record that was added since the last call; of one above ``LARGEST_BYTES``, no bytes.

        Raises:
            TornRecord: The file ends within one.
            DamagedRecord: One does not have its checksum.
            OSError: The file cannot be read.
        """
        with open(self.path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(self.place)
            rest, wanted = b"", CHUNK_BYTES
            while chunk := file.read(wanted):
                rest, begin, wanted = rest + chunk, 0, CHUNK_BYTES
                while (length := self._length(rest, begin)) is not None:
                    end = begin + length + _FRAME_BYTES
                    if end <= len(rest):
                        data = rest[begin + 12 : end - 4]
                        self._check(crc32c(data), _u32(rest, end - 4)[0])
                    elif self.place + length + _FRAME_BYTES > size:
                        raise TornRecord
                    elif length > LARGEST_BYTES:
                        self._pass_over(file, length)
                        data, end = b"", len(rest)
                    else:
                        wanted = max(CHUNK_BYTES, end - len(rest))
                        break
                    self.place += length + _FRAME_BYTES
                    begin = end
                    yield data
                rest = rest[begin:]
            if rest:
                raise TornRecord

    def _length(self, data: bytes, begin: int) -> int | None:
        """Return the length of the data of a record; ``None`` where the bytes end before it is known."""
        head = data[begin : begin + 12]
        length = self._lengths.get(head)
        if length is None and len(head) == 12:
            self._check(crc32c(head[:8]), _u32(head, 8)[0], "the checksum of its length")
            length = int.from_bytes(head[:8], "little")
            if len(self._lengths) < _MOST_KEPT:
                self._lengths[head] = length
        return length

    def _check(self, crc: int, check: int, what: str = "its checksum") -> None:
        """Refuse a record without its checksum, which stands masked: turned, and a number added."""
        if check != ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF:
            raise DamagedRecord(f"the record at byte {self.place:,} does not have {what}")

    def _pass_over(self, file: FileIO, length: int) -> None:
        """Look at the checksum of a record without holding it in memory."""
        file.seek(self.place + 12)
        crc, left = 0, length
        while left and (piece := file.read(min(left, CHUNK_BYTES))):
            crc, left = crc32c(piece, crc), left - len(piece)
        check = file.read(4)
        if len(check) < 4:
            raise TornRecord
        self._check(crc, _u32(check)[0])

    def _was_cut_back(self) -> bool:
        try:
            return self.path.stat().st_size < self.place
        except FileNotFoundError:
            return False


def points(path: Path) -> Iterator[Point]:
    """Yield the points of an event file, or of the event files of a folder in the order in which TensorBoard reads them.

    Folders in the folder are runs of their own: see :func:`runs`. Where a file says that all begins again, as that of a
    training that was gone on with, those before it are passed over.

    Args:
        path: A file or a folder.

    Raises:
        OSError: There is no such file, or it cannot be read.
    """
    files = [EventFile(one) for one in (event_files(path) if path.is_dir() else [path])]
    path.stat()
    begin = max((place for place, file in enumerate(files) if _begins_again(file.path)), default=0)
    for file in files[begin:]:
        yield from (found for found in file.points() if isinstance(found, Point))


def runs(path: Path) -> dict[str, list[Path]]:
    """Return the event files in a folder and in those in it, by the folder: ``"."`` for itself, or as ``"train"``.

    Args:
        path: The folder.
    """
    folders = sorted(Path(folder) for folder, _, files in os.walk(path) if any(MARK in name for name in files))
    return {str(folder.relative_to(path)): found for folder in folders if (found := event_files(folder))}


def event_files(folder: Path) -> list[Path]:
    """Return the event files of a folder, without those in folders in it, in the order in which TensorBoard reads them.

    Args:
        folder: The folder.
    """
    return sorted(path for path in folder.glob(f"*{MARK}*") if path.is_file() and not path.name.endswith(_PASSED_OVER))


def values_of(data: bytes) -> Iterator[tuple[str, int]]:
    """Yield the tag and the step of every value in the data of a record, scalar or not.

    Args:
        data: The data.

    Raises:
        ValueError: It is no event.
    """
    event = _Event(data)
    for begin, end in event.values:
        for number, _, tag_begin, tag_end in _fields(data, begin, end):
            if number == 1:
                yield data[tag_begin:tag_end].decode(errors="replace"), event.step


def _begins_again(path: Path) -> bool:
    """Return whether a file's head says that nothing before it counts."""
    return any(isinstance(found, Restart) and found.step == 0 for found in islice(EventFile(path).points(), 1))


# ---- events ------------------------------------------------------------------------------------------------------------


class _Scalars:
    """Takes scalars out of events; of a curve whose bytes it knows, without taking these apart."""

    def __init__(self) -> None:
        self._tags: dict[tuple[bytes, bytes], str] = {}
        self._places: dict[int, list[int]] = {}

    def parse(self, data: bytes) -> Sequence[Point | Restart]:
        """Return what an event says of curves; nothing of what is no event."""
        try:
            if data[9:10] == _STEP:
                step, begin = _varint(data, 10)
            else:  # a step of 0 may be left out
                step, begin = 0, 9
            rest = data[begin:]
            for place in self._places.get(len(rest), ()) if data[0] == _TIME else ():
                tag = self._tags.get((rest[:place], rest[place + 4 :]))
                if tag is not None:
                    return (_point((tag, _signed(step), _double(data, 1)[0], _float(rest, place)[0])),)
            return self._parse_anew(data, _signed(step), begin)
        except (ValueError, IndexError):
            return ()

    def _parse_anew(self, data: bytes, step: int, begin: int) -> Sequence[Point | Restart]:
        event = _Event(data)
        if event.restarts:
            return (Restart(event.step, event.wall_time),)
        scalars = [scalar for value in event.values if (scalar := _Scalar(data, *value)).value is not None]
        if len(event.values) == len(scalars) == 1 and scalars[0].place is not None and event.step == step and data[0] == _TIME:
            self._learn(data[begin:], scalars[0].place - begin, scalars[0].tag)
        return [Point(scalar.tag, event.step, event.wall_time, scalar.value) for scalar in scalars if scalar.value is not None]

    def _learn(self, rest: bytes, place: int, tag: str) -> None:
        if len(self._tags) < _MOST_KEPT:
            self._tags[rest[:place], rest[place + 4 :]] = tag
            places = self._places.setdefault(len(rest), [])
            if place not in places:
                places.append(place)


class _Event:
    """Is what an event says of itself, and where its values are.

    Raises:
        ValueError: It is no event.
    """

    def __init__(self, data: bytes) -> None:
        self.step, self.wall_time, self.restarts = 0, 0.0, False
        self.values: list[tuple[int, int]] = []
        for number, kind, begin, end in _fields(data, 0, len(data)):
            if (number, kind) == (1, 1):
                (self.wall_time,) = _double(data, begin)
            elif (number, kind) == (2, 0):
                self.step = _signed(_varint(data, begin)[0])
            elif (number, kind) == (5, 2):
                self.values += [field[2:] for field in _fields(data, begin, end) if field[:2] == (1, 2)]
            elif (number, kind) == (7, 2):
                status = [_varint(data, field[2])[0] for field in _fields(data, begin, end) if field[:2] == (1, 0)]
                self.restarts = status == [_START]


class _Scalar:
    """Is a value in a summary, and where its number is, if that is of single precision.

    Raises:
        ValueError: It is no value.
    """

    def __init__(self, data: bytes, begin: int, end: int) -> None:
        self.tag, self.place = "", None
        self.value: float | None = None
        for number, kind, first, last in _fields(data, begin, end):
            if (number, kind) == (1, 2):
                self.tag = data[first:last].decode(errors="replace")
            elif (number, kind) == (2, 5):
                self.place = first
                (self.value,) = _float(data, first)
            elif (number, kind) == (8, 2):
                self._read_tensor(data, first, last)

    def _read_tensor(self, data: bytes, begin: int, end: int) -> None:
        type_, where, dimensions = 0, None, False
        for number, kind, first, last in _fields(data, begin, end):
            if (number, kind) == (1, 0):
                type_ = _varint(data, first)[0]
            elif (number, kind) == (2, 2):
                dimensions = first < last
            elif number in (_CONTENT, _HALVES) or number in _LISTS:
                where = number, first, last
        if dimensions or type_ not in _TYPES.keys() | {_BFLOAT16}:
            return
        self.value = 0.0 if where is None else _number(data, type_, *where)
        if type_ == _FLOAT and where is not None and where[2] - where[1] == 4:
            self.place = where[1]


def _number(data: bytes, type_: int, field: int, begin: int, end: int) -> float | None:
    """Return the one number in a tensor's field; ``None`` where it holds another number of them."""
    content, packing = data[begin:end], _LISTS.get(field)
    if field == _HALVES and content:
        content = _varint(data, begin)[0].to_bytes(10, "little")[:2]
    if field in (_CONTENT, _HALVES):
        content, packing = (b"\0\0" + content, "<f") if type_ == _BFLOAT16 else (content, _TYPES[type_])
    if packing is not None:
        return float(struct.unpack(packing, content)[0]) if len(content) == struct.calcsize(packing) else None
    number, after = _varint(data, begin) if content else (0, begin)
    return float(_signed(number)) if after == end else None


# ---- protobuf's wire format ----------------------------------------------------------------------------------------------


def _fields(message: bytes, begin: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield the fields of a message: number, kind, and where the content begins and ends."""
    while begin < end:
        key, begin = _varint(message, begin)
        kind = key & 7
        if kind == 0:
            after = _varint(message, begin)[1]
        elif kind == 2:
            size, begin = _varint(message, begin)
            after = begin + size
        elif kind in _FIXED_SIZES:
            after = begin + _FIXED_SIZES[kind]
        else:
            raise ValueError(f"a field of the kind {kind}")
        if after > end:
            raise ValueError("a field that is longer than its record")
        yield key >> 3, kind, begin, after
        begin = after


def _varint(message: bytes, place: int) -> tuple[int, int]:
    """Return the number at a place, and where it ends."""
    number = shift = 0
    for octet in message[place : place + 10]:
        place += 1
        if octet < 0x80:
            return number | octet << shift, place
        number |= (octet & 0x7F) << shift
        shift += 7
    raise ValueError("a number that does not end")


def _signed(number: int) -> int:
    """Return a number of 64 bits that stands as its two's complement if it is negative."""
    return number - (1 << 64) if number >> 63 else number
