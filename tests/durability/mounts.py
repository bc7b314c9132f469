"""Mounts for tests: they are taken away again, and skipped by name where they are not allowed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(place: Path, kind: str, source: str, *options: str) -> Iterator[Path]:
    """Mount something on a folder.

    Args:
        place: The folder.
        kind: The file system, or ``bind`` for another folder.
        source: What is mounted.
        options: As ``mount -o`` takes them.
    """
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    how = ["--bind"] if kind == "bind" else ["-t", kind]
    done = subprocess.run(["mount", *how, "-o", ",".join(options) or "rw", source, str(place)], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"this machine does not mount: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@contextmanager
def read_only(folder: Path) -> Iterator[Path]:
    """Make a folder one of a read-only file system."""
    with mounted(folder, "bind", str(folder)):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
        yield folder
