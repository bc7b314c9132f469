import random

import numpy as np
import pytest
import torch
from tensorboard.compat.proto.graph_pb2 import GraphDef
from torch import nn

from jalon import Model
from jalon.core.trainer import Embedding
from jalon.engines.torch.adapter import TorchAdapter
from jalon.engines.torch.graph import embeddings, graph


def drawn(module):
    """The graph of a module: name → (kind, inputs)."""
    content = graph(module)
    assert content.kind == "graph_def"
    return {node.name: (node.op, list(node.input)) for node in GraphDef.FromString(content.content).node}


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 3)
        self.scale = nn.Parameter(torch.ones(3))
        self.register_buffer("seen", torch.zeros(()))
        self.calls = 0
        self.kept = []

    def forward(self, x):
        self.calls += 1
        self.kept.append(x)
        self.noise = torch.rand(3)
        random.random()
        np.random.rand()
        with torch.no_grad():
            self.seen.add_(1)
            next(self.parameters()).mul_(2)
        return torch.relu(self.fc(x)) * self.scale


class Branching(nn.Module):
    """Cannot be followed without data."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return self.body(x) if x.sum() > 0 else x + self.bias


class TestGraph:
    def test_operations(self):
        """What forward does is shown under the paths of the modules, with its edges."""
        module = nn.Sequential(Block(), nn.LSTM(3, 3))

        assert {
            "input_1": ("placeholder", []),
            "0/fc": ("Linear", ["input_1"]),
            "0/relu": ("relu", ["0/fc"]),
            "0/scale": ("Parameter", []),
            "0/mul": ("mul", ["0/relu", "0/scale"]),
            "1": ("LSTM", ["0/mul"]),
            "output": ("output", ["1"]),
        } == {name: node for name, node in drawn(module).items() if name not in ("0/seen", "0/add_")}

    def test_shapes(self):
        """Nodes tell the shapes of their weights."""
        nodes = GraphDef.FromString(graph(nn.Sequential(nn.Linear(2, 3))).content).node
        shapes = {key: [dim.size for dim in value.shape.dim] for node in nodes for key, value in node.attr.items()}

        assert {"weight": [3, 2], "bias": [3]} == shapes

    def test_used_twice(self):
        """A layer that is used twice is there twice."""

        class Twice(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc = nn.Linear(3, 3)

            def forward(self, x):
                return self.fc(self.fc(x))

        assert {"fc": ("Linear", ["x"]), "fc_2": ("Linear", ["fc"])}.items() <= drawn(Twice()).items()

    def test_layers(self):
        """Where forward depends on the data, the layers are there, in the order in which they were made."""
        assert {
            "Branching": ("Branching", []),
            "body/0": ("Linear", ["Branching"]),
            "body/1": ("ReLU", ["body/0"]),
        } == drawn(Branching())

    def test_one_layer(self):
        """A single layer of torch's is one node."""
        assert {"Linear": ("Linear", [])} == drawn(nn.Linear(2, 3))

    def test_of_a_model(self):
        """A jalon.Model gives the graph of its module."""
        assert graph(nn.Sequential(nn.Linear(2, 3))) == graph(Model(nn.Sequential(nn.Linear(2, 3))))

    def test_nothing_to_say(self):
        """A module with neither layers nor weights has no graph."""
        assert graph(nn.Module()) is None

    def test_lazy(self):
        """Weights that have no shape yet are there without one."""
        module = nn.Sequential(nn.LazyLinear(3), nn.ReLU())

        assert {"0": ("LazyLinear", ["input_1"])}.items() <= drawn(module).items()

    def test_shared_weights(self):
        """Tied weights are no obstacle."""

        class Tied(nn.Module):
            def __init__(self):
                super().__init__()
                self.words = nn.Embedding(5, 3)
                self.head = nn.Linear(3, 5, bias=False)
                self.head.weight = self.words.weight

            def forward(self, x):
                return self.head(self.words(x))

        assert {"head": ("Linear", ["words"])}.items() <= drawn(Tied()).items()


class TestNothingChanges:
    def test_the_module(self):
        """Neither weights, buffers and attributes of the module nor what its hooks keep are touched."""
        module = nn.Sequential(Block(), nn.Linear(3, 3))
        hooked = []
        for part in module.modules():
            part.register_forward_hook(lambda *args: hooked.append(args))
        before = {name: value.clone() for name, value in module.state_dict().items()}

        assert "0/mul" in drawn(module)

        assert (0, []) == (module[0].calls, module[0].kept)
        assert not hasattr(module[0], "noise")
        assert [] == hooked
        assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
        module(torch.ones(1, 3))
        assert 3 == len(hooked) - 1

    def test_random_numbers(self):
        """Random numbers come as they would have come."""
        module = nn.Sequential(Block(), nn.Linear(3, 3))

        def numbers():
            torch.manual_seed(0)
            random.seed(0)
            np.random.seed(0)
            yield
            yield torch.rand(2).tolist(), random.random(), np.random.rand()

        without, following = numbers(), numbers()
        next(without)
        expected = next(without)
        next(following)
        graph(module)

        assert expected == next(following)

    def test_foreign_objects(self):
        """A forward that talks to something that is not the module's is not followed."""

        class Meter:
            values = ()

            def update(self, value):
                self.values = (*self.values, value)

        class Measured(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc = nn.Linear(3, 3)
                self.meter = Meter()

            def forward(self, x):
                x = self.fc(x)
                self.meter.update(x)
                return x

        module = Measured()

        assert {"fc": ("Linear", [])} == drawn(module)
        assert () == module.meter.values

    @pytest.mark.parametrize("raised", [ValueError, AttributeError, RecursionError])
    def test_broken_forward(self, raised):
        """Whatever forward raises, there is a graph and no exception."""

        class Broken(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc = nn.Linear(3, 3)

            def forward(self, x):
                raise raised

        assert {"fc": ("Linear", [])} == drawn(Broken())


class TestEmbeddings:
    def test_layers(self):
        """Embedding layers go by the path of their module, their tables by the name that the adapter gives them."""
        module = nn.ModuleDict({"encoder": nn.Sequential(nn.Embedding(5, 3)), "bag": nn.EmbeddingBag(5, 3)})
        model = Model(module)

        found = list(embeddings(model))

        assert [Embedding("encoder.0", "encoder/0/weight"), Embedding("bag", "bag/weight")] == found
        assert {one.weight for one in found} <= {name for name, _ in TorchAdapter(model).named_weights()}

    def test_root(self):
        """A model that is one embedding goes by its class."""
        assert [Embedding("Embedding", "weight")] == list(embeddings(nn.Embedding(5, 3)))
