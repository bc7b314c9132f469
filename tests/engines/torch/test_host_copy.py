"""What a copy on the host holds, and whose memory it takes."""

from __future__ import annotations

import math
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from jalon.engines.torch import host_copy
from jalon.engines.torch.host_copy import HostCopies, as_host_copy, layout_of

TYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2),
    *(torch.complex64, torch.complex128, torch.bool),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint64, torch.uint32, torch.uint16, torch.uint8),
]


def random_tensor(dtype: torch.dtype, *shape: int) -> torch.Tensor:
    if dtype is torch.bool:
        return torch.rand(shape) < 0.5
    return torch.randint(0, 256, (math.prod(shape) * dtype.itemsize,), dtype=torch.uint8).view(dtype).reshape(shape)


def bits(tensor: torch.Tensor) -> tuple[torch.dtype, tuple[int, ...], bytes]:
    values = torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor.detach())
    return tensor.dtype, tuple(tensor.shape), values.reshape(-1).view(torch.uint8).numpy().tobytes()


def every_kind() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    base = random_tensor(torch.float32, 6, 4)
    return {f"{dtype}.{shape}": random_tensor(dtype, *shape) for dtype in TYPES for shape in ((3, 5), (), (0,), (2, 0, 3))} | {
        "transposed": base.T,
        "strided": base[::2, 1:3],
        "expanded": torch.tensor([1.0]).expand(7),
        "one of many": base[:, :1][:1],
        "shared": base,
        "shared too": base,
        "conjugate": torch.tensor([1 + 2j, 3 - 4j]).conj(),
        "negative": torch.tensor([1 + 2j]).conj().imag,
        "parameter": nn.Parameter(torch.ones(2)),
    }


copied_or_not = pytest.mark.parametrize(
    "made", [HostCopies().of, lambda tensors: nullcontext(as_host_copy(tensors))], ids=["copied", "as it is"]
)


def places(copy: host_copy.HostCopy) -> set[int]:
    return {value.data_ptr() for value in copy.tensors.values()}


@copied_or_not
def test_every_kind_of_tensor_is_copied(made):
    """All types, 0-d, empty, strided, viewed and shared tensors are there with the same name, order, type, shape and bits."""
    tensors = every_kind()
    with made(tensors) as copy:
        assert [(name, bits(value)) for name, value in tensors.items()] == [(n, bits(value)) for n, value in copy.tensors.items()]
        assert {name: bits(value)[2] for name, value in tensors.items()} == {n: bytes(part) for n, part in copy.parts.items()}
        assert all(value.is_contiguous() and not value.requires_grad for value in copy.tensors.values())


@copied_or_not
def test_the_bytes_stand_by_width(made):
    """The bytes of the widest type come first, in the order of the tensors otherwise, without a gap: each lies where it may."""
    tensors = every_kind()
    order = sorted(tensors, key=lambda name: -tensors[name].element_size())
    with made(tensors) as copy:
        assert order == list(copy.layout.places) == list(copy.parts)
        assert b"".join(bits(tensors[name])[2] for name in order) == b"".join(copy.data)
        assert sum(value.nbytes for value in tensors.values()) == copy.layout.nbytes
        assert not any(copy.layout.places[name][0] % value.element_size() for name, value in tensors.items())


def test_a_copy_lies_in_one_piece():
    """A copy's bytes are one piece of memory, and its tensors are views of it that do not share their storage."""
    with HostCopies().of({"a": torch.ones(3), "b": torch.ones(5, dtype=torch.float64)}) as copy:
        assert [52] == [len(piece) for piece in copy.data]
        assert [12, 40] == [value.untyped_storage().nbytes() for value in copy.tensors.values()]
        copy.tensors["a"].zero_()
        assert bytes(12) == bytes(copy.data[0][40:])


def test_what_is_on_the_host_is_not_copied_to_be_written_at_once():
    """Without a copy, a contiguous tensor stays where it is."""
    value = torch.ones(3, requires_grad=True)

    assert value.data_ptr() == as_host_copy({"a": value}).tensors["a"].data_ptr()


def test_a_copy_does_not_change_with_what_was_copied():
    """What happens to a tensor later does not reach the copy."""
    value = torch.ones(1000)
    with HostCopies().of({"a": value}) as copy:
        value.zero_()

        assert 1000 == copy.tensors["a"].sum()


def test_memory_is_used_again():
    """Once a copy is not needed any more, the next one is made in its memory."""
    copies = HostCopies()
    with copies.of({"a": torch.ones(3)}) as first:
        pass
    with copies.of({"a": torch.zeros(3)}) as second:
        assert places(first) == places(second)
        assert 0 == second.tensors["a"].sum()


def test_memory_is_used_again_after_a_failed_write():
    """Whatever ended the write, the copy's memory is free."""
    copies = HostCopies()
    with pytest.raises(OSError, match="full"), copies.of({"a": torch.ones(3)}) as first:
        raise OSError("full")

    with copies.of({"a": torch.zeros(3)}) as second:
        assert places(first) == places(second)


def test_memory_of_a_copy_that_is_never_written_is_used_again():
    """A copy that gave way to a newer one leaves its memory to the next."""
    copies, weights = HostCopies(), {"weight": torch.ones(3)}
    first = copies.of(weights)
    place = first._copy.tensors["weight"].data_ptr()
    del first

    with copies.of(weights) as copy:
        assert place == copy.tensors["weight"].data_ptr()


def test_two_copies_at_a_time_have_their_own_memory():
    """While a copy is needed nobody else gets its memory, whether its block has been entered or not."""
    copies = HostCopies()
    waiting = copies.of({"a": torch.full((3,), 1.0)})
    with copies.of({"a": torch.full((3,), 2.0)}) as second, copies.of({"a": torch.full((3,), 3.0)}) as third, waiting as first:
        assert [3, 6, 9] == [copy.tensors["a"].sum() for copy in (first, second, third)]
        assert 3 == len(places(first) | places(second) | places(third))


def test_a_copy_is_handed_out_once():
    """A copy whose memory is free again cannot be read by mistake."""
    copied = HostCopies().of({"a": torch.ones(3)})
    with copied:
        pass

    with pytest.raises(RuntimeError, match="once"), copied:
        pass


def made_for(monkeypatch: pytest.MonkeyPatch) -> list[host_copy.Layout]:
    """Take down for which layouts memory is asked of the system."""
    asked: list[host_copy.Layout] = []
    make = host_copy._made
    monkeypatch.setattr(host_copy, "_made", lambda layout: [asked.append(layout), make(layout)][1])
    return asked


def test_two_layouts_in_turn_keep_their_memory(monkeypatch):
    """Weights alone and the whole state, saved in turn, are each copied into memory of their own that lasts."""
    asked, copies = made_for(monkeypatch), HostCopies()
    for _ in range(5):
        for tensors in ({"a": torch.ones(3)}, {"a": torch.ones(3), "b": torch.ones(1)}):
            with copies.of(tensors):
                pass

    assert 2 == len(asked)


def test_no_more_than_two_are_kept(monkeypatch):
    """Of copies that are free, the two used last keep their memory."""
    asked, copies = made_for(monkeypatch), HostCopies()
    for size in (1, 2, 3, 3, 2, 1):
        with copies.of({"a": torch.ones(size)}):
            pass

    assert [layout_of({"a": torch.ones(size)}) for size in (1, 2, 3, 1)] == asked


def test_memory_that_nobody_needs_is_given_up(monkeypatch):
    """A copy of a layout that does not come back is not kept for ever."""
    asked, copies = made_for(monkeypatch), HostCopies()
    for size in (1, *[2] * 66, 1):
        with copies.of({"a": torch.ones(size)}):
            pass

    assert [layout_of({"a": torch.ones(size)}) for size in (1, 2, 1)] == asked


def test_a_copy_of_nothing_is_empty():
    """A model without weights is copied too."""
    with HostCopies().of({}) as copy:
        assert ({}, 0) == (copy.tensors, sum(map(len, copy.data)))


def test_memory_taken_in_inference_mode_serves_outside_of_it():
    """A first copy made in inference mode does not spoil the next one."""
    copies = HostCopies()
    with torch.inference_mode(), copies.of({"a": torch.ones(3)}):
        pass
    with copies.of({"a": torch.zeros(3)}) as copy:
        assert 0 == copy.tensors["a"].sum()
