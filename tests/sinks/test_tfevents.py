import io
import math
import os
import resource
import socket
import struct
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader, RawEventFileLoader
from tensorboard.compat.proto import event_pb2
from tensorboard.util.tensor_util import make_ndarray

from jalon.errors import ArgumentError
from jalon.sinks.tfevents import HEAD_BYTES, EventFileWriter, event_files, head, whole_records


@dataclass
class HandClock:
    """A clock that is moved by hand."""

    now: float = 1_700_000_000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now


@contextmanager
def disk_full_at(size):
    """Let no file grow beyond a size, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(name="clock")
def _clock():
    return HandClock()


@pytest.fixture(name="writer")
def _writer(tmp_path, clock):
    writer = EventFileWriter(tmp_path / "run", clock=clock)
    yield writer
    writer.close()


def events(path):
    """Every event of a file, as it stands there."""
    return [event_pb2.Event.FromString(data) for data in RawEventFileLoader(str(path)).Load()]


def accumulated(folder):
    """A folder as TensorBoard's own reader sees it."""
    return EventAccumulator(str(folder), size_guidance={"images": 0, "histograms": 0, "scalars": 0, "tensors": 0}).Reload()


def modern(path):
    """Every value of a file as TensorBoard's present plugins take it: (tag, plugin, array)."""
    return [
        (value.tag, value.metadata.plugin_data.plugin_name, make_ndarray(value.tensor))
        for event in EventFileLoader(str(path)).Load()
        for value in event.summary.value
    ]


class TestFile:
    def test_named_for_tensorboard(self, writer, clock):
        """The file's name says when, where and by which process it was made."""
        clock.now = 1_712_345_678.9

        writer.scalar("loss", 1.0, 0)

        assert f"events.out.tfevents.1712345678.{socket.gethostname()}.{os.getpid()}.0.v2" == writer.path.name
        assert [writer.path] == list(writer.folder.iterdir())

    def test_made_at_the_first_record(self, writer):
        """A writer that is given nothing leaves neither a file nor a folder."""
        writer.flush()
        writer.close()

        assert writer.path is None
        assert not writer.folder.exists()

    def test_never_shared(self, tmp_path, clock):
        """Two writers of one process, folder and second write two files."""
        first, second = EventFileWriter(tmp_path, clock=clock), EventFileWriter(tmp_path, clock=clock)
        for writer in (first, second):
            writer.scalar("loss", 1.0, 0)
            writer.close()

        assert first.path != second.path
        assert [2, 2] == [len(events(writer.path)) for writer in (first, second)]

    def test_begins_with_the_version(self, writer, clock):
        """The first event names the format, as readers want it."""
        writer.scalar("loss", 1.0, 0)
        writer.close()

        first = events(writer.path)[0]

        assert ("brain.Event:2", clock.now) == (first.file_version, first.wall_time)

    def test_close_twice(self, writer):
        """Closing writes what was held back, and may be repeated."""
        writer.scalar("loss", 1.0, 0)
        writer.close()
        writer.close()

        assert 2 == len(events(writer.path))

    def test_record_after_close(self, writer):
        """A record after closing begins a new file and leaves the old one alone."""
        writer.scalar("loss", 1.0, 0)
        writer.close()
        first = writer.path

        writer.scalar("loss", 2.0, 1)
        writer.close()

        assert [0, 1] == [events(path)[1].step for path in (first, writer.path)]


class TestBuffer:
    def test_whole_records_only(self, writer):
        """What is on the disk after a flush ends with the last record given, and before it lacks whole records."""
        writer.scalar("loss", 1.0, 0)
        before = writer.path.stat().st_size
        writer.flush()
        one = len(events(writer.path))
        writer.scalar("loss", 2.0, 1)
        held = len(events(writer.path))
        writer.flush()

        assert (0, 2, 2, 3) == (before, one, held, len(events(writer.path)))

    def test_written_unasked_when_full(self, writer):
        """More than 64 KiB are not held back."""
        for step in range(2000):
            writer.scalar("loss", 1.0, step)

        assert 1000 < len(events(writer.path)) < 2000

    def test_written_unasked_after_a_while(self, writer, clock):
        """Records of a long epoch can be seen while it lasts."""
        writer.scalar("loss", 1.0, 0)
        clock.now += 11
        writer.scalar("loss", 2.0, 1)

        assert [0, 1] == [event.step for event in events(writer.path)[1:]]

    def test_full_disk(self, writer):
        """What a full disk refuses, in the middle of a record or not, is written once there is room."""
        for step in range(10):
            writer.scalar("loss", float(step), step)
        with disk_full_at(200):
            with pytest.raises(OSError, match="File too large"):
                writer.flush()
            torn = writer.path.stat().st_size
            readable = len(events(writer.path))
        writer.flush()

        assert (200, 4) == (torn, readable)
        assert list(range(10)) == [event.step for event in events(writer.path)[1:]]

    def test_full_disk_leaves_the_memory_alone(self, writer):
        """While the disk is full, records beyond 64 KiB are refused and not collected."""
        refused = 0
        with disk_full_at(0):
            for step in range(5000):
                try:
                    writer.scalar("loss", 1.0, step)
                except OSError:
                    refused += 1
        writer.close()

        kept = [event.step for event in events(writer.path)[1:]]
        assert refused > 3000
        assert list(range(5000 - refused)) == kept

    def test_closed_on_a_full_disk(self, writer):
        """Closing on a full disk says so once; a later file begins with its own records."""
        writer.scalar("loss", 1.0, 0)
        with disk_full_at(0):
            with pytest.raises(OSError, match="File too large"):
                writer.close()
            writer.close()
        writer.scalar("loss", 2.0, 1)
        writer.close()

        assert ["brain.Event:2", ""] == [event.file_version for event in events(writer.path)]
        assert 1 == events(writer.path)[1].step

    def test_folder_in_the_way(self, tmp_path, clock):
        """A folder that cannot be made is an error at the first record, and the next record tries again."""
        (tmp_path / "run").write_text("in the way")
        writer = EventFileWriter(tmp_path / "run", clock=clock)
        with pytest.raises(OSError, match="exists"):
            writer.scalar("loss", 1.0, 0)
        (tmp_path / "run").unlink()
        writer.scalar("loss", 2.0, 1)
        writer.close()

        assert [1] == [event.step for event in events(writer.path)[1:]]


class TestRun:
    """A run that can be gone on with has its name in that of its file, and one file."""

    @pytest.fixture(name="writer")
    def _writer(self, tmp_path, clock):
        writer = EventFileWriter(tmp_path / "run", run="0af3", clock=clock)
        yield writer
        writer.close()

    def test_name(self, writer):
        """The run stands at the name's end, before the format."""
        writer.scalar("loss", 1.0, 0)

        assert f"events.out.tfevents.1700000000.{socket.gethostname()}.{os.getpid()}.0.0af3.v2" == writer.path.name

    @pytest.mark.parametrize("run", [None, "0af3"])
    def test_later_than_all_there(self, tmp_path, clock, monkeypatch, run):
        """Readers come to a new file whatever its process's number, within one second and when the clock was put back."""
        tmp_path.joinpath("events.out.tfevents.17000000077.odd").touch()
        tmp_path.joinpath("events.out.tfevents.1700000001.other.7.0.v2").touch()
        names = ["events.out.tfevents.1700000001.other.7.0.v2"]
        for back, pid in ((0, 9), (0, 1), (5, 4194304)):
            clock.now -= back
            monkeypatch.setattr(os, "getpid", partial(int, pid))
            writer = EventFileWriter(tmp_path, run=run, clock=clock)
            writer.scalar("loss", 1.0, 0)
            writer.close()
            names.append(writer.path.name)

        assert sorted(names) == names

    def test_begins_with_a_head(self, writer):
        """The version, and a start of TensorBoard's sessions at step 0, so that all there was is forgotten."""
        writer.scalar("loss", 1.0, 0)
        writer.close()

        version, session, record = events(writer.path)
        assert "brain.Event:2" == version.file_version
        assert (event_pb2.SessionLog.START, 0) == (session.session_log.status, session.step)
        assert "loss" == record.summary.value[0].tag
        assert len(head(writer.folder, "0af3", 1.0)) == HEAD_BYTES

    def test_another_run_s_records_stay(self, tmp_path, clock):
        """Beside the files of others, a head of the same length forgets nothing."""
        for run in (None, "0af3", "0af3-1"):
            writer = EventFileWriter(tmp_path, run=run, clock=clock)
            writer.scalar(f"loss of {run}", 1.0, 5)
            writer.close()
        of_run = [events(path) for path in event_files(tmp_path, "0af3")]

        assert [0] == [sum(event.session_log.status == event_pb2.SessionLog.START for event in one) for one in of_run]
        assert ["loss of None", "loss of 0af3", "loss of 0af3-1"] == accumulated(tmp_path).Tags()["scalars"]
        assert len(head(tmp_path, "0af3", 1.0)) == HEAD_BYTES

    def test_what_tensorboard_passes_over(self, tmp_path):
        """Files that TensorBoard does not read are none of another run's."""
        for name in ("events.out.tfevents.1.profile-empty", "events.out.tfevents.1.vm.1.0.0af3.v2", "notes.txt"):
            (tmp_path / name).touch()

        assert ["events.out.tfevents.1.vm.1.0.0af3.v2"] == [path.name for path in event_files(tmp_path)]
        assert [] == event_files(tmp_path / "no folder")

    def test_record_after_close(self, writer):
        """A record after closing goes on with the file."""
        for step in (0, 1):
            writer.scalar("loss", 1.0, step)
            writer.close()

        assert [0, 1] == [event.step for event in events(writer.path)[2:]]
        assert [writer.path] == list(writer.folder.iterdir())

    @pytest.mark.parametrize("room", [0, 50, HEAD_BYTES, HEAD_BYTES + 10, 10**6])
    @pytest.mark.parametrize("closed", [False, True])
    def test_position(self, writer, room, closed):
        """A position tells what the file has beyond its head, and what is held back; both together are all the records."""
        for step in range(3):
            writer.scalar("loss", 1.0, step)
        with disk_full_at(room), suppress(OSError):
            writer.close() if closed else writer.flush()
        length, held = writer.position()
        writer.flush()
        writer.scalar("loss", 1.0, 3)
        writer.close()

        records = writer.path.read_bytes()[HEAD_BYTES:]
        assert max(0, min(room - HEAD_BYTES, length)) == length
        assert records.startswith(held[:0] + records[:length] + held)
        assert 3 * len(records) == 4 * (length + len(held))

    @pytest.mark.parametrize("there", [False, True])
    def test_go_on(self, tmp_path, writer, clock, there):
        """Another process goes on with the file, or makes it, and writes first what was held back."""
        writer.scalar("loss", 1.0, 0)
        _, held = writer.position()
        if there:
            writer.flush()
        other = EventFileWriter(writer.folder, run="0af3", clock=clock)
        other.go_on(writer.path if there else None, held)
        other.scalar("loss", 1.0, 1)
        length = other.position()[0]
        other.close()

        assert ([0, 0, 1] if there else [0, 1]) == [event.step for event in events(other.path)[2:]]
        assert (len(held) if there else 0) == length
        assert there == (other.path == writer.path)

    @given(cut=st.integers(0, 300), damaged=st.integers(0, 400))
    def test_whole_records(self, tmp_path_factory, cut, damaged):
        """The length of the whole records is found in a torn file, and up to a length that was damaged."""
        writer = EventFileWriter(tmp_path_factory.mktemp("run"), run="0af3", clock=HandClock())
        for step in range(4):
            writer.scalar("loss", 1.0, step + 1)
        writer.close()
        data = bytearray(writer.path.read_bytes())
        one = (len(data) - HEAD_BYTES) // 4
        ends = [0, 40, HEAD_BYTES, *(HEAD_BYTES + one * number for number in range(1, 5))]
        frames = [range(end, end + 12) for end in ends[:-1]]
        if any(damaged in frame for frame in frames):
            data[damaged] ^= 1
        size = max(0, len(data) - cut)
        writer.path.write_bytes(data[:size])

        intact = next((end for end, frame in zip(ends, frames, strict=False) if damaged in frame), len(data))
        assert max(end for end in ends if end <= min(size, intact)) == whole_records(writer.path)


class TestScalar:
    def test_read_back(self, writer, clock):
        """TensorBoard reads every tag, step, value and time that was written."""
        for step in range(5):
            clock.now += 1
            writer.scalar("epoch_loss", 1 / (step + 1), step)
            writer.scalar("epoch_accuracy", 0.5, step)
        writer.close()

        read = accumulated(writer.folder)

        assert ["epoch_loss", "epoch_accuracy"] == read.Tags()["scalars"]
        assert [(1_700_000_001.0 + step, step, float(np.float32(1 / (step + 1)))) for step in range(5)] == [
            (event.wall_time, event.step, event.value) for event in read.Scalars("epoch_loss")
        ]

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            (math.inf, math.inf),
            (-math.inf, -math.inf),
            (1e300, math.inf),
            (-1e300, -math.inf),
            (1e-300, 0.0),
            (np.float32(0.25), 0.25),
            (3, 3.0),
        ],
    )
    def test_any_number(self, writer, value, expected):
        """Infinities are written as they are; what 32 bits cannot hold becomes one."""
        writer.scalar("loss", value, 0)
        writer.close()

        assert expected == accumulated(writer.folder).Scalars("loss")[0].value

    def test_nan(self, writer):
        """NaN is written as it is."""
        writer.scalar("loss", math.nan, 0)
        writer.close()

        assert math.isnan(accumulated(writer.folder).Scalars("loss")[0].value)

    @given(tag=st.text(), step=st.integers(-(2**63), 2**63 - 1))
    def test_any_tag_and_step(self, tmp_path_factory, tag, step):
        """Every text is a tag and every 64-bit number a step."""
        writer = EventFileWriter(tmp_path_factory.mktemp("run"), clock=HandClock())
        writer.scalar(tag, 1.0, step)
        writer.close()

        event = events(writer.path)[1]

        assert (tag, step) == (event.summary.value[0].tag, event.step)

    def test_wire_format(self, writer, clock):
        """A record is what protobuf itself makes of the same event, framed."""
        writer.scalar("epoch_loss", 0.75, 300)
        writer.close()
        event = event_pb2.Event(wall_time=clock.now, step=300)
        event.summary.value.add(tag="epoch_loss", simple_value=0.75)
        data = event.SerializeToString()

        record = writer.path.read_bytes()[-len(data) - 16 :]

        assert (len(data), data) == (struct.unpack("<Q", record[:8])[0], record[12:-4])


class TestHistogram:
    def test_read_back(self, writer):
        """TensorBoard reads 30 equal buckets from the least to the greatest value, and the moments."""
        values = np.random.default_rng(0).normal(size=(50, 20)).astype(np.float32)
        writer.histogram("weights/histogram", values, 7)
        writer.close()

        event = accumulated(writer.folder).Histograms("weights/histogram")[0]
        counts, edges = np.histogram(values.astype(np.float64), bins=30)
        read = event.histogram_value

        assert (7, 1000.0, values.min(), values.max()) == (event.step, read.num, read.min, read.max)
        assert counts.tolist() == read.bucket
        assert pytest.approx(edges[1:].tolist()) == read.bucket_limit
        assert pytest.approx(values.sum(dtype=np.float64)) == read.sum
        assert pytest.approx(np.square(values, dtype=np.float64).sum()) == read.sum_squares

    def test_by_todays_plugin(self, writer):
        """The plugin of today's TensorBoard takes the buckets as left edge, right edge and count."""
        writer.histogram("weights/histogram", np.arange(31), 0)
        writer.close()

        ((tag, plugin, buckets),) = modern(writer.path)

        assert ("weights/histogram", "histograms", (30, 3)) == (tag, plugin, buckets.shape)
        assert [[0.0, 1.0, 1.0], [29.0, 30.0, 2.0]] == [buckets[0].tolist(), buckets[-1].tolist()]

    def test_constant(self, writer):
        """Equal values share one bucket of no width."""
        writer.histogram("weights/histogram", np.full(12, 0.5), 0)
        writer.close()

        assert [[0.5, 0.5, 12.0]] == modern(writer.path)[0][2].tolist()
        assert 6.0 == accumulated(writer.folder).Histograms("weights/histogram")[0].histogram_value.sum

    @pytest.mark.parametrize("values", [np.zeros((0, 3)), np.array([math.nan, math.inf, -math.inf, 1e300])])
    def test_nothing_to_count(self, writer, values):
        """Without a finite value the histogram is there, and empty."""
        writer.histogram("weights/histogram", values, 0)
        writer.close()

        assert (0, 3) == modern(writer.path)[0][2].shape
        assert 0 == accumulated(writer.folder).Histograms("weights/histogram")[0].histogram_value.num

    def test_nan_left_out(self, writer):
        """NaN and infinities are left out; the rest is counted."""
        writer.histogram("weights/histogram", np.array([math.nan, 1.0, math.inf, 2.0]), 0)
        writer.close()

        read = accumulated(writer.folder).Histograms("weights/histogram")[0].histogram_value

        assert (2.0, 1.0, 2.0, 3.0, 5.0) == (read.num, read.min, read.max, read.sum, read.sum_squares)

    @pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.uint64, np.float16, np.float32])
    def test_any_numbers(self, writer, dtype):
        """Numbers of any kind are counted."""
        writer.histogram("weights/histogram", np.array([0, 1, 1], dtype=dtype), 0)
        writer.close()

        read = accumulated(writer.folder).Histograms("weights/histogram")[0].histogram_value

        assert (3.0, 0.0, 1.0, 2.0) == (read.num, read.min, read.max, read.sum)

    @given(values=arrays(np.float64, array_shapes(max_side=5), elements=st.floats(width=64)))
    def test_every_value_counted_once(self, tmp_path_factory, values):
        """Whatever the values, every one that 32 bits can hold is counted, in ascending buckets."""
        writer = EventFileWriter(tmp_path_factory.mktemp("run"), clock=HandClock())
        writer.histogram("weights/histogram", values, 0)
        writer.close()

        histogram = events(writer.path)[1].summary.value[0].histo
        countable = np.abs(values) <= np.finfo(np.float32).max
        assert countable.sum() == histogram.num == sum(histogram.bucket)
        assert sorted(histogram.bucket_limit) == list(histogram.bucket_limit)


class TestImage:
    @pytest.mark.parametrize(("shape", "mode"), [((4, 5), "L"), ((4, 5, 1), "L"), ((4, 5, 3), "RGB"), ((4, 5, 4), "RGBA")])
    def test_read_back(self, writer, shape, mode):
        """Grey, RGB and RGBA pixels come back as they were, from a PNG that others can read."""
        pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        writer.image("weights/image", pixels, 3)
        writer.close()

        ((tag, plugin, (width, height, png)),) = modern(writer.path)
        image = Image.open(io.BytesIO(png))

        assert ("weights/image", "images", b"5", b"4", mode) == (tag, plugin, width, height, image.mode)
        assert np.array_equal(pixels.reshape(np.asarray(image).shape), np.asarray(image))

    def test_floats(self, writer):
        """Floats go from 0, black, to 1, white; what is beyond is clipped, and NaN is black."""
        writer.image("weights/image", np.array([[-3.0, 0.0, 0.5, 1.0, 7.0, math.nan, math.inf]]), 0)
        writer.close()

        png = modern(writer.path)[0][2][2]

        assert [[0, 0, 128, 255, 255, 0, 255]] == np.asarray(Image.open(io.BytesIO(png))).tolist()

    def test_integers(self, writer):
        """Integers are grey levels from 0 to 255; what is beyond is clipped."""
        writer.image("weights/image", np.array([[-1, 7, 300]]), 0)
        writer.close()

        png = modern(writer.path)[0][2][2]

        assert [[0, 7, 255]] == np.asarray(Image.open(io.BytesIO(png))).tolist()

    def test_stack(self, writer):
        """Of a stack the first three are shown under one tag."""
        writer.image("weights/image", np.arange(5, dtype=np.uint8).reshape(5, 1, 1, 1), 0)
        writer.close()

        pngs = modern(writer.path)[0][2][2:]

        assert [0, 1, 2] == [Image.open(io.BytesIO(png)).getpixel((0, 0)) for png in pngs]

    @pytest.mark.parametrize("shape", [(4,), (4, 5, 2), (1, 4, 5, 2), (0, 5), (1, 1, 4, 5, 3)])
    def test_no_image(self, writer, shape):
        """An array that is no image is refused, with its shape."""
        with pytest.raises(ArgumentError, match=r"Received: shape \(" + ", ".join(map(str, shape))):
            writer.image("weights/image", np.zeros(shape), 0)

        assert not Path(writer.folder).exists()


class TestGraph:
    def test_read_back(self, writer):
        """TensorBoard reads the graph of a run as it was given."""
        writer.graph(b"\n\x04\n\x02fc")
        writer.close()

        assert ["fc"] == [node.name for node in accumulated(writer.folder).Graph().node]

    def test_blob(self, writer):
        """A blob is what TensorFlow would write: one string, with its plugin and the plugin's version."""
        content = bytes(range(256))
        writer.blob("keras", content, 3, plugin="graph_keras_model")
        writer.close()

        event = events(writer.path)[1]
        value = event.summary.value[0]
        plugin = value.metadata.plugin_data

        assert (3, "keras", "graph_keras_model", b"1") == (event.step, value.tag, plugin.plugin_name, plugin.content)
        assert (content, ()) == (make_ndarray(value.tensor).item(), make_ndarray(value.tensor).shape)
