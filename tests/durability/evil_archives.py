"""What makes zips evil: members that grow, that lie over one another, that are others than they were."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from evil_files import BOMB


def zipped(path: Path, members: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def members_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def replaced(path: Path, ending: str, content: bytes) -> None:
    """Put another content into a member."""
    zipped(path, {name: content if name.endswith(ending) else old for name, old in members_of(path).items()})


def deflated(path: Path, ending: str) -> None:
    """Put billions of zeros into a member, in a few million bytes."""
    squeezing = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = squeezing.compress(bytes(1 << 20)) + squeezing.flush(zlib.Z_FULL_FLUSH)
    replaced(path, ending, piece * (BOMB >> 20) + b"\x03\0")
    data = bytearray(path.read_bytes())
    for place, name in entries(data):
        if name.endswith(ending.encode()):
            (start,) = struct.unpack_from("<I", data, place + 42)
            for method, size in ((place + 10, place + 24), (start + 8, start + 22)):
                struct.pack_into("<H", data, method, zipfile.ZIP_DEFLATED)
                struct.pack_into("<I", data, size, BOMB)
    path.write_bytes(data)


def entries(data: bytearray) -> list[tuple[int, bytes]]:
    """Return where each entry of a zip's directory is, and of which name."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        place, found = archive.start_dir, []
    while data[place : place + 4] == b"PK\x01\x02":
        sizes = struct.unpack_from("<HHH", data, place + 28)
        found.append((place, bytes(data[place + 46 : place + 46 + sizes[0]])))
        place += 46 + sum(sizes)
    return found
