"""TensorBoard's event files, written without TensorFlow and without protobuf.

A file is a row of records. A record is the length of its data (u64, little-endian), the masked CRC-32C of these eight
bytes, the data, and the masked CRC-32C of the data. The data is one ``Event`` in protobuf's wire format; the field
numbers below are those of TensorBoard's ``event.proto``, ``summary.proto``, ``histogram.proto`` and ``tensor.proto``.
The first event says ``file_version = "brain.Event:2"``.

Readers take the files of a folder in the order of their names, and never come back to an earlier one; so every new file's
name is later than those there. A run that can be gone on with has its name in those of its files, which begin with
``HEAD_BYTES`` of their own.
"""

from __future__ import annotations

import math
import os
import re
import socket
import struct
import zlib
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from io import FileIO
from pathlib import Path

import numpy as np
from crc32c import crc32c
from numpy.typing import ArrayLike, NDArray

from jalon.core.clock import SYSTEM_CLOCK, Clock
from jalon.errors import ArgumentError
from jalon.sinks.wire import bytes_field, number_field, varint

BUCKETS = 30
"""Into how many buckets a histogram sorts its values, as TensorBoard's own summaries do."""
IMAGES = 3
"""How many images of one stack are written, as TensorBoard's own summaries do."""
BUFFER_BYTES = 64 * 1024
"""How much is held back before it is written unasked."""
HELD_SECONDS = 10.0
"""How long records are held back while others come, so that a long epoch can be watched."""

HEAD_BYTES = 69
"""How many bytes the head of a run with a name has: the version, and an event of TensorBoard's sessions."""

_STAMP = re.compile(r"events\.out\.tfevents\.(\d{10})\.")

_VERSION = bytes_field(3, b"brain.Event:2")
_START, _CHECKPOINT = 1, 3
_FRAME_BYTES = 12
_FLOAT32_MAX = float(np.finfo(np.float32).max)
_DT_STRING = 7
_PNG_COLOURS = {1: 0, 3: 2, 4: 6}

_u32 = struct.Struct("<I").pack
_u64 = struct.Struct("<Q").pack
_float = struct.Struct("<f").pack
_wall_time = struct.Struct("<Bd").pack


class EventFileWriter:
    """Write the scalars, histograms, images and graphs of one run as an event file.

    The file is made at the first record. Records are held back and written whole: by :meth:`flush`, once there are
    64 KiB of them, and every ten seconds while they come. What a full disk refuses, up to that size, is kept and
    written once there is room.

    Args:
        folder: Where the file goes; made if missing.
        run: The name of a run that can be gone on with: letters, digits and hyphens. It stands in the file's name, and such
            a run has one file, which a record after :meth:`close` goes on with. Defaults to None: no such run.
        clock: Tells the time that stands in each record and in the file's name.

    Attributes:
        path: The file, once there is one.

    Raises:
        OSError: By any method: the file cannot be made or written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     writer = EventFileWriter(Path(folder) / "train")
        ...     writer.scalar("loss", 0.25, step=1)
        ...     writer.close()
        ...     print(*(path.name.split(".")[:3] for path in Path(folder).glob("train/*")))
        ['events', 'out', 'tfevents']
    """

    def __init__(self, folder: Path, *, run: str | None = None, clock: Clock = SYSTEM_CLOCK) -> None:
        self.folder = folder
        self.run = run
        self.path: Path | None = None
        self._clock = clock
        self._file: FileIO | None = None
        self._length = 0
        self._buffer = bytearray()
        self._written_at = 0.0

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Write a number. NaN and infinities are written as they are.

        Args:
            tag: The name of its curve.
            value: The number, kept as a 32-bit float.
            step: Its place on the curve.
        """
        try:
            number = _float(value)
        except OverflowError:
            number = _float(math.copysign(math.inf, value))
        self._write(_step(step) + _scalar_head(tag) + number)

    def histogram(self, tag: str, values: ArrayLike, step: int) -> None:
        """Write how values are spread, in 30 buckets of equal width from the least to the greatest.

        NaN, infinities and what 32 bits cannot hold are left out. Equal values share one bucket of no width.

        Args:
            tag: The name of the histogram.
            values: Numbers, of any shape.
            step: Their place in time.
        """
        self._write(_step(step) + _summary(bytes_field(1, tag.encode()) + bytes_field(5, _histogram(np.asarray(values)))))

    def image(self, tag: str, pixels: ArrayLike, step: int) -> None:
        """Write an image, or the first three of a stack.

        Args:
            tag: The name of the image.
            pixels: Height × width, height × width × channels, or number × height × width × channels, with 1 (grey),
                3 (RGB) or 4 (RGBA) channels. Integers are 0 to 255, floats 0 to 1; what is beyond is clipped.
            step: Its place in time.

        Raises:
            ArgumentError: The array has another shape.
        """
        stack = _stack(np.asarray(pixels))
        _, height, width, _ = stack.shape
        strings = (str(width).encode(), str(height).encode(), *(_png(image) for image in stack))
        shape = bytes_field(2, number_field(1, len(strings)))
        self._write(_step(step) + _strings(tag, strings, shape, bytes_field(1, b"images")))

    def graph(self, graph_def: bytes) -> None:
        """Write the graph of the run, of which there is one.

        Args:
            graph_def: A serialized ``GraphDef``.
        """
        self._write(bytes_field(4, graph_def))

    def blob(self, tag: str, content: bytes, step: int, *, plugin: str) -> None:
        """Write bytes that one of TensorBoard's plugins for graphs reads.

        Args:
            tag: The name of the record.
            content: What the plugin reads.
            step: Its place in time.
            plugin: ``"graph_keras_model"`` for a Keras configuration in JSON, ``"graph_run_metadata_graph"`` for a
                serialized ``RunMetadata``.
        """
        version = bytes_field(1, plugin.encode()) + bytes_field(2, b"1")
        self._write(_step(step) + _strings(tag, (content,), b"", version))

    def flush(self) -> None:
        """Hand what was held back to the system, in one write."""
        buffer, file = self._buffer, self._file
        while buffer and file is not None:
            # A full disk may take a part of it; the rest follows at the same place once there is room.
            written = file.write(buffer)
            self._length += written
            del buffer[:written]

    def position(self) -> tuple[int, bytes]:
        """Return how many bytes of records the file has, its head not counted, and what is held back, of a run with a name."""
        length = max(0, self._length - HEAD_BYTES)
        return length, bytes(self._buffer[max(0, HEAD_BYTES - self._length) :])

    def go_on(self, path: Path | None, held: bytes) -> None:
        """Go on with what another process has written of the run.

        Args:
            path: The file; ``None`` where there is none.
            held: What was held back, which comes first.
        """
        self.path = path
        self._open()
        self._buffer += held

    def close(self) -> None:
        """Flush and close the file. May run twice; a record after it begins a new file, if the run has no name."""
        if self._file is None:
            return
        try:
            self.flush()
        finally:
            file, self._file = self._file, None
            if self.run is None:
                self._buffer.clear()
            file.close()

    def _write(self, fields: bytes) -> None:
        if self._file is None:
            self._open()
        # Before the record is taken, so that a disk that stays full does not fill the memory.
        if len(self._buffer) > BUFFER_BYTES:
            self.flush()
        now = self._clock.wall()
        self._buffer += _record(now, fields)
        if now - self._written_at > HELD_SECONDS:
            self._written_at = now
            self.flush()

    def _open(self) -> None:
        now = self._clock.wall()
        if self.run is not None and self.path is not None:
            self._file = FileIO(self.path, "a")
            self._length = self._file.seek(0, os.SEEK_END)
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            first = _record(now, _VERSION) if self.run is None else head(self.folder, self.run, now)
            self.path, self._file = self._made(now)
            self._length = 0
            self._buffer += first
        self._written_at = now

    def _made(self, now: float) -> tuple[Path, FileIO]:
        while True:
            path = self.folder / later_name(self.folder, self.run, now)
            with suppress(FileExistsError):
                return path, FileIO(path, "x")


# ---- the files of a folder ---------------------------------------------------------------------------------------------


def event_files(folder: Path, run: str | None = None) -> list[Path]:
    """Return the event files of a folder in the order in which TensorBoard reads them.

    Args:
        folder: The folder, which need not be there.
        run: The name of the run whose files are wanted. By default every file's.
    """
    files = folder.glob("*tfevents*" if run is None else f"*tfevents*.{run}.v2")
    return sorted(path for path in files if not path.name.endswith(".profile-empty"))  # which TensorBoard passes over too


def later_name(folder: Path, run: str | None, now: float) -> str:
    """Return a name for a new event file, which comes after those there."""
    stamps = [int(found[1]) for path in event_files(folder) if (found := _STAMP.match(path.name))]
    stamp = max([int(now), *(one + 1 for one in stamps)])
    of_run = "" if run is None else f".{run}"
    return f"events.out.tfevents.{stamp:010d}.{socket.gethostname()}.{os.getpid()}.0{of_run}.v2"


def head(folder: Path, run: str, now: float) -> bytes:
    """Return how a file begins that will hold all records of a run: for the first time, or once more.

    A reader that is attached has seen records which are not to be. TensorBoard's reader in Python forgets all it has from a
    step on at every ``SessionLog.START`` but the first; here the step is 0, since epochs, batches and iterations count in
    different units. Its reader in Rust replaces a tag's points when their steps come again. Records of other runs in the
    folder would be forgotten with the rest, also by a reader that comes later; therefore beside such, nothing is.
    """
    alone = len(event_files(folder)) == len(event_files(folder, run))
    session = bytes_field(7, number_field(1, _START if alone else _CHECKPOINT))
    return _record(now, _VERSION) + _record(now, session)


def whole_records(path: Path) -> int:
    """Return how many bytes of a file are whole records, from its beginning."""
    size, end = path.stat().st_size, 0
    with open(path, "rb") as file:
        while True:
            framed = file.read(_FRAME_BYTES)
            if len(framed) < _FRAME_BYTES or framed != _length(int.from_bytes(framed[:8], "little")):
                return end
            after = end + _FRAME_BYTES + int.from_bytes(framed[:8], "little") + 4
            if after > size:
                return end
            end = file.seek(after)


# ---- records ---------------------------------------------------------------------------------------------------------


def _record(now: float, fields: bytes) -> bytes:
    data = _wall_time(0x09, now) + fields
    return _length(len(data)) + data + _masked(crc32c(data))


def _masked(crc: int) -> bytes:
    return _u32((((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


@lru_cache(maxsize=1024)
def _length(size: int) -> bytes:
    """Return what comes before a record's data."""
    length = _u64(size)
    return length + _masked(crc32c(length))


# ---- events ------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=16)
def _step(step: int) -> bytes:
    return b"\x10" + varint(int(step))


def _summary(value: bytes) -> bytes:
    return bytes_field(5, bytes_field(1, value))


def _strings(tag: str, strings: Sequence[bytes], shape: bytes, plugin: bytes) -> bytes:
    """Return a summary that holds a tensor of strings for a plugin."""
    tensor = number_field(1, _DT_STRING) + bytes_field(2, shape) + b"".join(bytes_field(8, string) for string in strings)
    return _summary(bytes_field(1, tag.encode()) + bytes_field(8, tensor) + bytes_field(9, bytes_field(1, plugin)))


@lru_cache(maxsize=1024)
def _scalar_head(tag: str) -> bytes:
    """Return a scalar's summary up to its four bytes of value."""
    return _summary(bytes_field(1, tag.encode()) + b"\x15" + bytes(4))[:-4]


# ---- histograms --------------------------------------------------------------------------------------------------------


def _histogram(values: NDArray[np.generic]) -> bytes:
    numbers = values.astype(np.float64).ravel()
    numbers = numbers[np.abs(numbers) <= _FLOAT32_MAX]
    limits, counts = _buckets(numbers)
    low, high = (numbers.min(), numbers.max()) if numbers.size else (0.0, 0.0)
    moments = struct.pack("<BdBdBdBdBd", 0x09, low, 0x11, high, 0x19, numbers.size, 0x21, numbers.sum(), 0x29, numbers @ numbers)
    return moments + bytes_field(6, limits.astype("<f8").tobytes()) + bytes_field(7, counts.astype("<f8").tobytes())


def _buckets(numbers: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the right edge of each bucket, and how many numbers are in it."""
    if not numbers.size:
        return np.zeros(1), np.zeros(1, dtype=np.int64)
    low, high = numbers.min(), numbers.max()
    if low == high:
        return np.array([high]), np.array([numbers.size])
    places = ((numbers - low) / (high - low) * BUCKETS).astype(np.int64)
    counts = np.bincount(np.minimum(places, BUCKETS - 1), minlength=BUCKETS)
    return np.linspace(low, high, BUCKETS + 1)[1:], counts


# ---- images ------------------------------------------------------------------------------------------------------------


def _stack(pixels: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Return what is shown of an image or a stack, as number × height × width × channels."""
    stack = pixels[..., np.newaxis] if pixels.ndim == 2 else pixels
    stack = stack[np.newaxis] if stack.ndim == 3 else stack
    if stack.ndim != 4 or 0 in stack.shape or stack.shape[-1] not in _PNG_COLOURS:
        raise ArgumentError(
            "EventFileWriter.image: pixels must be height × width, height × width × channels, or a stack of such, "
            f"with 1, 3 or 4 channels. Received: shape {pixels.shape}."
        )
    shown = stack[:IMAGES].astype(np.float64)
    if np.issubdtype(stack.dtype, np.floating):
        shown = np.nan_to_num(shown).clip(0, 1) * 255 + 0.5
    return shown.clip(0, 255).astype(np.uint8)


def _png(image: NDArray[np.uint8]) -> bytes:
    height, width, channels = image.shape
    header = struct.pack(">IIBBBBB", width, height, 8, _PNG_COLOURS[channels], 0, 0, 0)
    rows = np.zeros((height, 1 + width * channels), dtype=np.uint8)  # each row begins with its filter: 0, none
    rows[:, 1:] = image.reshape(height, -1)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, payload) for kind, payload in chunks)


def _chunk(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))
