"""Plain modules and optimizers answer callbacks: weights, rates and files, of one or of several."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from jalon.core.keras_face import KerasFace
from jalon.core.run import Run
from jalon.engines.torch.module_adapter import ModuleAdapter
from jalon.errors import ArgumentError, CheckpointMismatch

SUFFIXES = [".safetensors", ".h5", ".pt"]


def trained(seed=0, *, several=False):
    """Return an adapter after three steps of Adam."""
    torch.manual_seed(seed)
    modules = {name: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)) for name in (("one", "two") if several else ("",))}
    optimizers = {name or "optimizer": torch.optim.Adam(module.parameters(), lr=0.1) for name, module in modules.items()}
    for module, optimizer in zip(modules.values(), optimizers.values(), strict=True):
        for _ in range(3):
            optimizer.zero_grad()
            module(torch.randn(8, 4)).square().mean().backward()
            optimizer.step()
    return ModuleAdapter(modules if several else modules[""], optimizers)


def content(adapter):
    """Return weights and optimizers' tensors as bytes."""
    states = [state for one in adapter.optimizers.values() for state in one.state_dict()["state"].values()]
    tensors = [*adapter.weights().values(), *(value for state in states for value in state.values())]
    return [tensor.detach().numpy().tobytes() for tensor in tensors]


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_brings_weights_and_optimizers_back(tmp_path, suffix, several):
    """What was written is read into others, bit for bit, the rates included."""
    one, other = trained(0, several=several), trained(1, several=several)
    one.set_learning_rates([0.05] * len(one.learning_rates()))
    path = tmp_path / f"model{suffix}"

    one.freeze(path, weights_only=False, about={})()
    other.load(path)

    assert content(one) == content(other)
    assert one.learning_rates() == other.learning_rates()


def test_the_copy_is_of_the_moment_of_freezing(tmp_path):
    """Steps taken before the file is written do not reach it."""
    adapter, other = trained(), trained(1)
    expected = content(adapter)
    write = adapter.freeze(tmp_path / "model.pt", weights_only=False, about={})
    for weight in adapter.modules[""].parameters():
        weight.data.zero_()
    write()
    other.load(tmp_path / "model.pt")

    assert expected == content(other)


def test_weights_alone_leave_the_optimizer_as_it_is(tmp_path):
    """A file of weights changes no optimizer."""
    one, other = trained(0), trained(1)
    before = other.optimizers["optimizer"].state_dict()["state"][0]["exp_avg"].clone()
    one.freeze(tmp_path / "model.safetensors", weights_only=True, about={})()

    other.load(tmp_path / "model.safetensors")

    assert torch.equal(one.weights()["0.weight"], other.weights()["0.weight"])
    assert torch.equal(before, other.optimizers["optimizer"].state_dict()["state"][0]["exp_avg"])


def test_a_file_of_another_module_is_refused_by_name(tmp_path):
    """What differs is named, and nothing is changed."""
    one, other = trained(0), trained(1, several=True)
    before = content(other)
    one.freeze(tmp_path / "model.pt", weights_only=False, about={})()

    with pytest.raises(CheckpointMismatch, match=r"another model than Sequential and Sequential: missing: one\.0\.weight"):
        other.load(tmp_path / "model.pt")
    assert before == content(other)


def test_a_file_of_other_optimizers_is_refused(tmp_path):
    """Optimizers by other names, and another class of optimizer, are no place for what a file holds."""
    one, other = trained(0), trained(1)
    one.freeze(tmp_path / "model.pt", weights_only=False, about={})()
    other.optimizers = {"sgd": torch.optim.SGD(other.modules[""].parameters(), lr=0.1)}

    with pytest.raises(CheckpointMismatch, match=r"other optimizers: optimizer. Received: sgd"):
        other.load(tmp_path / "model.pt")


def test_copies_of_weights_come_back(tmp_path):
    """Restoring a snapshot undoes what happened since, of several modules too; the memory is used again."""
    adapter = trained(several=True)
    snapshot = adapter.snapshot_weights()
    expected = {name: value.clone() for name, value in adapter.weights().items()}
    for value in adapter.weights().values():
        value.zero_()

    adapter.restore_weights({name: value.numpy() for name, value in snapshot.items()})

    assert all(torch.equal(expected[name], value) for name, value in adapter.weights().items())
    assert adapter.snapshot_weights(into=snapshot) is snapshot


def test_rates_are_by_group_and_by_optimizer():
    """Each group has its rate; an epoch reports the first of each optimizer."""
    weights = [nn.Parameter(torch.zeros(1)) for _ in range(3)]
    groups = [{"params": [weights[0]], "lr": 0.1}, {"params": [weights[1]], "lr": torch.tensor(0.2)}]
    adapter = ModuleAdapter(nn.Linear(1, 1), {"a": torch.optim.SGD(groups), "b": torch.optim.SGD([weights[2]], lr=0.3)})

    adapter.set_learning_rates([0.01, 0.02, 0.03])

    assert [0.01, pytest.approx(0.02), 0.03] == adapter.learning_rates()
    assert {"learning_rate_a": 0.01, "learning_rate_b": 0.03} == adapter.reported_rates()
    with pytest.raises(ArgumentError, match=r"3 parameter groups\. Received: 1 rates"):
        adapter.set_learning_rates([0.1])
    with pytest.raises(ArgumentError, match="finite number"):
        adapter.set_learning_rates([0.1, float("nan"), 0.1])


def test_callbacks_of_users_find_keras_s_names(tmp_path):
    """Weights, files, rate and stop are reached under the names that Keras's models have."""
    adapter = trained()
    run = Run(adapter)
    model = KerasFace(run, adapter.modules[""])
    kept = model.get_weights()
    model.save_weights(tmp_path / "model.pt")

    model.set_weights([np.zeros_like(value) for value in kept])
    assert not adapter.weights()["0.weight"].any()
    model.load_weights(tmp_path / "model.pt")
    model.optimizer.learning_rate *= 0.5
    model.stop_training = True

    assert all(np.array_equal(one, other) for one, other in zip(kept, model.get_weights(), strict=True))
    assert 0.05 == adapter.learning_rates()[0] == model.optimizer.lr
    assert run.stop_requested
    with pytest.raises(ArgumentError, match="must end in one of"):
        model.save(tmp_path / "model.doc")
