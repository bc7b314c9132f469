"""What stands behind an HDF5 file of ours: a checksum of its structure, since HDF5's library may crash on a damaged one.

HDF5 itself does not look behind its own end, so that others read the file as any other. The values of the arrays have a
checksum of their own.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

from crc32c import crc32c

_MARK = b"jalon's end\n"
_SEAL = struct.Struct(f"<QQI{len(_MARK)}s")
_PIECE = struct.Struct("<QQ")


def seal(pieces: Sequence[tuple[int, bytes]], size: int) -> bytes:
    """Return what is to stand behind a file.

    Args:
        pieces: What is not an array's values: where it begins, and the bytes.
        size: How long the file is without what is returned.
    """
    table = b"".join(_PIECE.pack(start, len(piece)) for start, piece in pieces)
    whole = size + len(table) + _SEAL.size
    return table + _SEAL.pack(size, whole, _checksum(table, (piece for _, piece in pieces)), _MARK)


def is_broken(file: BinaryIO, telltales: Iterable[bytes]) -> bool:
    """Return whether a file of ours is not the one that was written, as far as its structure goes.

    Args:
        file: The file.
        telltales: What stands in every file of ours, each alone enough to know it by.
    """
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        end = view[-_SEAL.size :]
        if len(end) < _SEAL.size or not end.endswith(_MARK):
            return any(view.find(one) >= 0 for one in telltales)
        start, whole, checksum, _ = _SEAL.unpack(end)
        table = view[start : -_SEAL.size]
        if whole != len(view) or len(table) % _PIECE.size:
            return True
        return bool(checksum != _checksum(table, _cut_out(view, table)))


def _cut_out(view: mmap.mmap, table: bytes) -> Iterator[bytes]:
    return (view[start : start + size] for start, size in _PIECE.iter_unpack(table))


def _checksum(table: bytes, pieces: Iterable[bytes]) -> int:
    checksum: int = crc32c(table)
    for piece in pieces:
        checksum = crc32c(piece, checksum)
    return checksum
