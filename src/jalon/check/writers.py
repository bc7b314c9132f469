"""Who writes where, read from the callbacks' arguments."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jalon.check.setup import Setup


@dataclass(frozen=True, slots=True)
class Place:
    """Is a file or a folder that a callback writes.

    Args:
        text: The path as it was given, which may be a template.
        is_folder: Whether it is a folder.
        is_shared: Whether others may write there too, under names of their own.
    """

    text: str
    is_folder: bool = False
    is_shared: bool = False

    @property
    def path(self) -> Path:
        """The file or folder; of a template the part without fields, and a file below it."""
        if "{" not in self.text:
            return Path(self.text)
        folder = Path(self.text).parent
        while "{" in str(folder):
            folder = folder.parent
        return folder / "file"

    @property
    def key(self) -> str:
        """What two paths to one place have in common."""
        return os.path.abspath(self.text)  # noqa: PTH100  # a link is another path


_PLACES = {
    "ModelCheckpoint": ("filepath", False, False),
    "OrbaxCheckpoint": ("directory", True, False),
    "CSVLogger": ("filename", False, False),
    "TensorBoard": ("log_dir", True, True),
    "BackupAndRestore": ("backup_dir", True, False),
}


def writers(setup: Setup) -> Iterator[tuple[Any, Place]]:
    """Yield who writes, and where."""
    for kind, (argument, is_folder, is_shared) in _PLACES.items():
        for callback in setup.of(kind):
            given = getattr(callback, argument, None)
            if isinstance(given, (str, os.PathLike)) and "://" not in os.fsdecode(given):
                yield callback, Place(os.fsdecode(given), is_folder, is_shared)


def is_below(path: Path, folder: Path) -> bool:
    """Return whether a path is a folder, or is in it."""
    return path.resolve().is_relative_to(folder.resolve())
