"""What is frozen is written as it was then, whatever training does meanwhile."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections import OrderedDict, deque
from pathlib import Path

import pytest
import torch
from torch import nn

import jalon
from jalon.engines.torch import host_copy, saving
from jalon.engines.torch.formats import SUFFIXES, read_checkpoint
from jalon.store.writer import BackgroundWriter

every_format = pytest.mark.parametrize("suffix", SUFFIXES)


def trained(*layers: nn.Module, features: int) -> jalon.Model:
    torch.manual_seed(0)
    model = jalon.Model(nn.Sequential(*layers)).compile("adam", loss="mse")
    model.fit(torch.ones(8, features), torch.ones(8, 1), verbose=0)
    return model


@pytest.fixture
def model() -> jalon.Model:
    return trained(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 1), features=5)


def tensors_of(model: jalon.Model) -> list[torch.Tensor]:
    moments = [value for state in model.optimizer_state()["optimizer"]["state"].values() for value in state.values()]
    return [*model.module.state_dict().values(), *moments]


@torch.no_grad()
def fill(model: jalon.Model, number: float) -> None:
    for value in tensors_of(model):
        value.fill_(number)


def numbers_in(path: Path) -> set[float]:
    """Return all the numbers that a full file's tensors hold."""
    checkpoint = read_checkpoint(path)
    moments = [value for state in checkpoint.optimizer["optimizer"]["state"].values() for value in state.values()]
    assert (4, 12) == (len(checkpoint.weights), len(moments))
    return {number for value in (*checkpoint.weights.values(), *moments) for number in value.flatten().tolist()}


def bits(value: torch.Tensor) -> tuple[torch.dtype, tuple[int, ...], bytes]:
    return value.dtype, tuple(value.shape), value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def test_weights_changed_after_freezing_never_reach_the_file(tmp_path, model, monkeypatch):
    """A thousand saves in the background, up to three at a time, hold what was there when each was asked for."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)  # what is on the disk when is not asked here
    writer = BackgroundWriter()
    waiting: deque[tuple[Path, int, object]] = deque()
    for number in range(1000):
        path = tmp_path / f"{number % 3}.safetensors"
        fill(model, number)
        waiting.append((path, number, writer.submit(saving.freeze(model, path, weights_only=False, about={}))))
        fill(model, -1)
        if len(waiting) == 3:
            path, expected, outcome = waiting.popleft()
            outcome.result()
            assert {expected} == numbers_in(path)


@every_format
def test_two_saves_in_flight_hold_what_each_was_asked_for(tmp_path, suffix, model):
    """A full save and one of the weights alone, frozen one after the other and written last first, do not mix."""
    fill(model, 1)
    full = saving.freeze(model, tmp_path / f"full{suffix}", weights_only=False, about={"epoch": 1})
    fill(model, 2)
    again = saving.freeze(model, tmp_path / f"again{suffix}", weights_only=False, about={"epoch": 2})
    fill(model, 3)
    weights = saving.freeze(model, tmp_path / f"weights{suffix}", weights_only=True, about={"epoch": 3})
    fill(model, 4)
    for write in (weights, again, full):
        write()

    assert {1.0} == numbers_in(tmp_path / f"full{suffix}")
    assert {2.0} == numbers_in(tmp_path / f"again{suffix}")
    alone = read_checkpoint(tmp_path / f"weights{suffix}")
    assert {3.0} == {number for value in alone.weights.values() for number in value.flatten().tolist()}
    assert (None, {"epoch": 3}) == (alone.optimizer, alone.about)


@every_format
def test_a_module_of_many_types_comes_back(tmp_path, suffix):
    """16-bit, integer, boolean, 0-d, empty, strided and tied tensors come back in order, bit for bit, save after save."""
    torch.manual_seed(0)
    module = nn.Linear(3, 3)
    module.tied = module.weight
    for name, value in OrderedDict(
        mask=torch.tensor([True, False, True]),
        bits16=torch.randn(5).to(torch.float16),
        brain16=torch.randn(5).to(torch.bfloat16),
        count=torch.tensor(7),
        empty=torch.empty(0, 3),
        bits64=torch.randn(3, dtype=torch.float64),
        strided=torch.randn(4, 6).T[::2],
    ).items():
        module.register_buffer(name, value)
    model = jalon.Model(module)
    for _ in range(3):
        module.bits16.add_(1)
        expected = [(name, bits(value)) for name, value in module.state_dict().items()]
        saving.freeze(model, tmp_path / f"net{suffix}", weights_only=True, about={})()

        assert expected == [(name, bits(value)) for name, value in read_checkpoint(tmp_path / f"net{suffix}").weights.items()]


@every_format
def test_what_is_written_at_once_is_what_a_copy_would_be(tmp_path, suffix, model):
    """A save that nobody changes the model during takes no copy, and gives the same file."""
    saving.freeze(model, tmp_path / f"copied{suffix}", weights_only=False, about={})()
    saving.write(model, tmp_path / f"direct{suffix}", weights_only=False)

    assert (tmp_path / f"copied{suffix}").read_bytes() == (tmp_path / f"direct{suffix}").read_bytes()


def test_memory_is_taken_once(tmp_path, model, monkeypatch):
    """Saves one after another, failed ones among them, are copied into the same memory; writing at once takes none."""
    asked = []
    make = host_copy._made
    monkeypatch.setattr(host_copy, "_made", lambda layout: [asked.append(layout), make(layout)][1])
    (tmp_path / "file").write_bytes(b"")
    for place in ("net.safetensors", "file/net.safetensors", "net.h5", "net.pt"):
        write = saving.freeze(model, tmp_path / place, weights_only=False, about={})
        if "/" in place:
            with pytest.raises(OSError, match="file"):
                write()
        else:
            write()
    saving.write(model, tmp_path / "net.safetensors", weights_only=False)

    assert 1 == len(asked)


def test_the_memory_goes_with_the_model(tmp_path):
    """A model that is gone leaves no copy behind."""
    gc.collect()
    before = len(saving._copies)
    model = trained(nn.Linear(5, 1), features=5)
    saving.freeze(model, tmp_path / "net.safetensors", weights_only=False, about={})()
    assert before + 1 == len(saving._copies)
    del model
    gc.collect()

    assert before == len(saving._copies)


AT_THE_END = """
import sys
from pathlib import Path
import torch
import jalon
from jalon.engines.torch import saving
from jalon.store.writer import WRITER

model = jalon.Model(torch.nn.Linear(1000, 1000))
for number in range(3):
    torch.nn.init.constant_(model.module.weight, number)
    WRITER.submit(saving.freeze(model, Path(sys.argv[1], f"{number}.safetensors"), weights_only=True, about={}))
"""


def test_what_is_not_written_when_the_program_ends_is_written_then(tmp_path):
    """A program that ends by itself waits for its saves, large ones with a checksum from another thread too."""
    done = subprocess.run([sys.executable, "-c", AT_THE_END, tmp_path], capture_output=True, text=True, check=True)

    assert "" == done.stderr
    assert [0.0, 1.0, 2.0] == [read_checkpoint(tmp_path / f"{one}.safetensors").weights["weight"].mean() for one in range(3)]
