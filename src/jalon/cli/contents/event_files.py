"""TensorBoard's event files: every record and its checksums."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from crc32c import crc32c

from jalon.cli.contents.found import Found

MARK = ".tfevents."
"""What stands in the name of every event file."""
_FIXED_SIZES = {1: 8, 5: 4}


class TornRecord(Exception):
    """Says that a file ends within a record."""


class DamagedRecord(Exception):
    """Says that a record does not have its checksum."""


@dataclass(slots=True)
class Curve:
    """Is what a file has of one tag.

    Args:
        points: How many records.
        first_step: That of the first.
        last_step: That of the last.
    """

    points: int
    first_step: int
    last_step: int


def look(path: Path) -> Found:
    """Return what an event file holds: its records, counted, and the tags with their steps.

    Args:
        path: The file.
    """
    found = Found(path, "TensorBoard events")
    records, curves = 0, dict[str, Curve]()
    try:
        with open(path, "rb") as file:
            for data in records_of(file):
                records += 1
                _note(data, curves)
    except TornRecord:
        found.damaged(f"ends within a record, after {records:,} whole ones", f"Readers show the {records:,} before it.")
    except DamagedRecord as exc:
        found.damaged(f"is damaged: {exc}, after {records:,} whole ones", f"Readers show the {records:,} before it at most.")
    except (ValueError, IndexError, struct.error) as exc:
        found.damaged(f"holds something else than events: {exc}", "It was not written by TensorBoard's own writers or jalon's.")
    found.facts = {"records": records, "tags": {tag: asdict(curve) for tag, curve in curves.items()}}
    return found


def records_of(file: BinaryIO) -> Iterator[bytes]:
    """Yield the data of each record.

    Raises:
        TornRecord: The file ends within one.
        DamagedRecord: One does not have its checksum.
    """
    while head := file.read(12):
        place = file.tell() - len(head)
        if len(head) < 12:
            raise TornRecord
        if head[8:] != _masked(crc32c(head[:8])):
            raise DamagedRecord(f"the record at byte {place:,} does not have the checksum of its length")
        size = int.from_bytes(head[:8], "little")
        data, check = file.read(size), file.read(4)
        if len(data) < size or len(check) < 4:
            raise TornRecord
        if check != _masked(crc32c(data)):
            raise DamagedRecord(f"the record at byte {place:,} does not have its checksum")
        yield data


def _masked(crc: int) -> bytes:
    return ((((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little")


def _note(event: bytes, curves: dict[str, Curve]) -> None:
    """Count what an event holds, by tag."""
    fields = dict(_fields(event))
    step, summary = fields.get(2, 0), fields.get(5)
    if not isinstance(summary, bytes) or not isinstance(step, int):
        return
    for number, value in _fields(summary):
        tag = dict(_fields(value)).get(1) if number == 1 and isinstance(value, bytes) else None
        if isinstance(tag, bytes):
            curve = curves.setdefault(tag.decode(errors="replace"), Curve(0, step, step))
            curve.points, curve.last_step = curve.points + 1, step


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the fields of a message in protobuf's wire format, numbers of fixed size as bytes."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        kind = key & 7
        if kind == 0:
            number, place = _varint(message, place)
            yield key >> 3, number
            continue
        if kind == 2:
            size, place = _varint(message, place)
        elif kind in _FIXED_SIZES:
            size = _FIXED_SIZES[kind]
        else:
            raise ValueError(f"a field of the kind {kind}")
        if place + size > len(message):
            raise ValueError("a field that is longer than its record")
        yield key >> 3, message[place : place + size]
        place += size


def _varint(message: bytes, place: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        octet = message[place]
        number, shift, place = number | (octet & 0x7F) << shift, shift + 7, place + 1
        if octet < 0x80:
            return number, place
