import copy
import functools
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from jalon.engines.torch.functions import outputs_first
from jalon.engines.torch.losses import ALIASES, BY_SHAPE, KERAS, TORCH, Loss, resolve_loss
from jalon.errors import ArgumentError, DataError, UnknownName

EPS = 1e-7


def shares(p):
    return np.clip(p / p.sum(-1, keepdims=True), EPS, 1 - EPS)


def bce(y, p):
    p = np.clip(p, EPS, 1 - EPS)
    return -(y * np.log(p) + (1 - y) * np.log(1 - p))


def unit(x):
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), EPS)


def huber(y, p):
    e = np.abs(y - p)
    return np.where(e <= 1, 0.5 * e**2, e - 0.5)


def signs(y):
    return 2 * y - 1 if np.isin(y, (0, 1)).all() else y


FORMULAS = {
    "mean_squared_error": lambda y, p: ((y - p) ** 2).mean(-1),
    "mean_absolute_error": lambda y, p: np.abs(y - p).mean(-1),
    "mean_absolute_percentage_error": lambda y, p: 100 * np.abs((y - p) / np.maximum(np.abs(y), EPS)).mean(-1),
    "mean_squared_logarithmic_error": lambda y, p: ((np.log(np.maximum(y, EPS) + 1) - np.log(np.maximum(p, EPS) + 1)) ** 2).mean(
        -1
    ),
    "huber": lambda y, p: huber(y, p).mean(-1),
    "log_cosh": lambda y, p: np.log(np.cosh(p - y)).mean(-1),
    "cosine_similarity": lambda y, p: -(unit(y) * unit(p)).sum(-1),
    "hinge": lambda y, p: np.maximum(1 - signs(y) * p, 0).mean(-1),
    "squared_hinge": lambda y, p: (np.maximum(1 - signs(y) * p, 0) ** 2).mean(-1),
    "categorical_hinge": lambda y, p: np.maximum(((1 - y) * p).max(-1) - (y * p).sum(-1) + 1, 0),
    "poisson": lambda y, p: (p - y * np.log(p + EPS)).mean(-1),
    "kl_divergence": lambda y, p: (np.clip(y, EPS, 1) * np.log(np.clip(y, EPS, 1) / np.clip(p, EPS, 1))).sum(-1),
    "binary_crossentropy": lambda y, p: bce(y, p).mean(-1),
    "binary_focal_crossentropy": lambda y, p: ((1 - (y * p + (1 - y) * (1 - p))) ** 2 * bce(y, p)).mean(-1),
    "categorical_crossentropy": lambda y, p: -(y * np.log(shares(p))).sum(-1),
    "categorical_focal_crossentropy": lambda y, p: (0.25 * (1 - shares(p)) ** 2 * -y * np.log(shares(p))).sum(-1),
    "sparse_categorical_crossentropy": lambda y, p: (
        -np.log(np.take_along_axis(shares(p), y.astype(int)[..., None], -1)).squeeze(-1)
    ),
}
"""Keras's documented formulas, as numpy says them: a value per sample."""

CLASSES = {"categorical_hinge", "categorical_crossentropy", "categorical_focal_crossentropy", "kl_divergence"}
PROBABILITIES = {"kl_divergence"} | {name for name in FORMULAS if "crossentropy" in name}
BINARY = {"binary_crossentropy", "binary_focal_crossentropy", "hinge", "squared_hinge"}


def example(name, shape, seed):
    """Return targets and outputs in float64 that a loss can take."""
    rng = np.random.default_rng(seed)
    targets, outputs = rng.normal(size=shape), rng.normal(size=shape)
    if name in PROBABILITIES:
        outputs = rng.uniform(size=shape)
    if name == "poisson":
        targets, outputs = rng.poisson(3, size=shape).astype(float), rng.uniform(0.1, 5, size=shape)
    if name in BINARY:
        targets = rng.integers(0, 2, size=shape).astype(float)
    indexes = rng.integers(0, shape[-1], size=shape[:-1])
    if name in CLASSES:
        targets = np.eye(shape[-1])[indexes]
    if name == "sparse_categorical_crossentropy":
        targets = indexes
    return targets, outputs


def as_torch(targets, outputs):
    return torch.from_numpy(outputs).requires_grad_(), torch.from_numpy(targets)


SHAPES = st.one_of(
    st.tuples(st.integers(1, 5), st.integers(2, 4)), st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(2, 4))
)


@pytest.mark.parametrize("name", FORMULAS)
@settings(max_examples=12, deadline=None)
@given(shape=SHAPES, seed=st.integers(0, 999))
def test_keras_names_have_keras_s_formulas(name, shape, seed):
    """A Keras name gives the mean of Keras's formula over all samples."""
    targets, outputs = example(name, shape, seed)

    loss = resolve_loss(name)(*as_torch(targets, outputs))

    assert 0 == loss.ndim
    assert loss.requires_grad
    np.testing.assert_allclose(loss.item(), FORMULAS[name](targets, outputs).mean(), rtol=1e-9)


@pytest.mark.parametrize("name", FORMULAS)
@settings(max_examples=8, deadline=None)
@given(shape=SHAPES, seed=st.integers(0, 999))
def test_weights_multiply_each_sample_s_value(name, shape, seed):
    """Weighted, a Keras name gives the sum of weight times value, divided by the number of values."""
    targets, outputs = example(name, shape, seed)
    weights = np.random.default_rng(seed).uniform(0, 3, size=shape[0])

    loss = resolve_loss(name)(*as_torch(targets, outputs), torch.from_numpy(weights))

    values = FORMULAS[name](targets, outputs)
    expected = (values * weights.reshape(-1, *[1] * (values.ndim - 1))).sum() / values.size
    np.testing.assert_allclose(loss.item(), expected, rtol=1e-9)


@pytest.mark.parametrize("name", ["dice", "tversky"])
def test_overlaps_are_of_the_whole_batch(name):
    """Dice and Tversky compare a batch as a whole, and so take no weights."""
    rng = np.random.default_rng(0)
    y, p = rng.integers(0, 2, size=(4, 5)).astype(float), rng.uniform(size=(4, 5))
    expected = 1 - 2 * (y * p).sum() / (y.sum() + p.sum() + EPS)  # Tversky with alpha and beta 0.5 is Dice
    loss = resolve_loss(name)

    np.testing.assert_allclose(loss(*as_torch(y, p)).item(), expected, rtol=1e-6)
    with pytest.raises(DataError, match="one value for the whole batch"):
        loss(*as_torch(y, p), torch.ones(4))


def test_circle_pulls_pairs_together():
    """The circle loss is Keras's, averaged over the samples that have both a like and an unlike other."""
    embeddings = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-1.0, 0.0]])
    labels = np.array([0, 0, 1, 2])
    distance = np.maximum(1 - embeddings @ embeddings.T, 0)
    values = []
    for i in (0, 1):
        near = [-80 * (0.4 + distance[i, j]) * (0.4 - distance[i, j]) for j in (0, 1) if j != i]
        far = [80 * max(1.4 - distance[i, j], 0) * (0.6 - distance[i, j]) for j in (2, 3)]
        values.append(np.log1p(np.exp(np.log(np.exp(near).sum()) + np.log(np.exp(far).sum()))))

    loss = resolve_loss("circle")(torch.from_numpy(embeddings), torch.from_numpy(labels))

    np.testing.assert_allclose(loss.item(), np.mean(values), rtol=1e-6)


def test_ctc_reads_zero_as_blank():
    """Keras's CTC takes logits with time on axis 1 and labels padded with 0."""
    logits, labels = torch.randn(2, 6, 4), torch.tensor([[1, 2, 0], [3, 0, 0]])
    steps, lengths = torch.tensor([6, 6]), torch.tensor([2, 1])
    expected = F.ctc_loss(logits.log_softmax(-1).transpose(0, 1), labels, steps, lengths, reduction="none").mean()

    torch.testing.assert_close(resolve_loss("ctc")(logits, labels), expected)


def test_every_keras_loss_is_compared_with_its_formula():
    """No loss of Keras's is left untested."""
    assert set(KERAS) == {*FORMULAS, "dice", "tversky", "circle", "ctc"}


@pytest.mark.parametrize(
    ("names", "same"),
    [
        (("mse", "MSE", "mean_squared_error", "MeanSquaredError", "MEAN_SQUARED_ERROR"), "mean_squared_error"),
        (("kld", "KLD", "KLDivergence", "kl_divergence"), "kl_divergence"),
        (("bce", "BCE", "BinaryCrossentropy"), "binary_crossentropy"),
        (("LogCosh", "logcosh"), "log_cosh"),
        (("mae", "mape", "msle"), None),
    ],
)
def test_one_loss_by_its_many_names(names, same):
    """Class name, function name, alias and any case mean the same."""
    for name in names:
        expected = same or ALIASES[name]
        y, p = example(expected, (3, 4), 1)

        np.testing.assert_allclose(resolve_loss(name)(*as_torch(y, p)).item(), FORMULAS[expected](y, p).mean(), rtol=1e-9)


def test_no_name_means_two_losses():
    """A name in any case is Keras's or torch's, never both."""
    keras = {*KERAS, *(name.replace("_", "") for name in KERAS), *ALIASES, *BY_SHAPE}
    ours = {name.lower() for names in TORCH for name in names}

    assert not keras & ours


def torch_example(names):
    torch.manual_seed(0)
    outputs, targets = torch.randn(6, 5, requires_grad=True), torch.randn(6, 5)
    if names[0] in ("BCELoss", "BCEWithLogitsLoss", "MultiLabelSoftMarginLoss"):
        outputs, targets = torch.rand(6, 5, requires_grad=True), torch.randint(0, 2, (6, 5)).float()
    if names[0] in ("SoftMarginLoss", "HingeEmbeddingLoss"):
        targets = torch.randint(0, 2, (6, 5)) * 2.0 - 1
    if names[0] in ("CrossEntropyLoss", "NLLLoss", "MultiMarginLoss"):
        outputs, targets = torch.randn(6, 5).log_softmax(1), torch.randint(0, 5, (6,))
    if names[0] == "MultiLabelMarginLoss":
        targets = torch.tensor([[0, 2, -1, 1, 1]] * 6)
    if names[0] == "KLDivLoss":
        outputs, targets = torch.randn(6, 5).log_softmax(1), torch.rand(6, 5)
    return outputs, targets


@pytest.mark.parametrize("names", TORCH, ids=lambda names: names[0])
def test_torch_names_are_torch_s_losses(names):
    """Torch's class name and function name, its class, an object and the function itself give what torch gives."""
    outputs, targets = torch_example(names)
    kind, function = getattr(nn, names[0]), getattr(F, names[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # kl_div's own about its mean
        expected = kind()(outputs, targets)

        for spec in (*names, names[0].lower(), kind, kind(), function, functools.partial(function)):
            loss = resolve_loss(spec)
            loss.check(outputs, targets)
            torch.testing.assert_close(loss(outputs, targets), expected)
            torch.testing.assert_close(loss(outputs, targets, torch.ones(6)), expected)
            torch.testing.assert_close(loss(outputs, targets, torch.full((6,), 2.0)), 2 * expected)


@pytest.mark.parametrize("outputs", [(4, 1), (4,)])
@pytest.mark.parametrize("targets", [(4, 1), (4,)])
@pytest.mark.parametrize("name", ["mse", "huber", "binary_crossentropy", "MSELoss", "binary_cross_entropy_with_logits"])
def test_a_last_axis_of_one_may_be_missing(name, outputs, targets):
    """Targets (B,) and (B, 1) fit outputs (B,) and (B, 1), sample by sample, with and without weights."""
    p, y, weights = torch.rand(4), torch.randint(0, 2, (4,)), torch.rand(4)
    loss = resolve_loss(name)

    torch.testing.assert_close(loss(p.view(outputs), y.view(targets)), loss(p, y))
    torch.testing.assert_close(loss(p.view(outputs), y.view(targets), weights), loss(p, y, weights))
    alone = torch.stack([loss(p[i : i + 1], y[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(loss(p, y, weights), (alone * weights).mean())


def test_shapes_are_never_broadcast():
    """Targets that would have to be stretched are an error in every batch, not in the first alone."""
    with pytest.raises(DataError, match=r"targets' shape \(4,\) is not the outputs' shape \(4, 4\)"):
        resolve_loss("mse")(torch.rand(4, 4), torch.rand(4))
    with pytest.raises(DataError, match=r"targets' shape \(3, 2\) is not the outputs' shape \(2, 3\)"):
        resolve_loss("mse")(torch.rand(2, 3), torch.rand(3, 2))


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(6,), (6, 1)])
@pytest.mark.parametrize("name", ["cross_entropy", "sparse_categorical_crossentropy"])
def test_class_indexes_of_any_type(name, shape, dtype):
    """Class indexes may be integers of any size, whole floats, and a column."""
    outputs, targets = torch.randn(6, 5).softmax(1), torch.randint(0, 5, (6,))
    loss = resolve_loss(name)

    loss.check(outputs, targets.to(dtype).view(shape))

    torch.testing.assert_close(loss(outputs, targets.to(dtype).view(shape)), loss(outputs, targets))


def test_the_axis_of_classes_is_the_name_s_own():
    """Images: torch's names have the classes on axis 1, Keras's on the last."""
    logits, targets = torch.randn(2, 5, 3, 4), torch.randint(0, 5, (2, 3, 4))
    ours, keras = resolve_loss("cross_entropy"), resolve_loss("sparse_categorical_crossentropy")

    assert (1, -1) == (ours.class_axis, keras.class_axis)
    torch.testing.assert_close(ours(logits, targets), F.cross_entropy(logits, targets))
    torch.testing.assert_close(keras(logits.softmax(1).movedim(1, -1), targets), F.cross_entropy(logits, targets))


def test_cross_entropy_takes_shares_too():
    """Torch's cross_entropy takes one-hot targets and probabilities, whole numbers included."""
    logits, indexes = torch.randn(6, 5), torch.randint(0, 5, (6,))
    loss = resolve_loss("cross_entropy")
    one_hot = F.one_hot(indexes, 5)

    loss.check(logits, one_hot)

    torch.testing.assert_close(loss(logits, one_hot), loss(logits, indexes))


@pytest.mark.parametrize(
    "options",
    [
        {"weight": torch.tensor([1.0, 2.0, 0.5])},
        {"ignore_index": 1},
        {"ignore_index": 2, "weight": torch.tensor([1.0, 2.0, 0.5])},
        {"reduction": "sum"},
        {"label_smoothing": 0.1},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "make", [nn.CrossEntropyLoss, functools.partial(functools.partial, F.cross_entropy)], ids=["module", "partial"]
)
def test_weights_of_one_change_nothing(make, options):
    """Ignored and weighted classes and a sum mean the same with sample weights of 1 as without."""
    outputs, targets = torch.randn(8, 3), torch.tensor([0, 1, 2, 0, 1, 2, 1, 0])
    loss = resolve_loss(make(**options))

    torch.testing.assert_close(loss(outputs, targets, torch.ones(8)), loss(outputs, targets))
    torch.testing.assert_close(loss(outputs, targets), F.cross_entropy(outputs, targets, **options))


def test_kl_div_over_the_batch():
    """Torch's batchmean is kept with weights."""
    outputs, targets = torch.randn(4, 3).log_softmax(1), torch.rand(4, 3)
    loss = resolve_loss(nn.KLDivLoss(reduction="batchmean"))

    torch.testing.assert_close(loss(outputs, targets, torch.ones(4)), loss(outputs, targets))


def test_a_module_is_left_as_it_was():
    """Weighting a module's loss does not touch the module."""
    module = nn.MSELoss()
    loss = copy.deepcopy(resolve_loss(module))

    assert 4.0 == loss(torch.zeros(2, 1), torch.full((2, 1), 2.0), torch.ones(2)).item()
    assert "mean" == module.reduction


class TwoFaced(nn.Module):
    def __init__(self, scalar):
        super().__init__()
        self.scalar = scalar

    def forward(self, outputs, targets):
        values = (outputs - 2 * targets).mean(1)
        return values.mean() if self.scalar else values


def test_a_module_follows_the_outputs_device():
    """A loss module's own tensors are brought to where the model's outputs are."""

    class Followed(TwoFaced):
        def to(self, device):
            self.device = device
            return self

    module = Followed(scalar=True)
    resolve_loss(module).check(torch.ones(2, 3), torch.ones(2, 3))

    assert torch.device("cpu") == module.device


def test_modules_of_the_user_take_outputs_first():
    """A module of one's own is averaged; with a value per sample it takes weights, without it says so."""
    outputs, targets = torch.ones(2, 3), torch.ones(2, 3)

    assert -1.0 == resolve_loss(TwoFaced(scalar=True))(outputs, targets).item()
    assert -1.5 == resolve_loss(TwoFaced(scalar=False))(outputs, targets, torch.tensor([1.0, 2.0])).item()
    with pytest.raises(DataError, match="'two_faced' returns one value for the whole batch"):
        resolve_loss(TwoFaced(scalar=True))(outputs, targets, torch.ones(2))


@pytest.mark.parametrize(
    "function",
    [
        lambda y_true, y_pred: 2 * y_true - y_pred,
        lambda target, output: 2 * target - output,
        lambda labels, logits: 2 * labels - logits,
        lambda y, yhat: 2 * y - yhat,
        lambda a, b: 2 * a - b,
        lambda *both: 2 * both[0] - both[1],
        lambda y_pred, y_true: 2 * y_true - y_pred,
        lambda inputs, target: 2 * target - inputs,
        lambda outputs, targets: 2 * targets - outputs,
        lambda preds, target: 2 * target - preds,
        lambda x, y: 2 * y - x,
        lambda y_hat, y: 2 * y - y_hat,
        lambda predictions, wanted: 2 * wanted - predictions,
        lambda logits, labels, gamma=2: gamma * labels - logits,
    ],
)
def test_names_tell_the_order_of_arguments(function):
    """A function gets targets and outputs where its parameters' names say, else in Keras's order."""
    assert 2 * 5.0 - 3.0 == resolve_loss(function)(torch.tensor([3.0]), torch.tensor([5.0])).item()


def test_a_function_that_cannot_be_called_is_refused():
    """A function of one or three tensors is an error where it is given."""
    for function in (lambda y_true: y_true, lambda anchor, positive, negative: anchor, nn.TripletMarginLoss()):
        with pytest.raises(ArgumentError, match="cannot be called with the targets and the outputs alone"):
            outputs_first(function, where="here")


def test_a_loss_must_return_a_tensor():
    """A number made by item() has no gradients, and is refused."""
    with pytest.raises(DataError, match="returned a float"):
        resolve_loss(lambda y_true, y_pred: y_pred.mean().item())(torch.ones(2), torch.ones(2))


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("binary_crossentropi", "binary_crossentropy"),
        ("cross_entropie", "cross_entropy"),
        ("BCEWithLogitLoss", "BCEWithLogitsLoss"),
        ("mean_square_error", "mean_squared_error"),
    ],
)
def test_an_unknown_name_brings_the_nearest(name, nearest):
    """A typo is an error that suggests the nearest loss."""
    with pytest.raises(UnknownName, match=f"Model.compile: unknown loss '{name}'. Did you mean '{nearest}'?"):
        resolve_loss(name)


@pytest.mark.parametrize(
    "spec", ["TripletMarginLoss", "CTCLoss", "GaussianNLLLoss", 5, None, {"loss": "mse"}, nn.TripletMarginLoss()]
)
def test_what_is_no_loss_is_refused(spec):
    """Losses of three tensors and things that are none are errors where they are given."""
    with pytest.raises(ArgumentError) as caught:
        resolve_loss(spec)

    assert not isinstance(caught.value, UnknownName)


def test_a_loss_is_returned_as_it_is():
    """A loss that was found once is not wrapped again."""
    loss = resolve_loss("mse")

    assert isinstance(loss, Loss)
    assert loss is resolve_loss(loss)


LOGITS = torch.tensor([[-3.1, 4.2, 0.0], [1.0, -1.0, 0.5]])
SHARES = torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]])
INDEXES = torch.tensor([0, 2])
ONE_HOT = torch.tensor([[1.0, 0, 0], [0, 0, 1]])


@pytest.mark.parametrize(
    ("name", "outputs", "targets", "message"),
    [
        (
            "sparse_categorical_crossentropy",
            LOGITS,
            INDEXES,
            "Loss 'sparse_categorical_crossentropy' takes probabilities; the model's outputs range from -3.1 to 4.2. "
            "Use loss='cross_entropy' (takes logits), or end the model with nn.Softmax(dim=-1).",
        ),
        ("categorical_crossentropy", LOGITS, ONE_HOT, "Use loss='cross_entropy'"),
        ("kld", LOGITS, SHARES, "End the model with nn.Softmax(dim=-1)."),
        ("dice", LOGITS, ONE_HOT, "End the model with nn.Sigmoid()."),
        ("sparse_categorical_crossentropy", SHARES * 0.5, INDEXES, "the sums of the model's outputs range from 0.5 to 0.5"),
        ("sparse_categorical_crossentropy", SHARES, ONE_HOT, "Use loss='categorical_crossentropy'."),
        ("categorical_crossentropy", SHARES, INDEXES, "Use loss='sparse_categorical_crossentropy'."),
        ("categorical_crossentropy", SHARES, INDEXES[:, None], "Use loss='sparse_categorical_crossentropy'."),
        ("nll_loss", SHARES.log(), ONE_HOT, "Pass y.argmax(1)."),
        ("nll_loss", LOGITS, INDEXES, "Use loss='cross_entropy' (takes logits), or end the model with nn.LogSoftmax(dim=1)."),
        ("cross_entropy", LOGITS, torch.tensor([1, 3]), "the targets range from 1 to 3"),
        ("cross_entropy", LOGITS, torch.tensor([-1, 2]), "the targets range from -1 to 2"),
        (
            "cross_entropy",
            LOGITS,
            torch.tensor([0.5, 1.0]),
            "class indexes, whole numbers. Received targets that range from 0.5 to 1",
        ),
        ("cross_entropy", LOGITS[:, :1], INDEXES, "needs an output per class"),
        ("cross_entropy", torch.randn(2, 4, 3), torch.zeros(2, 4), "Move the classes there: outputs.movedim(-1, 1)."),
        ("sparse_categorical_crossentropy", torch.rand(2, 3, 4), torch.zeros(2, 4), "outputs.movedim(1, -1)."),
        ("cross_entropy", LOGITS, torch.zeros(2, 7), "Pass one class index per sample."),
        (
            "bce",
            LOGITS,
            ONE_HOT,
            "Use loss='binary_cross_entropy_with_logits' (takes logits), or end the model with nn.Sigmoid().",
        ),
        ("BCELoss", LOGITS, ONE_HOT, "Use loss='binary_cross_entropy_with_logits'"),
        ("bce", SHARES[:, 0], torch.tensor([0, 7]), "takes targets from 0 to 1; they range from 0 to 7"),
        ("soft_margin_loss", LOGITS, ONE_HOT, "pass 2 * y - 1."),
        ("poisson", LOGITS, ONE_HOT, "End it with nn.Softplus()."),
        ("mse", LOGITS, INDEXES, "Where y holds class indexes, use loss='cross_entropy'"),
        ("mse", LOGITS, torch.zeros(2, 5), "(2, 3) cannot be compared with targets of shape (2, 5)"),
        ("mse", LOGITS, torch.zeros(3, 3), "hold different numbers of samples"),
        ("cosine_similarity", LOGITS[:, 0], LOGITS[:, 0], "compares vectors on the last axis"),
        ("mse", LOGITS * torch.nan, LOGITS, "6 of the 6 outputs for the first batch are NaN or infinite"),
        ("mse", LOGITS / 0.0, LOGITS, "are NaN or infinite"),
        ("cross_entropy", LOGITS * torch.nan, INDEXES, "are NaN or infinite"),
        ("mse", LOGITS, LOGITS * torch.nan, "targets hold NaN"),
        ("mse", INDEXES, INDEXES, "no gradients"),
        ("crossentropy", LOGITS, INDEXES, "'sparse_categorical_crossentropy' takes probabilities"),
        ("ce", LOGITS[:, :1], INDEXES[:, None] / 2, "'binary_crossentropy' takes probabilities"),
        (lambda y_true, y_pred: y_pred, LOGITS * torch.nan, LOGITS, "are NaN or infinite"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_remedy(name, outputs, targets, message):
    """The first batch shows what a loss cannot take; the message says what to do."""
    with pytest.raises(DataError) as caught:
        resolve_loss(name).check(outputs, targets)

    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "outputs", "targets"),
    [
        ("cross_entropy", torch.tensor([[0.0, -torch.inf, 1.0]]), torch.tensor([2])),
        ("cross_entropy", LOGITS, torch.tensor([-100, 2])),
        (nn.CrossEntropyLoss(ignore_index=255), LOGITS, torch.tensor([255, 2])),
        (functools.partial(F.cross_entropy, ignore_index=255), LOGITS, torch.tensor([255, 2])),
        ("sparse_categorical_crossentropy", torch.tensor([[0.4995, 0.5]]), torch.tensor([1])),
        ("categorical_crossentropy", torch.tensor([[0.334, 0.333, 0.3345]]).bfloat16() + 2**-9, ONE_HOT[:1]),
        ("crossentropy", SHARES, ONE_HOT),
        ("hinge", LOGITS, ONE_HOT),
        ("msle", SHARES, ONE_HOT),
        ("circle", LOGITS, INDEXES),
        ("ctc", torch.randn(2, 5, 3), torch.tensor([[1, 0], [2, 1]])),
        (lambda y_true, y_pred: y_pred, LOGITS - torch.inf, INDEXES),
        (lambda y_true, y_pred: y_pred[0], (LOGITS, LOGITS), {"any": "thing"}),
    ],
)
def test_what_fits_passes(name, outputs, targets):
    """Masked logits, ignored classes, rounding and a user's own structures are no mistakes."""
    resolve_loss(name).check(outputs, targets)


def test_masked_logits_leave_the_loss_finite():
    """A logit of minus infinity excludes a class and nothing else."""
    loss = resolve_loss("cross_entropy")(torch.tensor([[0.0, -torch.inf, 0.0]]), torch.tensor([2]))

    torch.testing.assert_close(loss, torch.tensor(2.0).log())


@pytest.mark.parametrize("name", sorted(set(FORMULAS) - {"sparse_categorical_crossentropy"}))
def test_nan_outputs_give_a_nan_loss(name):
    """Training that has diverged shows it in the loss, where TerminateOnNaN looks, and does not crash."""
    y, p = example(name, (3, 4), 0)

    assert resolve_loss(name)(torch.from_numpy(p * np.nan), torch.from_numpy(y)).isnan()


@pytest.mark.parametrize("outputs", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("name", ["mse", "mse_loss", "bce", "cross_entropy"])
def test_half_precision_is_compared_in_single(name, outputs):
    """Outputs of half precision meet targets without rounding these; wider outputs keep their own precision."""
    dtype = getattr(torch, outputs)
    targets = torch.tensor([1, 0, 1]) if name == "cross_entropy" else torch.tensor([[0.1001, 0.5], [0.1, 0.2], [1.0, 0.0]])
    p = torch.tensor([[0.25, 0.75], [0.5, 0.5], [0.75, 0.25]])

    loss = resolve_loss(name)(p.to(dtype), targets)

    assert torch.promote_types(dtype, torch.float32) == loss.dtype
    torch.testing.assert_close(loss.float(), resolve_loss(name)(p, targets))


def test_weights_that_do_not_fit_are_refused():
    """Two weights for three samples are an error that names both shapes."""
    with pytest.raises(DataError, match=r"weights of shape \(2,\) do not fit values of shape \(3,\)"):
        resolve_loss("mse")(torch.ones(3, 1), torch.ones(3, 1), torch.ones(2))


def test_weights_in_time():
    """Weights (B, T) go to each step's value; a column of weights goes to the samples."""
    outputs, targets, weights = torch.rand(2, 3, 4), torch.rand(2, 3, 4), torch.rand(2, 3)
    values = (outputs - targets).square().mean(-1)
    loss = resolve_loss("mse")

    torch.testing.assert_close(loss(outputs, targets, weights), (values * weights).mean())
    torch.testing.assert_close(loss(outputs[:, 0], targets[:, 0], weights[:, :1]), (values[:, 0] * weights[:, 0]).mean())


def test_bce_works_under_autocast():
    """Keras's binary cross-entropy, which torch refuses under autocast, works there."""
    p, y = torch.rand(4, 1, requires_grad=True), torch.ones(4, 1)
    with torch.autocast("cpu", torch.bfloat16):
        loss = resolve_loss("bce")(p.bfloat16(), y)

    torch.testing.assert_close(loss, resolve_loss("bce")(p.bfloat16().float(), y))


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ("cross_entropy", "from_logits"),
        (nn.CrossEntropyLoss(), "from_logits"),
        (functools.partial(F.cross_entropy, label_smoothing=0.1), "from_logits"),
        ("BCEWithLogitsLoss", "from_logits"),
        ("bce", "probabilities"),
        (nn.BCELoss, "probabilities"),
        ("sparse_categorical_crossentropy", "probabilities"),
        ("mse", "other"),
        (lambda y_true, y_pred: y_pred, "other"),
    ],
)
def test_a_loss_says_what_outputs_it_takes(spec, kind):
    """The kind tells metrics whether outputs are logits or probabilities."""
    assert kind == resolve_loss(spec).kind
