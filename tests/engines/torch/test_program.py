"""A ``.pt2`` file predicts what the module predicted, without its code; and says so where it cannot."""

from __future__ import annotations

import io
import random
import threading
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer
from torch import Tensor, nn

import jalon
from jalon.engines.torch import program
from jalon.engines.torch.pt2.module import ProgramModule
from jalon.engines.torch.pt2.operations import operation
from jalon.errors import ArgumentError, CheckpointError, DataError, NotReady
from jalon.store.writer import WRITER


def cancer() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return 569 real samples of 30 features, standardized, and their classes."""
    x, y = load_breast_cancer(return_X_y=True)
    return ((x - x.mean(0)) / x.std(0)).astype("f4"), y


def trained(module: nn.Module, x: Any = None, y: Any = None) -> jalon.Model:
    """Return a model after an epoch, by default of real data."""
    x, y = cancer() if x is None else (x, y)
    model = jalon.Model(module).compile("adam", loss=lambda target, output: (output.squeeze(-1) - target).square().mean())
    model.fit(x, y, batch_size=64, verbose=0, seed=3)
    return model


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(30, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 1))


def frozen(model: jalon.Model, path: Path, **about: Any) -> Path:
    program.freeze(model, path, about)()
    return path


class Measured(jalon.Model):
    """Is measured by what it returns, whatever that is."""

    def test_step(self, data: Any) -> dict[str, float]:
        """Only run the module."""
        self(data[0])
        return {"one": 1.0}


def seen(module: nn.Module, inputs: Any) -> jalon.Model:
    """Return a model that was measured on inputs."""
    model = Measured(module).compile("sgd")
    model.evaluate(inputs, verbose=0)
    return model


@pytest.fixture(scope="module")
def model() -> jalon.Model:
    return trained(network())


@pytest.fixture(scope="module")
def file(model: jalon.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return frozen(model, tmp_path_factory.mktemp("program") / "net.pt2", epoch=3, monitor="val_loss", value=0.5)


# ---- what comes back ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 2, 33, 569])
def test_same_predictions(model: jalon.Model, file: Path, rows: int) -> None:
    """The program predicts what the module did, bit for bit, for any number of rows."""
    x, _ = cancer()

    predicted = jalon.Model(program.load(file)).predict(x[:rows], verbose=0)

    assert model.predict(x[:rows], verbose=0).tobytes() == predicted.tobytes()


def test_weights_and_what_was_told(model: jalon.Model, file: Path) -> None:
    """The weights come back under their names and in their order, with what was told about them."""
    checkpoint = program.read(file)

    expected = model.module.state_dict()
    assert list(expected) == list(checkpoint.weights) == list(program.load(file).state_dict())
    assert all(torch.equal(value, checkpoint.weights[name]) for name, value in expected.items())
    assert ({"epoch": 3, "monitor": "val_loss", "value": 0.5}, None) == (checkpoint.about, checkpoint.optimizer)


def test_parameters_stay_parameters(file: Path) -> None:
    """What was a parameter is one again, and what was a buffer too."""
    loaded = program.load(file)

    assert ["0.weight", "0.bias", "1.weight", "1.bias", "4.weight", "4.bias"] == [name for name, _ in loaded.named_parameters()]
    assert ["1.running_mean", "1.running_var", "1.num_batches_tracked"] == [name for name, _ in loaded.named_buffers()]


def test_measured(model: jalon.Model, file: Path) -> None:
    """The program can be measured as the model was."""
    x, y = cancer()
    again = jalon.Model(program.load(file)).compile(loss=lambda target, output: (output.squeeze(-1) - target).square().mean())

    assert model.evaluate(x, y, verbose=0) == again.evaluate(x, y, verbose=0)


def test_not_trained(file: Path) -> None:
    """The program refuses to be trained, and says what to do."""
    x, y = cancer()
    model = jalon.Model(program.load(file)).compile("adam", loss=lambda target, output: output.sum())

    with pytest.raises(NotReady, match="load_weights"):
        model.fit(x, y, verbose=0)


def test_read_by_torch(model: jalon.Model, file: Path) -> None:
    """torch.export.load reads the file too, and finds what was told."""
    x = torch.from_numpy(cancer()[0][:5])
    told = {"jalon.json": ""}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = torch.export.load(file, extra_files=told)

    with torch.no_grad():
        assert torch.equal(model.module.eval()(x), loaded.module()(x))
    assert '"epoch": 3' in told["jalon.json"]


@pytest.mark.filterwarnings("ignore")
def test_written_by_torch(model: jalon.Model, tmp_path: Path) -> None:
    """A file of torch.export.save is read, operations in place included; its pickled inputs are left alone."""
    net = nn.Sequential(model.module, nn.ReLU(inplace=True), nn.Hardswish(inplace=True)).eval()
    x = torch.from_numpy(cancer()[0][:5])
    with torch.no_grad():
        torch.export.save(torch.export.export(net, (x,)), tmp_path / "net.pt2")

        assert torch.equal(net(x), program.load(tmp_path / "net.pt2")(x))
    assert {} == program.read(tmp_path / "net.pt2").about


# ---- modules of many kinds ---------------------------------------------------------------------------------------------


class Several(nn.Module):
    """Takes and returns nested tensors, keeps buffers and constants, and changes its type on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 8)
        self.lstm = nn.LSTM(8, 4, batch_first=True)
        self.linear = nn.Linear(8, 8)
        self.tied = nn.Linear(8, 8)
        self.tied.weight = self.linear.weight
        self.conv = nn.Conv2d(1, 2, 3).to(memory_format=torch.channels_last)
        self.view = nn.Parameter(torch.randn(20)[4:12])
        self.shift = torch.arange(8.0)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.register_buffer("scale", torch.full((8,), 2.0), persistent=False)

    def forward(self, tokens: Tensor, image: Tensor) -> dict[str, Any]:
        self.calls += 1
        embedded = self.embedding(tokens)
        states, _ = self.lstm(embedded)
        rows = image.shape[0]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            halved = self.linear(image.view(rows, 8, 8))
        best, places = image.flatten(1).topk(3, 1)
        masked = torch.where(image > 0, image, -torch.inf).amax(-1)
        return {
            "states": (states, [best, places]),
            "halved": halved + self.tied(image.view(rows, 8, 8)) * self.scale + self.view + self.shift,
            "convolved": self.conv(image),
            "rest": image.chunk(2, -1)[1] * rows,
            "masked": masked,
            "calls": self.calls.expand(rows),
        }


class Weighted(nn.Module):
    """Has a weight, that there is something to train."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))


class Named(Weighted):
    """Takes its inputs by name."""

    def forward(self, image: Tensor, *, weight: Tensor) -> Tensor:
        return (image * weight).sum(1, keepdim=True) * self.weight


class Pair(Weighted):
    """Takes its inputs as one pair."""

    def forward(self, pair: tuple[Tensor, Tensor]) -> list[Tensor]:
        return [pair[0] - pair[1], pair[1]]


def leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [one for each in value.values() for one in leaves(each)]
    return [one for each in value for one in leaves(each)] if isinstance(value, (tuple, list)) else [value]


def inputs_of(kind: str, rows: int) -> Any:
    generator = torch.Generator().manual_seed(rows)
    images = [torch.randn(rows, *shape, generator=generator) for shape in ((1, 8, 8), (5,), (5,))]
    tokens = torch.randint(0, 7, (rows, 3), generator=generator)
    return {"several": (tokens, images[0]), "named": {"image": images[1], "weight": images[2]}, "pair": tuple(images[1:])}[kind]


@pytest.mark.parametrize(("kind", "make"), [("several", Several), ("named", Named), ("pair", Pair)])
def test_kinds_of_modules(kind: str, make: type[nn.Module], tmp_path: Path) -> None:
    """Tuples, dicts and nested outputs, state that forward changes, shared and strided weights: all as the module did."""
    torch.manual_seed(1)
    model = seen(make(), inputs_of(kind, 4))
    loaded = jalon.Model(program.load(frozen(model, tmp_path / "net.pt2")))

    for rows in (1, 2, 7):
        expected, actual = (one.predict(inputs_of(kind, rows), verbose=0) for one in (model, loaded))
        assert str(type(expected)) == str(type(actual))
        for each, other in zip(leaves(expected), leaves(actual), strict=True):
            assert (each.dtype, each.tobytes()) == (other.dtype, other.tobytes())
    assert list(model.module.state_dict()) == list(loaded.module.state_dict())
    assert all(map(torch.equal, model.module.state_dict().values(), loaded.module.state_dict().values()))


def test_shared_weights_stay_shared(tmp_path: Path) -> None:
    """Weights that were one are one again."""
    loaded = program.load(frozen(seen(Several(), inputs_of("several", 2)), tmp_path / "net.pt2"))

    assert loaded.get_parameter("linear.weight").data_ptr() == loaded.get_parameter("tied.weight").data_ptr()


def test_module_behind_compile(model: jalon.Model, tmp_path: Path) -> None:
    """A module that runs through torch.compile is exported as it is."""
    x, _ = cancer()
    compiled = seen(torch.compile(model.module, backend="eager"), x[:8])  # type: ignore[arg-type]

    loaded = program.load(frozen(compiled, tmp_path / "net.pt2"))

    assert list(compiled.module.state_dict()) == list(loaded.state_dict())
    assert model.predict(x, verbose=0).tobytes() == jalon.Model(loaded).predict(x, verbose=0).tobytes()


class Computed(Weighted):
    """Is computed by a function."""

    def __init__(self, compute: Any) -> None:
        super().__init__()
        self.compute = compute

    def forward(self, x: Tensor) -> Any:
        return self.compute(x)


def test_rows_that_code_depends_on(tmp_path: Path) -> None:
    """Where forward holds for some numbers of rows alone, the program takes as many as were seen and refuses others."""
    model = seen(Computed(lambda x: x * int(x.shape[0] * 1.5)), torch.ones(2, 3))
    loaded = program.load(frozen(model, tmp_path / "net.pt2"))

    assert torch.equal(torch.full((2, 3), 3.0), loaded(torch.ones(2, 3)))
    with pytest.raises(DataError, match=r"takes \(2, 3\) float32 as 'x'.*Received: \(3, 3\) float32"):
        loaded(torch.ones(3, 3))


def test_sizes_that_are_computed_with(tmp_path: Path) -> None:
    """Arithmetic on the number of rows is done anew for each batch."""

    def compute(x: Tensor) -> Tensor:
        rows = x.shape[0]
        return x * (rows**2 // 2 + rows % 3 - 1) + torch.sym_max(rows, 3) / 7 + torch.sym_sqrt(rows)

    loaded = program.load(frozen(seen(Computed(compute), torch.ones(2, 3)), tmp_path / "net.pt2"))

    for rows in (1, 2, 5, 33):
        assert torch.equal(compute(torch.ones(rows, 3)), loaded(torch.ones(rows, 3)))


@pytest.mark.parametrize(
    "inputs",
    [
        (torch.ones(2, 29),),
        (torch.ones(2, 30, 1),),
        (torch.ones(2, 30).double(),),
        (torch.ones(2, 30),) * 2,
        ({"x": torch.ones(2, 30)},),
        (1,),
    ],
)
def test_other_inputs(file: Path, inputs: tuple[Any, ...]) -> None:
    """Inputs of another shape, type or nesting are refused, and what was received is said."""
    with pytest.raises(DataError, match=r"The program takes .* Received: "):
        program.load(file)(*inputs)


def test_memory(file: Path) -> None:
    """A value is let go after its last use."""
    loaded = program.load(file)
    plan = loaded._jalon_plan
    results = {name for step in plan.steps for name in step.writes}
    dropped = {name for step in plan.steps for name in step.last_used}

    assert results - dropped == plan.results


# ---- freezing ----------------------------------------------------------------------------------------------------------


class Noting(nn.Module):
    """Counts its calls, keeps what it saw, and draws random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.drop = nn.Dropout(0.5)
        self.calls = 0
        self.last: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.last = x
        return self.drop(self.linear(x)) + torch.rand(3) * (random.random() + np.random.random())


def test_left_as_it_was(tmp_path: Path) -> None:
    """Freezing leaves weights, training modes, attributes and random numbers as they were."""
    model = seen(Noting(), torch.ones(4, 3))
    module = model.module
    module.train()
    module.linear.eval()
    before = dict(vars(module)), {name: value.clone() for name, value in module.state_dict().items()}
    numbers = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[union-attr]

    program.freeze(model, tmp_path / "net.pt2", {})

    assert before[0] == vars(module)
    assert all(torch.equal(value, before[1][name]) for name, value in module.state_dict().items())
    assert [True, False, True] == [part.training for part in module.modules()]
    assert torch.equal(numbers[0], torch.get_rng_state())
    assert numbers[1:] == (random.getstate(), np.random.get_state()[1].tolist())  # type: ignore[union-attr]


def test_later_changes_stay_out(tmp_path: Path) -> None:
    """Weights that are changed after freezing never reach the file, which another thread may write."""
    model = seen(network(), torch.ones(4, 30))
    expected = {name: value.clone() for name, value in model.module.state_dict().items()}
    write = program.freeze(model, tmp_path / "net.pt2", {})
    threads = []

    with torch.no_grad():
        for value in model.module.state_dict().values():
            value.zero_()
    WRITER.submit(lambda: (threads.append(threading.current_thread()), write())[1]).result()

    assert [threading.current_thread()] != threads
    assert all(torch.equal(value, expected[name]) for name, value in program.read(tmp_path / "net.pt2").weights.items())


def test_nothing_of_data_and_code(tmp_path: Path) -> None:
    """Neither the batch that was seen nor the place of the code is in the file."""
    x = torch.full((4, 30), 12345.678)
    content = frozen(seen(network(), x), tmp_path / "net.pt2").read_bytes()

    assert x[0, :2].numpy().tobytes() not in content
    assert b"site-packages" not in content
    assert Path(__file__).stem.encode() not in content


def test_same_bytes(model: jalon.Model, file: Path, tmp_path: Path) -> None:
    """The same model is written as the same bytes."""
    again = frozen(model, tmp_path / "other.pt2", epoch=3, monitor="val_loss", value=0.5)

    assert file.read_bytes() == again.read_bytes()


def test_nothing_seen(tmp_path: Path) -> None:
    """A model that has seen nothing cannot be exported, and the message says what to do."""
    with pytest.raises(NotReady, match=r"net\.pt2 cannot be written.*Call fit or evaluate"):
        program.freeze(jalon.Model(network()), tmp_path / "net.pt2", {})


@torch.library.custom_op("jalon_tests::twice", mutates_args=())
def twice(x: Tensor) -> Tensor:
    return x * 2


@twice.register_fake
def _(x: Tensor) -> Tensor:
    return x


@pytest.mark.parametrize(
    ("compute", "reason"),
    [
        (lambda x: x if x.sum() > 0 else -x, "data-dependent"),
        (lambda x: torch.cond(x.sum() > 0, torch.sin, torch.cos, (x,)), "asks for torch.ops.higher_order.cond"),
        (twice, "asks for torch.ops.jalon_tests.twice.default"),
        (lambda x: torch.return_types.max((x, x)), "torch.return_types.max"),
    ],
)
def test_cannot_be_exported(compute: Any, reason: str, tmp_path: Path) -> None:
    """What cannot be told as arithmetic is refused in one line, with the reason and the remedy; no file is there."""
    model = seen(Computed(compute), torch.ones(4, 3))

    with pytest.raises(ArgumentError, match=rf"Computed cannot be saved as .pt2: .*{reason}.* Save as .safetensors") as caught:
        program.freeze(model, tmp_path / "net.pt2", {})
    assert 1 == len(str(caught.value).splitlines())
    assert [] == list(tmp_path.iterdir())


# ---- damage and refusals -------------------------------------------------------------------------------------------------


def test_damage(file: Path, tmp_path: Path) -> None:
    """A flipped bit, wherever it is, and a missing end are refused by a message that names the file."""
    content = file.read_bytes()
    rng = random.Random(0)
    places = [*rng.sample(range(len(content)), 300), *range(len(content) - 120, len(content))]
    path = tmp_path / "damaged.pt2"

    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"damaged\.pt2 "):
            program.read(path)
    for place in places[::5]:
        path.write_bytes(content[:place])
        with pytest.raises(CheckpointError, match=r"damaged\.pt2 "):
            program.load(path)


def test_missing(tmp_path: Path) -> None:
    """A file that is not there is named."""
    with pytest.raises(CheckpointError, match=r"net\.pt2 cannot be read: there is no such file"):
        program.load(tmp_path / "net.pt2")


def rewritten(file: Path, name: str, old: bytes, new: bytes, *, resealed: bool) -> bytes:
    """Return the archive with something else in a member; with its seal taken away or made anew."""
    source, target = zipfile.ZipFile(file), io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for member in source.namelist():
            content = source.read(member)
            assert old in content or not member.endswith(name)
            archive.writestr(member, content.replace(old, new) if member.endswith(name) else content)
    if not resealed:
        return target.getvalue()
    from jalon.engines.torch.pt2.archive import sealed

    return b"".join(sealed(target.getbuffer()))


@pytest.mark.parametrize(
    ("name", "old", "new", "reason"),
    [
        ("jalon.json", b'"format": 1', b'"format": 2', "was written by a newer jalon"),
        ("models/model.json", b'"major": 8', b'"major": 9', "was exported by another torch"),
        ("models/model.json", b"aten.relu.default", b"aten.relu.absent", "this version of torch does not have"),
        (
            "models/model.json",
            b'"arg": {"as_tensor": {"name": "linear"}}',
            b'"arg": {"as_tensor": {"name": "absent"}}',
            "uses what it has not computed",
        ),
        ("models/model.json", b'"0.weight"', b'"5.weight"', "asks for tensors that are not in it"),
        ("models/model.json", b"builtins.dict", b"builtins.exec", "takes or returns a builtins.exec"),
        ("weights_config.json", b'"as_int": 30', b'"as_int": 31', "are not those of its shape"),
        ("weights_config.json", b'"use_pickle": false', b'"use_pickle": true', "pickled object"),
        ("weights_config.json", b'"path_name": "weight_0"', b'"path_name": "../weight_0"', "pickled object"),
        ("weights_config.json", b'"layout": 7', b'"layout": 1', "no dense tensor"),
    ],
)
def test_untrue_members(file: Path, name: str, old: bytes, new: bytes, reason: str, tmp_path: Path) -> None:
    """A whole file whose members say what cannot be is refused with the reason."""
    path = tmp_path / "untrue.pt2"
    path.write_bytes(rewritten(file, name, old, new, resealed=True))

    with pytest.raises(CheckpointError, match=rf"untrue\.pt2 .*{reason}"):
        program.load(path)


def test_seal_taken_away(file: Path, tmp_path: Path) -> None:
    """A file of jalon's whose checksum is gone is not taken for another writer's."""
    path = tmp_path / "bare.pt2"
    path.write_bytes(rewritten(file, "jalon.json", b"{", b"{", resealed=False))

    with pytest.raises(CheckpointError, match="its checksum is missing"):
        program.read(path)


@pytest.mark.parametrize(
    "target",
    [
        *("torch.ops.aten.from_file.default", "torch.ops.aten.save.default", "torch.ops.aten.set_.source_Tensor"),
        *("torch.ops.aten.add", "torch.ops.aten.add.overloads", "torch.ops.aten.add.Tensor.__call__", "torch.ops.load_library"),
        *("torch.load", "torch.os.system", "torch.ops.higher_order.cond", "torch.ops.prims.add.default", "_operator.attrgetter"),
        *("_operator.lshift", "math.factorial", "builtins.eval", "os.system", "#aten:add", "", "torch.ops.aten._print.default"),
    ],
)
def test_no_arithmetic(target: str) -> None:
    """What is not among the operations that a program may be made of is refused, whether or not there is such a thing."""
    with pytest.raises(Exception, match=r"no arithmetic that jalon runs|does not have"):
        operation(target)


@pytest.mark.parametrize(
    ("target", "numbers"), [("_operator.pow", (9, 99)), ("_operator.mul", (2**62, 2)), ("_operator.add", (2**63, 1))]
)
def test_numbers_stay_small(target: str, numbers: tuple[int, int]) -> None:
    """Numbers that are no sizes are refused before they fill the memory."""
    with pytest.raises(OverflowError, match="greater than any size"):
        operation(target)(*numbers)


def test_is_a_program(file: Path) -> None:
    """What is loaded is jalon's own module, whatever class the exported one was of."""
    assert type(program.load(file)) is ProgramModule
