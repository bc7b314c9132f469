"""Event files of every writer, read as TensorBoard reads them, and as they grow."""

from __future__ import annotations

import math
import struct
import tracemalloc

import numpy as np
import pytest
from crc32c import crc32c
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2
from tensorboard.util.tensor_util import make_ndarray, make_tensor_proto

from jalon.callbacks import EarlyStopping, TensorBoard
from jalon.sinks.tfevents import EventFileWriter, head
from jalon.store import event_records
from jalon.store.event_records import DamagedRecord, EventFile, Point, Restart, TornRecord, event_files, points, runs
from jalon.testing import play

VALUES = [0.0, 1.0, -2.5, 1e-30, math.inf, -math.inf, 3.4e38]
STEPS = [0, 1, 127, 128, 300, 2**40, -1]


def by_tensorboard(path):
    """The scalars of a file, as TensorBoard's own loader has them."""
    found = []
    for event in EventFileLoader(str(path)).Load():
        for value in event.summary.value:
            if value.tensor.dtype not in (0, 7) and not value.tensor.tensor_shape.dim:
                found.append((value.tag, event.step, event.wall_time, make_ndarray(value.tensor).item()))
    return found


def record(data):
    def masked(of):
        crc = crc32c(of)
        return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)

    length = struct.pack("<Q", len(data))
    return length + masked(length) + data + masked(data)


def write(path, *events):
    path.write_bytes(b"".join(record(event.SerializeToString()) for event in events))
    return path


def scalar(tag, value, step=0):
    return event_pb2.Event(
        wall_time=5.0, step=step, summary=summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag=tag, simple_value=value)])
    )


def tensor(tag, proto, step=0):
    return event_pb2.Event(step=step, summary=summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag=tag, tensor=proto)]))


# ---- writers ---------------------------------------------------------------------------------------------------------


def test_files_of_jalon(tmp_path):
    """Tags, steps, times and values of jalon's own files are those that TensorBoard reads, whatever else is in them."""
    writer = EventFileWriter(tmp_path)
    for step in STEPS:
        for place, value in enumerate(VALUES):
            writer.scalar(f"tag {place} ü", value, step)
        writer.histogram("histogram", np.arange(5.0), step)
        writer.image("image", np.ones((2, 2)), step)
    writer.close()

    assert by_tensorboard(writer.path) == list(points(writer.path))
    assert len(STEPS) * len(VALUES) == len(list(points(tmp_path)))


def test_files_of_torch(tmp_path):
    """Files of PyTorch's writer, which leaves out a step of 0."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path), max_queue=1) as writer:
        for step in [0, 1, 500]:
            writer.add_scalar("loss/train", step / 3, step)
            writer.add_scalar("new style", step / 7, step, new_style=True)
            writer.add_text("text", "words", step)
        writer.add_scalar("double", 0.1, 3, new_style=True, double_precision=True)
    (path,) = tmp_path.iterdir()

    assert by_tensorboard(path) == list(points(path))
    assert 7 == len(list(points(path)))


def test_files_of_tensorflow(tmp_path):
    """Files of TensorFlow's writer, whose scalars are tensors."""
    import tensorflow as tf

    writer = tf.summary.create_file_writer(str(tmp_path))
    with writer.as_default():
        for step in [0, 1, 500]:
            tf.summary.scalar("epoch_loss", step / 3, step=step)
            tf.summary.scalar("zero", 0.0, step=step)
            tf.summary.text("text", "words", step=step)
            tf.summary.histogram("histogram", [1.0, 2.0], step=step)
    writer.close()
    (path,) = tmp_path.iterdir()

    assert by_tensorboard(path) == list(points(path))
    assert 6 == len(list(points(path)))


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "bool", "bfloat16"])
def test_tensors_of_every_type(tmp_path, dtype):
    """A tensor without dimensions is a scalar, whatever its type and however its value is packed."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    array = np.array(1, ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    types = {"bfloat16": 14, "u4": 22, "u8": 23}
    protos = [] if dtype in types else [make_tensor_proto(array)]
    number = types[dtype] if dtype in types else protos[0].dtype
    protos.append(tensor_pb2.TensorProto(dtype=number, tensor_content=array.tobytes()))
    path = write(tmp_path / "events.out.tfevents.1", *(tensor("x", proto, step) for step, proto in enumerate(protos)))

    assert [("x", step, 0.0, 1.0) for step in range(len(protos))] == list(points(path))


def test_what_is_no_scalar(tmp_path):
    """Tensors with dimensions, texts, and records that are no events are passed over."""
    path = write(
        tmp_path / "events.out.tfevents.1",
        tensor("row", make_tensor_proto(np.array([1.0]))),
        tensor("text", make_tensor_proto("words")),
        scalar("loss", 1.0),
    )
    with open(path, "ab") as file:
        file.write(record(b"\xff" * 30) + record(b"") + record(scalar("loss", 2.0).SerializeToString()))

    assert [1.0, 2.0] == [point.value for point in points(path)]


def test_curves_that_look_alike(tmp_path):
    """Tags of one length, values that look like tags, and several values in a record are told apart."""
    tricky = [struct.unpack("<f", text)[0] for text in (b"loss", b"accy", b"\x15\x15\x15\x15", b"\x0a\x04lo")]
    both = scalar("loss", 1.0, 3)
    both.summary.value.add(tag="accy", simple_value=2.0)
    events = [scalar(tag, value, step) for step in (0, 200) for tag in ("loss", "accy", "") for value in tricky]
    path = write(tmp_path / "events.out.tfevents.1", *events, both, *events)

    assert by_tensorboard(path) == list(points(path))
    assert 2 * len(events) + 2 == len(list(points(path)))


def test_fields_in_any_order(tmp_path):
    """An event whose fields stand in another order than writers put them, which protobuf allows, says the same."""
    path = tmp_path / "events.out.tfevents.1"
    parts = [event_pb2.Event(wall_time=5.0), scalar("loss", 0.5), event_pb2.Event(step=300), event_pb2.Event(step=400)]
    time, summary, first, second = (part.SerializeToString() for part in parts)
    summary = summary[9:]  # without the time that stands before it
    orders = [(time, summary, first), (time, summary, second), (summary, first, time), (second, summary, time), (summary, time)]
    path.write_bytes(b"".join(record(b"".join(order)) for order in 2 * orders))

    assert 2 * [300, 400, 300, 400, 0] == [point.step for point in points(path)]
    assert {("loss", 5.0, 0.5)} == {(point.tag, point.wall_time, point.value) for point in points(path)}


def test_an_event_that_does_not_begin_with_its_time(tmp_path):
    """Where something else of the same length stands in the place of the time, it is not taken for the time."""
    usual = scalar("loss", 0.5, 7).SerializeToString()
    path = tmp_path / "events.out.tfevents.1"
    path.write_bytes(record(usual) + record(b"\x79" + usual[1:]))

    assert [5.0, 0.0] == [point.wall_time for point in points(path)]


# ---- files that grow, and files that end -----------------------------------------------------------------------------


def test_a_file_cut_anywhere(tmp_path):
    """Wherever a file ends, the whole records before that are read; the rest, once it is there."""
    whole = write(tmp_path / "whole", *(scalar("loss", step, step) for step in (1, 2, 3))).read_bytes()
    size = len(whole) // 3
    path = tmp_path / "events.out.tfevents.1"
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        file = EventFile(path)
        before = [point.step for point in file.points()]
        path.write_bytes(whole)

        assert [1, 2, 3][: cut // size] == before
        assert [1, 2, 3][cut // size :] == [point.step for point in file.points()]


def test_torn_and_damaged_are_told_apart(tmp_path):
    """Whoever reads records is told whether a file ends too early, or a record is not what was written."""
    path = write(tmp_path / "events.out.tfevents.1", scalar("loss", 1.0), scalar("loss", 2.0))
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(TornRecord):
        list(EventFile(path).records())
    for place, what in ((-6, "its checksum"), (len(content) // 2 + 1, "the checksum of its length")):
        changed = bytearray(content)
        changed[place] ^= 1
        path.write_bytes(changed)
        with pytest.raises(DamagedRecord, match=f"byte {len(content) // 2} does not have {what}"):
            list(EventFile(path).records())

        assert [1.0] == [point.value for point in points(path)]


def test_a_file_that_is_not_there_yet(tmp_path):
    """A file can be waited for; who asks for its points once is told that it is not there."""
    file = EventFile(tmp_path / "events.out.tfevents.1")

    assert [] == list(file.points())
    write(file.path, scalar("loss", 1.0))
    assert [1.0] == [point.value for point in file.points()]
    with pytest.raises(FileNotFoundError):
        list(points(tmp_path / "events.out.tfevents.2"))


def test_a_file_that_was_cut_back(tmp_path):
    """A file that has become shorter is read anew, and that is said first."""
    path = write(tmp_path / "events.out.tfevents.1", scalar("loss", 1.0), scalar("loss", 2.0))
    file = EventFile(path)
    list(file.points())
    write(path, scalar("loss", 3.0))

    assert [Restart(0, 0.0, of_file=True), Point("loss", 0, 5.0, 3.0)] == list(file.points())


def test_large_records(tmp_path, monkeypatch):
    """Records that do not fit a chunk are read; those above the limit are checked and passed over, in bounded memory."""
    monkeypatch.setattr(event_records, "CHUNK_BYTES", 100)
    monkeypatch.setattr(event_records, "LARGEST_BYTES", 10_000)
    texts = [tensor("text", make_tensor_proto("x" * size)) for size in (5_000, 3_000_000)]
    path = write(tmp_path / "events.out.tfevents.1", texts[0], scalar("loss", 1.0), texts[1], *[scalar("loss", 2.0)] * 50)
    tracemalloc.start()
    found = list(points(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert [1.0] + [2.0] * 50 == [point.value for point in found]
    assert 500_000 > peak
    assert [0, 1] == [len(data) == 0 for data in EventFile(path).records()][1:3]
    changed = bytearray(path.read_bytes())
    changed[2_000_000] ^= 1
    path.write_bytes(changed)
    assert [1.0] == [point.value for point in points(path)]


def test_a_record_that_claims_to_be_larger_than_the_file(tmp_path):
    """A length beyond the end of the file is a torn record, and nothing is allocated for it."""
    path = write(tmp_path / "events.out.tfevents.1", scalar("loss", 1.0))
    with open(path, "ab") as file:
        head_of_endless = record(b"")[:12]
        length = struct.pack("<Q", 2**62)
        crc = crc32c(length)
        file.write(length + struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF) + head_of_endless)

    assert [1.0] == [point.value for point in points(path)]


# ---- folders ---------------------------------------------------------------------------------------------------------


def test_folders(tmp_path):
    """A folder's files are read in the order of their names; folders in it are runs of their own."""
    play([TensorBoard(tmp_path), EarlyStopping("loss")], [{"loss": 2.0, "val_loss": 3.0}, {"loss": 1.0, "val_loss": 4.0}])
    later = EventFileWriter(tmp_path / "train")
    later.scalar("epoch_loss", 0.5, 2)
    later.close()
    (tmp_path / "train" / "events.out.tfevents.1.profile-empty").touch()

    assert ["train", "validation"] == list(runs(tmp_path))
    assert event_files(tmp_path / "train") == runs(tmp_path)["train"]
    losses = [(point.step, point.value) for point in points(tmp_path / "train") if point.tag == "epoch_loss"]
    assert [(0, 2.0), (1, 1.0), (2, 0.5)] == losses
    assert [] == list(points(tmp_path))


def test_a_training_that_was_gone_on_with(tmp_path):
    """Where a later file begins all again, the earlier ones do not count."""
    for number, value in enumerate([1.0, 2.0], 1):
        path = tmp_path / f"events.out.tfevents.{number}.vm.1.0.run.v2"
        path.write_bytes(head(tmp_path, "run", 5.0) + record(scalar("loss", value).SerializeToString()))

    assert [2.0] == [point.value for point in points(tmp_path)]
    assert [Restart(0, 5.0), Point("loss", 0, 5.0, 2.0)] == list(EventFile(path).points())
