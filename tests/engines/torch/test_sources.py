"""A source of batches goes on where another one like it was asked for its place."""

from __future__ import annotations

import random
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Sampler, TensorDataset

from jalon.engines.torch.randomness import load_own_state, own_state
from jalon.engines.torch.sources import ArraySource, CappedSource, LoaderSource
from jalon.errors import CheckpointMismatch, DataError
from jalon.store.plain import decode, encode

CPU = torch.device("cpu")


def in_memory(rows=10, batch_size=3, *, seed=0, shuffle=True):
    data = torch.arange(rows), torch.arange(rows) * 2
    generator = torch.Generator().manual_seed(seed) if shuffle else None
    return ArraySource(data, batch_size=batch_size, generator=generator, device=CPU)


def of_loader(batches, *, seed=0):
    """Return a source over a loader, as in a program whose random numbers begin with a seed."""
    torch.manual_seed(seed)
    return LoaderSource(batches, convert=lambda item: tuple(item) if isinstance(item, (list, tuple)) else (item,))


def loader(rows=10, batch_size=3, **given):
    return DataLoader(TensorDataset(torch.arange(rows)), batch_size, **given)


def read(source, batches):
    """Read so many batches over as many epochs as it takes, and return each batch's rows; the last epoch stays open."""
    found, epoch = [], None
    while len(found) < batches:
        epoch = source.epoch() if epoch is None else epoch
        batch = next(epoch, None)
        if batch is None:
            epoch = None
        else:
            found.append(batch[0].tolist())
    return found, epoch


def goes_on(make, read_before, read_after):
    """Assert that a source whose random numbers began in another way goes on as the one that was read on did."""
    one, other = make(seed=1), make(seed=2)
    _, epoch = read(one, read_before)
    state = decode(encode(one.state_dict()))
    now = torch.get_rng_state()
    expected = [batch[0].tolist() for batch in epoch] if epoch is not None else []
    expected += read(one, read_after)[0]
    told = other.load_state_dict(state)
    torch.set_rng_state(now)

    assert state["done"] == other.done
    actual = [batch[0].tolist() for batch in other.epoch()] if epoch is not None else []
    assert expected == actual + read(other, read_after)[0]
    return told


@given(st.integers(1, 12), st.integers(1, 5), st.integers(0, 15), st.booleans())
def test_arrays_are_read_on(rows, batch_size, read_before, shuffle):
    """Arrays go on at any batch of any epoch, in the order of that epoch, and in that of the next ones after it."""
    assert 0 == goes_on(lambda seed: in_memory(rows, batch_size, seed=seed, shuffle=shuffle), read_before, 9)


@given(st.integers(1, 12), st.integers(1, 5), st.integers(1, 9), st.integers(0, 15))
def test_epochs_of_any_length_are_read_on(rows, batch_size, steps, read_before):
    """An epoch may be shorter or longer than a pass over the data; both are gone on with."""
    assert 0 == goes_on(lambda seed: CappedSource(in_memory(rows, batch_size, seed=seed), steps), read_before, 9)


@given(st.integers(1, 12), st.integers(1, 5), st.integers(0, 15))
def test_loaders_are_read_again(rows, batch_size, read_before):
    """A loader is read again up to its place in the pass under way, and no further."""
    passes = -(-rows // batch_size)
    told = goes_on(lambda seed: of_loader(loader(rows, batch_size, shuffle=True), seed=seed), read_before, 9)

    assert read_before % passes in (told, told % passes)


@given(st.integers(0, 9), st.booleans())
def test_generators_are_read_past(read_before, looked_at):
    """What a generator has yielded is left aside; what was looked at and not handed out is not."""
    source = of_loader(torch.tensor([number]) for number in range(30))
    if looked_at:
        assert [0] == source.first()[0].tolist()
    read(source, read_before)
    state = decode(encode(source.state_dict()))
    again = of_loader(torch.tensor([number]) for number in range(30))
    again.first()
    told = again.load_state_dict(state)

    assert told in (read_before, max(0, read_before - 1))
    assert [read_before, read_before + 1] == [batch[0].item() for batch in islice(again.epoch(), 2)]


# ---- one pass ------------------------------------------------------------------------------------------------------------


SOURCES = {
    "arrays": in_memory,
    "loader": lambda: of_loader(loader(shuffle=True)),
    "capped": lambda: CappedSource(in_memory(), 4),
    "capped loader": lambda: CappedSource(of_loader(loader()), 4),
}


@pytest.mark.parametrize("make", SOURCES.values(), ids=SOURCES.keys())
def test_how_many_are_done(make):
    """The batches handed out of a pass are counted, and between two passes there are none."""
    source = make()
    assert (0, 4, 10) == (source.done, source.steps, source.rows)

    assert [1, 2, 3, 4] == [source.done for _ in source.epoch()]
    assert 0 == source.done


@pytest.mark.parametrize("make", SOURCES.values(), ids=SOURCES.keys())
def test_a_pass_that_is_left(make):
    """After an epoch that was left in its middle the next one is whole, whether or not its state was kept before it was left."""
    source, again = make(), make()
    epoch = source.epoch()
    next(epoch)
    state = decode(encode(source.state_dict(abandoned=True)))
    epoch.close()
    again.load_state_dict(state)
    torch.manual_seed(3)
    expected = [batch[0].tolist() for batch in source.epoch()]
    torch.manual_seed(3)

    assert (4, 0) == (len(expected), source.done)
    assert expected == [batch[0].tolist() for batch in again.epoch()]


def test_the_first_batch_is_not_used_up():
    """What was looked at comes first in the pass, also where that pass is opened again elsewhere."""
    source = of_loader(loader(shuffle=True), seed=4)
    first = source.first()[0].tolist()
    again = of_loader(loader(shuffle=True), seed=5)
    again.first()
    assert 0 == again.load_state_dict(decode(encode(source.state_dict())))

    assert first == again.first()[0].tolist()
    assert [batch[0].tolist() for batch in source.epoch()] == [batch[0].tolist() for batch in again.epoch()]


def test_lengths_that_nobody_knows():
    """A generator tells neither how many batches nor how many samples it has."""
    source = of_loader(iter([torch.zeros(1)]))

    assert (None, None) == (source.steps, source.rows)
    assert (7, None) == (CappedSource(source, 7).steps, CappedSource(source, 7).rows)


def test_no_data_is_refused():
    """A loader without a batch is an error that says so."""
    with pytest.raises(DataError, match="there is no first batch"):
        of_loader([]).first()


# ---- generators of a loader's own ----------------------------------------------------------------------------------------


class Drawing(Sampler):
    """Draws from every kind of generator, and counts its passes."""

    def __init__(self, rows):
        self.rows, self.passes, self.shuffles, self.name = rows, 0, True, "mine"
        self.numpy, self.legacy = np.random.default_rng(1), np.random.RandomState(2)
        self.philox = np.random.Generator(np.random.Philox(3))
        self.python, self.system = random.Random(4), random.SystemRandom()
        self.torch = self.same = torch.Generator().manual_seed(5)

    def __len__(self):
        return self.rows

    def __iter__(self):
        self.passes += 1
        drawn = [self.numpy.random(), self.legacy.random(), self.philox.random(), self.python.random(), self.python.gauss(0, 1)]
        drawn.append(torch.rand((), generator=self.torch).item())
        return iter(
            np.random.default_rng([self.passes, *(int(abs(one) * 2**30) for one in drawn)]).permutation(self.rows).tolist()
        )


def test_whatever_a_sampler_draws_from():
    """Generators of numpy, Python and torch go on, and a count of passes does."""
    make = lambda seed: of_loader(loader(sampler=Drawing(10)), seed=seed)  # noqa: E731
    for read_before in (0, 2, 4, 5, 9):
        goes_on(make, read_before, 9)


def test_each_generator_is_kept_once():
    """A generator is told by where it was found, once; what only the system draws, and what is no number of passes, is not."""
    state = own_state(loader(sampler=Drawing(10)))

    assert [f"sampler.{name}" for name in ("rows", "passes", "numpy", "legacy", "philox", "python", "torch")] == [*state]


def test_a_loader_and_its_sampler_share_a_generator():
    """torch hands a loader's generator on to the sampler that it makes: it is kept once."""
    assert ["loader.generator"] == [*own_state(loader(shuffle=True, generator=torch.Generator()))]


def test_the_settings_of_torch_s_samplers_are_not_kept():
    """Numbers of a sampler of torch's are settings, and no counts."""
    assert {} == own_state(loader(shuffle=True))


def test_other_generators_are_refused():
    """Where a loader draws from other generators, both are named."""
    with pytest.raises(CheckpointMismatch, match=r"were loader\.generator, are none\. Go on with the loader"):
        load_own_state(loader(), own_state(loader(shuffle=True, generator=torch.Generator())))
