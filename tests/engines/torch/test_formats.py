"""What goes into a checkpoint comes back, bit for bit, and a damaged file is never taken for a whole one."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import pickle
import random
import resource
import threading
from collections import OrderedDict
from io import FileIO
from pathlib import Path
from typing import NoReturn

import h5py
import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from jalon.engines.torch import formats
from jalon.engines.torch.formats import SUFFIXES, Checkpoint, read_checkpoint, write_checkpoint
from jalon.errors import ArgumentError, CheckpointError

every_format = pytest.mark.parametrize("suffix", SUFFIXES)

TYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2),
    *(torch.complex64, torch.complex128, torch.bool),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint64, torch.uint32, torch.uint16, torch.uint8),
]


def raw(tensor: torch.Tensor) -> tuple[torch.dtype, tuple[int, ...], bytes]:
    values = torch.empty(tensor.numel(), dtype=tensor.dtype).copy_(tensor.detach().reshape(-1))
    return tensor.dtype, tuple(tensor.shape), values.view(torch.uint8).numpy().tobytes()


def raw_all(tensors: dict[str, torch.Tensor]) -> list[tuple[str, object]]:
    return [(name, raw(value)) for name, value in tensors.items()]


def random_tensor(dtype: torch.dtype, *shape: int) -> torch.Tensor:
    """Any bits at all: NaNs with a payload, subnormals, infinities."""
    if dtype is torch.bool:
        return torch.rand(shape) < 0.5
    count = math.prod(shape) * torch.zeros((), dtype=dtype).element_size()
    return torch.randint(0, 256, (count,), dtype=torch.uint8).view(dtype).reshape(shape)


def plain(value: object) -> object:
    """The state with each tensor as its bits, so that it can be compared by ``==``."""
    if isinstance(value, torch.Tensor):
        return raw(value)
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(plain(one) for one in value)
    return value


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(OrderedDict(zeta=nn.Linear(4, 3), norm=nn.BatchNorm1d(3), alpha=nn.Linear(3, 2)))


@pytest.fixture
def trained(net: nn.Module) -> tuple[nn.Module, torch.optim.Optimizer]:
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    net(torch.randn(5, 4)).sum().backward()
    optimizer.step()
    return net, optimizer


@every_format
def test_every_kind_of_tensor_comes_back(tmp_path, suffix):
    """All types, 0-d, empty, strided, viewed and shared tensors come back with the same name, order, type, shape and bits."""
    torch.manual_seed(1)
    base = random_tensor(torch.float32, 6, 4)
    weights = {f"{dtype}.{shape}": random_tensor(dtype, *shape) for dtype in TYPES for shape in ((3, 5), (), (0,), (2, 0, 3))}
    weights |= {
        "transposed": base.T,
        "strided": base[::2, 1:3],
        "expanded": torch.tensor([1.0]).expand(7),
        "shared": base,
        "shared.too": base,
        "shared.as.bits": base.view(torch.int32),
        "conjugate": torch.tensor([1 + 2j, 3 - 4j]).conj(),
        "negative": torch.tensor([1 + 2j]).conj().imag,
        "parameter": nn.Parameter(torch.ones(2)),
        "größe": torch.ones(1),
    }

    write_checkpoint(tmp_path / f"all{suffix}", Checkpoint(weights))
    back = read_checkpoint(tmp_path / f"all{suffix}")

    assert raw_all(weights) == raw_all(back.weights)
    assert back.optimizer is None
    assert not any(value.requires_grad for value in back.weights.values())


@every_format
def test_an_optimizer_goes_on_where_it_was(tmp_path, suffix, trained):
    """Read back into a new optimizer, the state gives the same next step."""
    net, optimizer = trained
    path = tmp_path / f"net{suffix}"
    write_checkpoint(path, Checkpoint(net.state_dict(), optimizer.state_dict(), {"epoch": 3}))
    x = torch.randn(5, 4)

    back = read_checkpoint(path)
    twin = nn.Sequential(OrderedDict(zeta=nn.Linear(4, 3), norm=nn.BatchNorm1d(3), alpha=nn.Linear(3, 2)))
    twin.load_state_dict(back.weights)
    twin_optimizer = torch.optim.Adam(twin.parameters())
    twin_optimizer.load_state_dict(back.optimizer)
    for module, one in ((net, optimizer), (twin, twin_optimizer)):
        one.zero_grad()
        module(x).sum().backward()
        one.step()

    assert plain(optimizer.state_dict()) == plain(twin_optimizer.state_dict())
    assert raw_all(net.state_dict()) == raw_all(twin.state_dict())


@every_format
def test_plain_data_of_an_optimizer_comes_back(tmp_path, suffix):
    """Numbers, texts, tuples, lists and keys of any of these come back with their type."""
    optimizer = {
        "state": {0: {"step": 7, "best": math.inf, "worst": -math.inf, "flag": True, "note": None}, 1: {}},
        "param_groups": [{"betas": (0.9, 0.999), "params": [0, 1], "lr": 1e-300, "name": "all", "tensor": torch.tensor(2.5)}],
        ("a", 1): {"dict": [[1, 2]], "tensor": "x", "a/b": torch.ones(1), "a": {"b": torch.zeros(2)}},
        "numpy": np.float64(0.1),
        "minus": -0.0,
    }

    write_checkpoint(tmp_path / f"odd{suffix}", Checkpoint({"w": torch.ones(1)}, optimizer))
    back = read_checkpoint(tmp_path / f"odd{suffix}").optimizer

    assert plain(optimizer) == plain(back)
    assert [bool, float, tuple, int] == [
        type(back["state"][0]["flag"]),
        type(back["numpy"]),
        type(back["param_groups"][0]["betas"]),
        type(next(iter(back["state"]))),
    ]
    assert math.copysign(1, back["minus"]) == -1


@every_format
def test_what_is_told_about_a_file_comes_back(tmp_path, suffix, net):
    """JSON values told with weights come back with them, in both kinds of file."""
    about = {"epoch": 3, "monitor": "val_loss", "value": 0.1 + 0.2, "nested": {"a": [1, None, True, "ü"]}}
    for optimizer in (None, {"state": {}, "param_groups": []}):
        write_checkpoint(tmp_path / f"net{suffix}", Checkpoint(net.state_dict(), optimizer, about))
        back = read_checkpoint(tmp_path / f"net{suffix}")

        assert about == back.about
        assert optimizer == back.optimizer


@every_format
def test_a_save_after_another_holds_the_new_values(tmp_path, suffix, trained):
    """A second file of the same layout, and one of another, hold what was given for them and nothing of the first."""
    net, optimizer = trained
    path = tmp_path / f"net{suffix}"
    for epoch in (1, 10, 100_000):
        with torch.no_grad():
            for value in net.parameters():
                value.add_(1)
        write_checkpoint(path, Checkpoint(net.state_dict(), optimizer.state_dict(), {"epoch": epoch}))
        assert raw_all(net.state_dict()) == raw_all(read_checkpoint(path).weights)
        assert {"epoch": epoch} == read_checkpoint(path).about
    write_checkpoint(path, Checkpoint({"other": torch.ones(3)}))

    assert [("other", raw(torch.ones(3)))] == raw_all(read_checkpoint(path).weights)


def test_torch_loads_weights_without_jalon(tmp_path, net):
    """A weights-only .pt is the plain state dict, also for ``weights_only=True``."""
    write_checkpoint(tmp_path / "net.pt", Checkpoint(net.state_dict(), about={"epoch": 3}))

    loaded = torch.load(tmp_path / "net.pt", weights_only=True)

    assert list(net.state_dict()) == list(loaded)
    net.load_state_dict(loaded)


def test_torch_loads_a_full_file_without_jalon(tmp_path, trained):
    """A full .pt has the keys of torch's own tutorials."""
    net, optimizer = trained
    write_checkpoint(tmp_path / "net.pt", Checkpoint(net.state_dict(), optimizer.state_dict(), {"epoch": 3}))

    loaded = torch.load(tmp_path / "net.pt", weights_only=True)

    assert ["model_state_dict", "optimizer_state_dict", "jalon"] == list(loaded)
    assert {"epoch": 3} == loaded["jalon"]["about"]
    net.load_state_dict(loaded["model_state_dict"])
    optimizer.load_state_dict(loaded["optimizer_state_dict"])


def test_safetensors_loads_weights_without_jalon(tmp_path, net):
    """A weights-only .safetensors holds the state dict and nothing else."""
    write_checkpoint(tmp_path / "net.safetensors", Checkpoint(net.state_dict(), about={"epoch": 3}))

    loaded = safetensors.torch.load_file(tmp_path / "net.safetensors")

    assert sorted(raw_all(net.state_dict())) == sorted(raw_all(loaded))
    net.load_state_dict(loaded)


def test_safetensors_finds_the_optimizer_under_its_prefix(tmp_path, trained):
    """In a full .safetensors the weights have their own names, and what else there is begins with ``jalon:``."""
    net, optimizer = trained
    write_checkpoint(tmp_path / "net.safetensors", Checkpoint(net.state_dict(), optimizer.state_dict()))

    loaded = safetensors.torch.load_file(tmp_path / "net.safetensors")

    assert sorted(net.state_dict()) == sorted(name for name in loaded if not name.startswith("jalon:"))
    assert torch.equal(loaded["jalon:optimizer/state/0/exp_avg"], optimizer.state_dict()["state"][0]["exp_avg"])


def test_safetensors_accepts_every_type(tmp_path):
    """The safetensors library reads a file with all types in it, whatever their order."""
    weights = {str(dtype): random_tensor(dtype, 3) for dtype in reversed(TYPES) if dtype is not torch.complex128}
    write_checkpoint(tmp_path / "all.safetensors", Checkpoint(weights))

    loaded = safetensors.torch.load_file(tmp_path / "all.safetensors")

    assert sorted(map(repr, raw_all(weights))) == sorted(map(repr, raw_all(loaded)))


def test_safetensors_places_each_type_where_it_may_lie(tmp_path):
    """Every tensor begins at a multiple of its type's size, so that the file can be mapped into memory."""
    weights = {str(dtype): random_tensor(dtype, 3) for dtype in reversed(TYPES)}
    write_checkpoint(tmp_path / "all.safetensors", Checkpoint(weights))
    data = (tmp_path / "all.safetensors").read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])

    assert size % 8 == 0
    assert not any(header[name]["data_offsets"][0] % value.element_size() for name, value in weights.items())


def test_h5py_reads_weights_without_jalon(tmp_path, net):
    """In a .h5 each weight is a dataset under its own name, readable by numpy."""
    write_checkpoint(tmp_path / "net.h5", Checkpoint({**net.state_dict(), "mask": torch.tensor([True, False])}))

    with h5py.File(tmp_path / "net.h5") as file:
        assert np.array_equal(net.zeta.weight.detach().numpy(), file["zeta.weight"][:])
        assert file["norm.num_batches_tracked"][()] == 0
        assert [True, False] == file["mask"][:].tolist()


def test_pt_holds_no_more_than_it_must(tmp_path):
    """A small view of a large tensor does not bring the large one into the file."""
    write_checkpoint(tmp_path / "view.pt", Checkpoint({"w": torch.zeros(1_000_000)[:10]}))

    assert (tmp_path / "view.pt").stat().st_size < 10_000


def test_plain_files_of_others_are_weights(tmp_path, net):
    """State dicts saved by torch, safetensors and h5py are read as weights with nothing told about them."""
    state = dict(net.state_dict())
    torch.save(net.state_dict(), tmp_path / "new.pt")
    torch.save(net.state_dict(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    safetensors.torch.save_file(state, tmp_path / "net.safetensors", metadata={"format": "pt"})
    with h5py.File(tmp_path / "net.h5", "w") as file:
        for name, value in state.items():
            file[name.replace(".", "/")] = value.numpy().astype(value.numpy().dtype.newbyteorder(">"))

    assert raw_all(state) == raw_all(read_checkpoint(tmp_path / "new.pt").weights)
    assert raw_all(state) == raw_all(read_checkpoint(tmp_path / "old.pt").weights)
    assert sorted(raw_all(state)) == sorted(raw_all(read_checkpoint(tmp_path / "net.safetensors").weights))
    back = read_checkpoint(tmp_path / "net.h5")
    assert sorted(raw_all(state)) == sorted(raw_all({name.replace("/", "."): one for name, one in back.weights.items()}))
    assert {} == back.about


def test_a_checkpoint_as_in_torchs_tutorials_is_read(tmp_path, trained):
    """A dict with ``model_state_dict`` and ``optimizer_state_dict`` by another hand gives both."""
    net, optimizer = trained
    content = {"epoch": 3, "model_state_dict": net.state_dict(), "optimizer_state_dict": optimizer.state_dict(), "loss": 0.4}
    torch.save(content, tmp_path / "theirs.pt")

    back = read_checkpoint(tmp_path / "theirs.pt")

    assert raw_all(net.state_dict()) == raw_all(back.weights)
    assert plain(optimizer.state_dict()) == plain(back.optimizer)


@every_format
def test_a_flipped_bit_is_noticed(tmp_path, suffix, trained):
    """With any one bit changed, the file is refused or, where the bit means nothing, read with the same content."""
    net, optimizer = trained
    path = tmp_path / f"net{suffix}"
    write_checkpoint(path, Checkpoint(net.state_dict(), optimizer.state_dict(), {"epoch": 3}))
    whole, content = path.read_bytes(), read_checkpoint(path)
    expected = (raw_all(content.weights), plain(content.optimizer), content.about)
    chance = random.Random(7)
    refused = 0
    for _ in range(150):
        damaged = bytearray(whole)
        damaged[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        try:
            back = read_checkpoint(path)
        except CheckpointError:
            refused += 1
        else:
            assert expected == (raw_all(back.weights), plain(back.optimizer), back.about)

    assert refused > 20


@every_format
@pytest.mark.parametrize("full", [False, True])
def test_one_changed_number_is_noticed(tmp_path, suffix, full, trained):
    """Where a single value of a tensor differs from what was saved, the file is refused as damaged."""
    net, optimizer = trained
    net.zeta.weight.data[1, 2] = 123.0
    path = tmp_path / f"net{suffix}"
    write_checkpoint(path, Checkpoint(net.state_dict(), optimizer.state_dict() if full else None))
    sought = np.float32(123.0).tobytes()
    whole = path.read_bytes()
    assert whole.count(sought) == 1
    path.write_bytes(whole.replace(sought, np.float32(124.0).tobytes()))

    with pytest.raises(CheckpointError, match="is damaged"):
        read_checkpoint(path)


def test_one_changed_number_in_a_plain_pt_is_noticed(tmp_path):
    """A state dict saved by torch alone carries checksums too, and they are looked at."""
    torch.save({"w": torch.tensor([1.0, 123.0])}, tmp_path / "net.pt")
    whole = (tmp_path / "net.pt").read_bytes()
    (tmp_path / "net.pt").write_bytes(whole.replace(np.float32(123.0).tobytes(), np.float32(124.0).tobytes()))

    with pytest.raises(CheckpointError, match=r"is damaged: .*data/0 in it does not have its checksum"):
        read_checkpoint(tmp_path / "net.pt")


@every_format
def test_a_truncated_file_is_refused(tmp_path, suffix, trained):
    """A file that ends early, anywhere, is refused with its name and a reason."""
    net, optimizer = trained
    path = tmp_path / f"net{suffix}"
    write_checkpoint(path, Checkpoint(net.state_dict(), optimizer.state_dict()))
    whole = path.read_bytes()
    for length in {0, 1, 8, 100, len(whole) // 2, len(whole) - 100, len(whole) - 1}:
        path.write_bytes(whole[:length])
        with pytest.raises(
            CheckpointError,
            match=f"net{suffix} (cannot be read: it is truncated, damaged or of another format|is damaged: its structure)",
        ):
            read_checkpoint(path)


@every_format
def test_a_missing_file_is_said_to_be_missing(tmp_path, suffix):
    """The message says that there is no such file."""
    with pytest.raises(CheckpointError, match="there is no such file"):
        read_checkpoint(tmp_path / f"nothing{suffix}")


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@every_format
def test_code_in_a_file_is_not_run(tmp_path, suffix):
    """A pickle that runs code is refused, under any suffix, and nothing of it has run."""
    canary = tmp_path / "canary"
    buffer = io.BytesIO()
    torch.save({"w": torch.ones(1), "evil": Evil(canary)}, buffer)
    for content in (buffer.getvalue(), pickle.dumps(Evil(canary))):
        (tmp_path / f"evil{suffix}").write_bytes(content)
        with pytest.raises(CheckpointError, match=f"evil{suffix} cannot be read"):
            read_checkpoint(tmp_path / f"evil{suffix}")

    assert not canary.exists()


def test_a_whole_module_is_refused_with_the_remedy(tmp_path, net):
    """A pickled module needs code to be read; the message says what to save instead."""
    torch.save(net, tmp_path / "module.pt")

    with pytest.raises(CheckpointError, match=r"asks to run torch\.nn\S+; .* Save module\.state_dict\(\)"):
        read_checkpoint(tmp_path / "module.pt")


@pytest.mark.parametrize("content", [torch.ones(3), [torch.ones(3)], {"epoch": 3, "w": torch.ones(3)}])
def test_a_pt_without_a_state_dict_is_refused(tmp_path, content):
    """What is not named tensors is refused, and it is said what it is."""
    torch.save(content, tmp_path / "other.pt")

    with pytest.raises(CheckpointError, match=r"other\.pt holds a .*, no state dict"):
        read_checkpoint(tmp_path / "other.pt")


def _soft_link(file: h5py.File) -> None:
    file["link"] = h5py.SoftLink("/w")


def _external_link(file: h5py.File) -> None:
    file["link"] = h5py.ExternalLink("other.h5", "/w")


def _external_data(file: h5py.File) -> None:
    file.create_dataset("link", (4,), "u1", external=[("/etc/hostname", 0, 4)])


def _virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((2,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "w", (2,))
    file.create_virtual_dataset("link", layout)


def _loop(file: h5py.File) -> None:
    file["link"] = file["/"]


def _text(file: h5py.File) -> None:
    file["link"] = "text of any length"


def _named_type(file: h5py.File) -> None:
    file["link"] = np.dtype("f8")


def _bomb(file: h5py.File) -> None:
    file.create_dataset("link", (1 << 36,), "u1", chunks=(1 << 20,), compression="gzip")


@pytest.mark.parametrize("put", [_soft_link, _external_link, _external_data, _virtual, _loop, _text, _named_type, _bomb])
def test_an_h5_with_more_than_arrays_is_refused(tmp_path, put):
    """Links, data kept elsewhere, texts, loops and arrays that are larger than the file are refused by name."""
    with h5py.File(tmp_path / "evil.h5", "w") as file:
        file["w"] = np.ones(2, "f4")
        put(file)

    with pytest.raises(CheckpointError, match=r"evil\.h5 is refused: 'link' "):
        read_checkpoint(tmp_path / "evil.h5")


def test_tensors_under_each_others_names_are_noticed(tmp_path):
    """Two tensors of the same shape whose names were exchanged in the file are not taken for the right ones."""
    path = tmp_path / "net.safetensors"
    write_checkpoint(path, Checkpoint({"aa": torch.zeros(2), "bb": torch.ones(2)}))
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header["aa"], header["bb"] = header["bb"], header["aa"]
    path.write_bytes(data[:8] + json.dumps(header).encode().ljust(size) + data[8 + size :])

    with pytest.raises(CheckpointError, match="is damaged"):
        read_checkpoint(path)


def test_a_newer_format_is_said_to_be_newer(tmp_path):
    """A file of a later version of the format is refused with both versions, not called damaged."""
    path = tmp_path / "net.safetensors"
    write_checkpoint(path, Checkpoint({"w": torch.zeros(2)}))
    path.write_bytes(path.read_bytes().replace(rb"{\"format\": 1,", rb"{\"format\": 9,"))

    with pytest.raises(CheckpointError, match=r"newer jalon \(format 9; this one reads 1\)"):
        read_checkpoint(path)


@every_format
@pytest.mark.parametrize(
    ("checkpoint", "message"),
    [
        (Checkpoint({"w": torch.ones(2).to_sparse()}), "'w' cannot be saved: it is a torch.sparse_coo tensor"),
        (Checkpoint({"w": torch.ones(2, device="meta")}), "'w' cannot be saved"),
        (Checkpoint({"w._extra_state": {"a": 1}}), "'w._extra_state' cannot be saved: it is a dict"),
        (Checkpoint({"jalon:w": torch.ones(2)}), "begin with 'jalon:' are jalon's own"),
        (Checkpoint({}, {"state": {"closure": print}}), "optimizer/state/closure' cannot be saved: it is a builtin"),
        (Checkpoint({}, about={"when": Path()}), "must be JSON values"),
    ],
)
def test_what_cannot_be_saved_is_refused_by_name(tmp_path, suffix, checkpoint, message):
    """Something that is neither a dense tensor nor plain data is refused, and no file is written."""
    with pytest.raises(ArgumentError, match=message):
        write_checkpoint(tmp_path / f"bad{suffix}", checkpoint)

    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("names", [("a", "a/b"), ("a//b",), ("./a",), ("a\0b",), ("",)])
def test_a_name_that_hdf5_cannot_have_is_refused(tmp_path, names):
    """Where HDF5 would change or refuse a name, the message says which format to take instead."""
    with pytest.raises(ArgumentError, match=r"cannot be saved as \.h5: .*Save as \.safetensors or \.pt"):
        write_checkpoint(tmp_path / "net.h5", Checkpoint(dict.fromkeys(names, torch.ones(1))))


@pytest.mark.parametrize("act", [lambda path: write_checkpoint(path, Checkpoint({})), read_checkpoint])
def test_an_unknown_suffix_names_the_known_ones(tmp_path, act):
    """Another suffix is refused, and the message lists those there are."""
    with pytest.raises(ArgumentError, match=r"one of \.safetensors, \.h5, \.pt\. Received: '.*model\.keras'"):
        act(tmp_path / "model.keras")


LARGE = 9_000_000
"""So many float32 are written in several pieces, and their checksum comes from another thread."""


@every_format
@pytest.mark.parametrize("count", [100_000, LARGE])
def test_a_full_disk_is_an_os_error_and_leaves_the_old_file(tmp_path, suffix, count):
    """Where the disk takes no more, the system's own error comes out and the old checkpoint still loads."""
    path = tmp_path / f"net{suffix}"
    write_checkpoint(path, Checkpoint({"w": torch.ones(10)}))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count * 2, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_checkpoint(path, Checkpoint({"w": torch.zeros(count)}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert [("w", raw(torch.ones(10)))] == raw_all(read_checkpoint(path).weights)
    assert [path] == list(tmp_path.iterdir())
    assert not [thread for thread in threading.enumerate() if thread.name == "jalon-digest"]


@every_format
@pytest.mark.parametrize("count", [10, LARGE])
def test_a_failed_checksum_leaves_the_old_file(tmp_path, suffix, count, monkeypatch):
    """What goes wrong while the checksum is computed comes out of the save, and the old checkpoint still loads."""
    path = tmp_path / f"net{suffix}"
    write_checkpoint(path, Checkpoint({"w": torch.ones(10)}))
    with monkeypatch.context() as broken:
        broken.setattr(formats, "_sha256", lambda *_: _raise(MemoryError("no room for a checksum")))
        with pytest.raises(MemoryError, match="checksum"):
            write_checkpoint(path, Checkpoint({"w": torch.zeros(count)}))

    assert [("w", raw(torch.ones(10)))] == raw_all(read_checkpoint(path).weights)
    assert [path] == list(tmp_path.iterdir())


def _raise(exc: BaseException) -> NoReturn:
    raise exc


@every_format
@pytest.mark.parametrize("threads", [True, False])
def test_large_files_come_back(tmp_path, suffix, threads, monkeypatch):
    """What is written in many pieces comes back, also where no other thread is to be had for the checksum."""
    weights = {"a": torch.arange(LARGE, dtype=torch.float32), "b": torch.ones(3, dtype=torch.float64), "c": torch.ones(600_000)}
    if not threads:
        monkeypatch.setattr(threading.Thread, "start", lambda _: _raise(RuntimeError("can't start new thread")))
    write_checkpoint(tmp_path / f"net{suffix}", Checkpoint(weights, about={"epoch": 3}))
    back = read_checkpoint(tmp_path / f"net{suffix}")

    assert {"epoch": 3} == back.about
    assert list(weights) == list(back.weights)
    assert all(torch.equal(value, back.weights[name]) for name, value in weights.items())


@every_format
def test_a_flipped_bit_in_a_large_file_is_noticed(tmp_path, suffix):
    """The checksum that was computed beside the write covers every piece."""
    path = tmp_path / f"net{suffix}"
    write_checkpoint(path, Checkpoint({"a": torch.zeros(LARGE), "b": torch.zeros(3, dtype=torch.int8)}))
    size = path.stat().st_size
    with open(path, "r+b", buffering=0) as file:
        for place in (size // 2, size - LARGE, LARGE):
            flip(file, place)
            with pytest.raises(CheckpointError, match="is damaged"):
                read_checkpoint(path)
            flip(file, place)

    assert not read_checkpoint(path).weights["a"].any()


def flip(file: FileIO, place: int) -> None:
    file.seek(place)
    one = file.read(1)[0]
    file.seek(place)
    file.write(bytes([one ^ 4]))


@pytest.mark.parametrize("count", [10, LARGE])
def test_the_checksum_is_that_of_text_and_data_section(tmp_path, count):
    """Whoever has the text and what follows the header of a .safetensors can check the file without jalon."""
    path = tmp_path / "net.safetensors"
    weights = {"narrow": torch.ones(3, dtype=torch.int8), "ü": torch.rand(count), "wide": torch.ones(2, dtype=torch.float64)}
    write_checkpoint(path, Checkpoint(weights, {"lr": math.inf}, {"epoch": 3}))
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    note = json.loads(data[8 : 8 + size])["__metadata__"]

    assert hashlib.sha256(note["jalon"].encode() + data[8 + size :]).hexdigest() == note["sha256"]


def test_the_description_is_json_as_documented(tmp_path):
    """The text says format, what was told, the optimizer's state and every tensor's type and shape, in this order."""
    path = tmp_path / "net.safetensors"
    write_checkpoint(path, Checkpoint({"w": torch.ones(1, 2)}, {"betas": (0.9, 1), "m": torch.ones(())}, {"epoch": 3}))
    data = path.read_bytes()
    text = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]["jalon"]

    optimizer = {"dict": [["betas", {"tuple": [0.9, 1]}], ["m", {"tensor": "jalon:optimizer/m"}]]}
    tensors = {"w": ["float32", [1, 2]], "jalon:optimizer/m": ["float32", []]}
    assert json.dumps({"format": 1, "about": {"epoch": 3}, "optimizer": optimizer, "tensors": tensors}) == text
