"""ProgramArchive: the zip that a ``.pt2`` file is, with members that are plain bytes, each checked."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Iterator
from typing import BinaryIO

from jalon.engines.torch.formats import Refused

NOTE = "extra/jalon.json"
"""The member that says what jalon told about the file."""

_SEAL = b"jalon sha256 "
_SEAL_BYTES = len(_SEAL) + 64
_PIECE_BYTES = 1 << 20
_COMPILED = ("data/aotinductor/", "data/executorch/")


class ProgramArchive:
    """Reads the members of a ``.pt2`` file.

    A file that jalon wrote ends with the SHA-256 of all that is before, as the zip's comment; it is checked first. In a file
    of another writer each member has the zip's own checksum.

    Args:
        file: The file, at any place.
        complete: Whether it has its seal. One that is being made has none yet. Defaults to True.

    Raises:
        Refused: It is damaged, or holds something else than members stored as they are.
    """

    def __init__(self, file: BinaryIO, *, complete: bool = True) -> None:
        size = file.seek(0, os.SEEK_END)
        self._zip = zipfile.ZipFile(file)
        members = self._zip.infolist()
        _check_members(members, size)
        root = members[0].filename.partition("/")[0] + "/"
        self._members = {member.filename.removeprefix(root): member for member in members}
        if any(name.startswith(_COMPILED) for name in self._members):
            raise Refused("is refused: it holds compiled code")
        self.is_sealed = self._zip.comment.startswith(_SEAL)
        if self.is_sealed:
            _check_seal(file, size, self._zip.comment)
        elif complete and NOTE in self._members:
            raise Refused("is damaged: its checksum is missing")

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def read(self, name: str) -> bytes:
        """Return a member.

        Raises:
            Refused: There is none of that name.
        """
        if name not in self._members:
            raise Refused(f"is no exported program: there is no {name} in it")
        return self._zip.read(self._members[name])


def sealed(content: memoryview) -> Iterator[memoryview | bytes]:
    """Yield an archive without a comment as one with a seal.

    Args:
        content: The archive.
    """
    length = _SEAL_BYTES.to_bytes(2, "little")
    body = content[: -len(length)]
    digest = hashlib.sha256(body)
    digest.update(length)
    yield body
    yield length + _SEAL + digest.hexdigest().encode()


def _check_seal(file: BinaryIO, size: int, comment: bytes) -> None:
    digest = hashlib.sha256()
    file.seek(0)
    left = size - len(comment)
    while left and (piece := file.read(min(left, _PIECE_BYTES))):
        digest.update(piece)
        left -= len(piece)
    if comment != _SEAL + digest.hexdigest().encode():
        raise Refused("is damaged: its content does not have the checksum that was saved with it")


def _check_members(members: list[zipfile.ZipInfo], size: int) -> None:
    """Refuse what no program needs: members that grow when they are read, lie over one another or elsewhere."""
    names = [member.orig_filename for member in members]
    if not names or len(set(names)) < len(names):
        raise Refused("is refused: it has no members, or two of the same name")
    root = names[0].partition("/")[0] + "/"
    for member, name in zip(members, names, strict=True):
        parts = name.split("/")
        if not name.startswith(root) or {"", ".", ".."} & set(parts) or {"\\", "\0"} & set(name):
            raise Refused(f"is refused: {name!r} in it lies elsewhere")
        if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
            raise Refused(f"is refused: {name!r} in it is compressed; only members stored as they are can be read")
    if sum(member.file_size for member in members) > size:
        raise Refused("is refused: its members lie over one another")
