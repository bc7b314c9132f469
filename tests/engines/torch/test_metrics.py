import copy
import json
import math
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchmetrics
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from torch import nn

from jalon.engines.torch.losses import resolve_loss
from jalon.engines.torch.metrics import METRICS, Metric, check_metric_name, resolve_metric
from jalon.engines.torch.running import Mean
from jalon.errors import ArgumentError, DataError, UnknownName


def resolve(spec, outputs=None, targets=None, **more):
    return resolve_metric(spec, outputs=outputs, targets=targets, **({"loss_kind": "probabilities"} | more))


def measured(spec, outputs, targets, weights=None, batch=3, **more):
    """Return a metric's value over data that comes in batches of unequal size."""
    metric = resolve(spec, outputs[:batch], targets[:batch], **more)
    metric.reset()
    for i in range(0, len(outputs), batch):
        metric.update(outputs[i : i + batch], targets[i : i + batch], None if weights is None else weights[i : i + batch])
    return metric.result().item()


# ---- Mean ------------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(
    values=st.lists(st.tuples(st.floats(-10, 10, width=32), st.integers(1, 64)), min_size=1, max_size=80),
    kind=st.sampled_from(["number", "tensor"]),
)
def test_a_mean_is_weighted(values, kind):
    """Each value counts as often as its weight says, a number or a tensor."""
    mean = Mean()
    for value, weight in values:
        mean.add(torch.tensor(value), weight if kind == "number" else torch.tensor(float(weight)))

    np.testing.assert_allclose(
        mean.result().item(), np.average([v for v, _ in values], weights=[w for _, w in values]), rtol=1e-6, atol=1e-6
    )
    assert sum(weight for _, weight in values) == mean.count


def test_a_mean_of_nothing_is_nan():
    """Where nothing was added, the mean is NaN, and nothing counts."""
    mean = Mean()
    mean.add(torch.tensor(1.0))
    mean.reset()

    assert mean.result().isnan()
    assert 0 == mean.count


def test_a_long_epoch_loses_nothing():
    """Sixty thousand batches are averaged as exactly as one; a float32 sum is off in the fourth digit."""
    value = torch.tensor(0.7)
    mean, naive = Mean(), torch.zeros(())
    for _ in range(60_000):
        mean.add(value, 32)
        naive.add_(value, alpha=32)

    assert abs(naive.item() / (60_000 * 32) / value.item() - 1) > 5e-4
    assert abs(mean.result().item() / value.item() - 1) < 3e-7


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 99), length=st.integers(1, 90), cut=st.integers(0, 90), weighted=st.booleans())
def test_a_mean_resumes_bit_for_bit(seed, length, cut, weighted):
    """Saved anywhere and taken back, a mean ends as if it had never been interrupted."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(length, generator=generator)
    weights = torch.rand(length, generator=generator) if weighted else [0.1 * i + 1 for i in range(length)]
    whole, first, second = Mean(), Mean(), Mean()
    for i in range(length):
        whole.add(values[i], weights[i])
        if i < cut:
            first.add(values[i], weights[i])

    state = first.state()
    first.add(torch.tensor(5.0), 7)  # what happens later does not reach what was saved
    second.load_state(state)
    for i in range(min(cut, length), length):
        second.add(values[i], weights[i])

    assert whole.result().item() == second.result().item()
    assert whole.state().keys() == second.state().keys()


def test_a_mean_takes_whole_numbers_and_gradients():
    """Counts are averaged as numbers, and a loss with gradients leaves no graph behind."""
    mean = Mean()
    mean.add(torch.tensor(3), 2)
    mean.add(torch.tensor(1.5, requires_grad=True), 2)

    assert 2.25 == mean.result().item()
    assert not mean.result().requires_grad


# ---- accuracy --------------------------------------------------------------------------------------------------------

ROWS = 8
LOGITS = torch.randn(ROWS, 4, generator=torch.Generator().manual_seed(1)) * 3
INDEXES = torch.tensor([0, 1, 2, 3, 0, 1, 2, 3])
ONE_HOT = F.one_hot(INDEXES, 4).float()
LABELS = torch.tensor([0, 1, 1, 0, 1, 0, 1, 1])
SHARES = torch.tensor([0.2, 0.58, 0.4, 0.6, 0.9, 0.1, 0.61, 0.45])
SPARSE = (LOGITS.argmax(1) == INDEXES).float().mean().item()
BINARY = 5 / 8


@pytest.mark.parametrize("name", ["accuracy", "acc", "Accuracy", "ACC"])
@pytest.mark.parametrize(
    ("outputs", "targets", "expected"),
    [
        (LOGITS, INDEXES, SPARSE),
        (LOGITS, INDEXES.view(-1, 1), SPARSE),
        (LOGITS, INDEXES.float(), SPARSE),
        (LOGITS, INDEXES.int(), SPARSE),
        (LOGITS, ONE_HOT, SPARSE),
        (SHARES, LABELS, BINARY),
        (SHARES.view(-1, 1), LABELS, BINARY),
        (SHARES.view(-1, 1), LABELS.view(-1, 1).float(), BINARY),
        (SHARES, LABELS.view(-1, 1), BINARY),
    ],
)
def test_accuracy_goes_by_shapes(name, outputs, targets, expected):
    """Accuracy is sparse, categorical or binary as outputs and targets are shaped, under the name as written."""
    metric = resolve(name, outputs, targets)

    assert name == metric.name
    assert "max" == metric.direction
    assert pytest.approx(expected) == measured(name, outputs, targets)


def test_accuracy_can_wait_for_its_first_batch():
    """Without a batch at hand, the kind is settled by the first one."""
    metric = resolve("accuracy")
    metric.update(LOGITS, INDEXES)

    assert pytest.approx(SPARSE) == metric.result().item()


@pytest.mark.parametrize("axis", [1, -1])
def test_accuracy_of_images(axis):
    """The classes of an image's points are on the loss's own axis."""
    logits, targets = torch.randn(5, 4, 3, 4), torch.randint(0, 4, (5, 3, 4))
    expected = (logits.argmax(1) == targets).float().mean().item()
    outputs = logits if axis == 1 else logits.movedim(1, -1)

    assert pytest.approx(expected) == measured("accuracy", outputs, targets, class_axis=axis)
    one_hot = F.one_hot(targets, 4)
    assert pytest.approx(expected) == measured(
        "accuracy", outputs, one_hot.movedim(-1, 1) if axis == 1 else one_hot, class_axis=axis
    )


def test_accuracy_finds_the_axis_that_fits():
    """Where the loss does not say, the axis of classes is the one that the targets lack."""
    logits, targets = torch.randn(5, 4, 3, 2), torch.randint(0, 4, (5, 3, 2))

    assert pytest.approx((logits.argmax(1) == targets).float().mean().item()) == measured("accuracy", logits, targets)


def test_each_output_stands_alone_under_torch_s_binary_losses():
    """Maps under BCEWithLogitsLoss are told point by point."""
    logits, targets = torch.randn(4, 3, 5), torch.randint(0, 2, (4, 3, 5)).float()
    loss = resolve_loss("BCEWithLogitsLoss")

    value = measured("accuracy", logits, targets, loss_kind=loss.kind, class_axis=loss.class_axis)

    assert pytest.approx(((logits > 0) == targets.bool()).float().mean().item()) == value


@pytest.mark.parametrize("name", ["accuracy", "binary_accuracy", "precision", "Recall", "f1_score"])
def test_logits_are_compared_with_zero(name):
    """Where the loss takes logits, two classes part at 0 and not at 0.5."""
    expected = measured(name, SHARES, LABELS)

    assert pytest.approx(expected) == measured(name, SHARES.logit(), LABELS, loss_kind="from_logits")
    assert expected != measured(name, SHARES.logit(), LABELS)


@pytest.mark.parametrize(
    ("name", "outputs", "targets", "expected"),
    [
        ("binary_accuracy", SHARES, LABELS, BINARY),
        ("BinaryAccuracy", SHARES.view(4, 2), LABELS.view(4, 2), BINARY),
        ("categorical_accuracy", LOGITS, ONE_HOT, SPARSE),
        ("sparse_categorical_accuracy", LOGITS, INDEXES, SPARSE),
        ("SparseCategoricalAccuracy", LOGITS, INDEXES.view(-1, 1), SPARSE),
    ],
)
def test_each_accuracy_by_its_name(name, outputs, targets, expected):
    """Each of Keras's accuracies has its name and its class's name."""
    assert pytest.approx(expected) == measured(name, outputs, targets)


@pytest.mark.parametrize("name", ["sparse_top_k_categorical_accuracy", "top_k_categorical_accuracy"])
@pytest.mark.parametrize("axis", [-1, 1])
def test_top_k_looks_at_five(name, axis):
    """A sample is right where its class is among the five greatest outputs."""
    logits, targets = torch.randn(20, 3, 9), torch.randint(0, 9, (20, 3))
    expected = sk.top_k_accuracy_score(targets.flatten(), logits.flatten(0, 1), k=5, labels=range(9))
    given_targets = targets if name.startswith("sparse") else F.one_hot(targets, 9).movedim(-1, axis)

    assert pytest.approx(expected) == measured(name, logits.movedim(-1, axis), given_targets, class_axis=axis)


def test_top_k_of_few_classes_is_always_right():
    """Among four classes, the five greatest hold every class."""
    assert 1.0 == measured("sparse_top_k_categorical_accuracy", LOGITS, INDEXES)


WEIGHTS = torch.tensor([1.0, 0.0, 2.0, 0.5, 1.0, 1.0, 3.0, 0.25])


@pytest.mark.parametrize(
    ("name", "outputs", "targets", "reference"),
    [
        ("accuracy", LOGITS, INDEXES, lambda p, y, w: sk.accuracy_score(y, p.argmax(1), sample_weight=w)),
        ("binary_accuracy", SHARES, LABELS, lambda p, y, w: sk.accuracy_score(y, p > 0.5, sample_weight=w)),
        ("precision", SHARES, LABELS, lambda p, y, w: sk.precision_score(y, p > 0.5, sample_weight=w)),
        ("recall", SHARES, LABELS, lambda p, y, w: sk.recall_score(y, p > 0.5, sample_weight=w)),
        ("Precision", SHARES.view(-1, 1), LABELS, lambda p, y, w: sk.precision_score(y, p > 0.5, sample_weight=w)),
        ("true_positives", SHARES, LABELS, lambda p, y, w: sk.confusion_matrix(y, p > 0.5, sample_weight=w)[1, 1]),
        ("FalsePositives", SHARES, LABELS, lambda p, y, w: sk.confusion_matrix(y, p > 0.5, sample_weight=w)[0, 1]),
        ("FalseNegatives", SHARES, LABELS, lambda p, y, w: sk.confusion_matrix(y, p > 0.5, sample_weight=w)[1, 0]),
        ("true_negatives", SHARES, LABELS, lambda p, y, w: sk.confusion_matrix(y, p > 0.5, sample_weight=w)[0, 0]),
        ("AUC", SHARES, LABELS, lambda p, y, w: sk.roc_auc_score(y, p, sample_weight=w)),
        ("f1_score", SHARES, LABELS, lambda p, y, w: sk.f1_score(y, p > 0.5, sample_weight=w)),
        ("f1_score", LOGITS, INDEXES, lambda p, y, w: sk.f1_score(y, p.argmax(1), average="macro", sample_weight=w)),
        ("F1Score", LOGITS, ONE_HOT, lambda p, y, w: sk.f1_score(y.argmax(1), p.argmax(1), average="macro", sample_weight=w)),
        ("r2_score", LOGITS, ONE_HOT, lambda p, y, w: sk.r2_score(y, p, sample_weight=w)),
        ("R2Score", SHARES, LABELS, lambda p, y, w: sk.r2_score(y, p, sample_weight=w)),
        ("mse", LOGITS, ONE_HOT, lambda p, y, w: sk.mean_squared_error(y, p, sample_weight=w)),
        ("MeanAbsoluteError", SHARES.view(-1, 1), LABELS, lambda p, y, w: sk.mean_absolute_error(y, p, sample_weight=w)),
        ("root_mean_squared_error", SHARES, LABELS, lambda p, y, w: sk.root_mean_squared_error(y, p, sample_weight=w)),
        ("MSELoss", LOGITS, ONE_HOT, lambda p, y, w: sk.mean_squared_error(y, p, sample_weight=w)),
        (
            "cross_entropy",
            LOGITS,
            INDEXES,
            lambda p, y, w: sk.log_loss(y, p.softmax(1).double(), sample_weight=w, labels=range(4)),
        ),
        (
            "sparse_categorical_crossentropy",
            LOGITS.softmax(1),
            INDEXES,
            lambda p, y, w: sk.log_loss(y, (p / p.sum(1, keepdim=True)).double(), sample_weight=w, labels=range(4)),
        ),
        ("cosine_similarity", LOGITS, ONE_HOT, lambda p, y, w: np.average(F.cosine_similarity(p, y), weights=w)),
    ],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_values_are_those_of_the_whole_data(name, outputs, targets, reference, weighted):
    """Batch by batch, with and without weights, a metric gives what scikit-learn gives on all samples at once."""
    weights = WEIGHTS if weighted else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # scikit-learn's about probabilities not adding up in float32
        expected = reference(outputs, targets, weights)

    assert pytest.approx(float(expected), rel=1e-5) == measured(name, outputs, targets, weights)


def test_weights_in_time_belong_to_each_step():
    """Weights (B, T) count step by step."""
    hits = LOGITS.argmax(1) == INDEXES

    value = measured("accuracy", LOGITS.view(4, 2, 4), INDEXES.view(4, 2), WEIGHTS.view(4, 2))

    assert pytest.approx(np.average(hits, weights=WEIGHTS)) == value


def test_samples_count_alike_however_long():
    """A sample's value is the mean of its own, so that batches of long sequences weigh no more than short ones."""
    metric = resolve("binary_accuracy")
    metric.update(torch.ones(2, 10), torch.ones(2, 10))
    metric.update(torch.ones(2, 4), torch.zeros(2, 4))

    assert 0.5 == metric.result().item()


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 999), rows=st.integers(2, 200))
def test_auc_is_keras_s(seed, rows):
    """The area under the curve is the trapezoid's over Keras's 200 thresholds."""
    rng = np.random.default_rng(seed)
    p, y = rng.uniform(size=rows).astype(np.float32), rng.integers(0, 2, size=rows)
    y[:2] = 0, 1
    thresholds = np.array([-1e-7, *(i / 199 for i in range(1, 199)), 1 + 1e-7])
    told = p[None] > thresholds[:, None]
    true_rate, false_rate = told[:, y == 1].mean(1), told[:, y == 0].mean(1)
    expected = ((false_rate[:-1] - false_rate[1:]) * (true_rate[:-1] + true_rate[1:]) / 2).sum()

    assert pytest.approx(expected, abs=1e-6) == measured("auc", torch.from_numpy(p), torch.from_numpy(y), batch=rows)


def test_auc_of_logits_and_of_nan():
    """Logits are turned into probabilities; NaN is the lowest of them and breaks nothing."""
    assert measured("AUC", SHARES, LABELS) == measured("AUC", SHARES.logit(), LABELS, loss_kind="from_logits")
    assert 0.5 == measured("AUC", SHARES * torch.nan, LABELS)


def test_competing_logits_are_shares_of_one():
    """One-hot targets under cross_entropy: a class is told where its share is above a half."""
    expected = measured("precision", LOGITS.softmax(1), ONE_HOT)

    assert expected == measured("precision", LOGITS, ONE_HOT, loss_kind="from_logits", class_axis=1)
    assert expected != measured("precision", LOGITS, ONE_HOT, loss_kind="from_logits", class_axis=None)


def test_nothing_told_is_no_precision():
    """Where no output tells the second class precision is 0, as in Keras; where nothing was seen it is NaN."""
    metric = resolve("precision")

    assert metric.result().isnan()
    metric.update(torch.zeros(3), torch.ones(3))
    assert 0.0 == metric.result().item()


def test_constant_targets_have_no_variance_to_explain():
    """R2 of constant targets is 0, as in Keras."""
    assert 0.0 == measured("r2_score", torch.tensor([1.0, 2.0]), torch.tensor([3.0, 3.0]))


def test_r2_survives_a_large_mean():
    """Targets far from 0 are no trouble in float64 sums."""
    y = torch.arange(100.0) + 1e5

    assert pytest.approx(0.75, abs=0.01) == measured("r2_score", y + torch.randn(100).sign() * 14.4, y)


# ---- resuming, copying, directions -----------------------------------------------------------------------------------

EVERY = {
    **{name: (SHARES, LABELS) for name in METRICS if "categorical" not in name and name != "cosine_similarity"},
    **{name: (LOGITS, INDEXES if "sparse" in name else ONE_HOT) for name in METRICS if "categorical" in name},
    "cosine_similarity": (LOGITS, ONE_HOT),
    "cross_entropy": (LOGITS, INDEXES),
}


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("name", EVERY)
def test_a_metric_resumes_in_the_middle_of_an_epoch(name, weights):
    """What was taken in before a crash counts bit for bit after it."""
    outputs, targets = EVERY[name]
    whole, first, second = (resolve(name, outputs, targets) for _ in range(3))
    for i in range(40):
        whole.update(outputs + i / 50, targets, weights)
        if i < 35:
            first.update(outputs + i / 50, targets, weights)
    second.load_state(copy.deepcopy(first.state()))

    assert first.result().item() == second.result().item()
    for i in range(35, 40):
        second.update(outputs + i / 50, targets, weights)
    assert whole.result().item() == second.result().item()


@pytest.mark.parametrize("name", EVERY)
def test_a_metric_starts_afresh(name):
    """After a reset, and in a copy, only what comes then counts."""
    outputs, targets = EVERY[name]
    metric = resolve(name, outputs, targets)
    twin = copy.deepcopy(metric)
    metric.update(outputs, targets)
    first = metric.result().item()

    assert twin.result().isnan()
    metric.update(-outputs, targets)
    metric.reset()
    assert metric.result().isnan()
    metric.update(outputs, targets)
    assert first == metric.result().item()
    assert 0 == metric.result().ndim
    assert math.isfinite(first)


@pytest.mark.parametrize(
    ("names", "direction"),
    [
        (("accuracy", "acc", "AUC", "precision", "recall", "f1_score", "r2_score", "cosine_similarity", "true_positives"), "max"),
        (("mse", "mae", "root_mean_squared_error", "LogCoshError", "kl_divergence", "cross_entropy", "false_negatives"), "min"),
    ],
)
def test_a_name_says_what_is_better(names, direction):
    """Every named metric knows its direction."""
    for name in names:
        assert direction == resolve(name).direction


def test_a_metric_on_half_precision():
    """Outputs of half precision are measured in single."""
    assert pytest.approx(measured("mse", SHARES.half().float(), LABELS)) == measured("mse", SHARES.half(), LABELS)


# ---- torchmetrics ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "outputs", "targets", "name", "direction"),
    [
        (torchmetrics.classification.MulticlassAccuracy(4, average="micro"), LOGITS, INDEXES, "multiclass_accuracy", "max"),
        (torchmetrics.classification.BinaryAUROC(), SHARES, LABELS, "binary_auroc", "max"),
        (torchmetrics.classification.BinaryF1Score(), SHARES, LABELS, "binary_f1_score", "max"),
        (torchmetrics.MeanSquaredError(), SHARES, LABELS.float(), "mean_squared_error", "min"),
        (torchmetrics.ExplainedVariance(), SHARES, LABELS.float(), "explained_variance", "max"),
    ],
)
def test_torchmetrics_objects(metric, outputs, targets, name, direction):
    """An object of torchmetrics gives its own value, name and direction, and resumes in the middle of an epoch."""
    expected = copy.deepcopy(metric)
    expected.update(outputs, targets)

    first, second = resolve(metric, outputs, targets), resolve(copy.deepcopy(metric), outputs, targets)

    assert (name, direction) == (first.name, first.direction)
    assert first.result().isnan()
    first.update(outputs[:5], targets[:5])
    second.load_state(copy.deepcopy(first.state()))
    assert first.result().item() == second.result().item()
    second.update(outputs[5:], targets[5:])
    assert pytest.approx(expected.compute().item()) == second.result().item()
    second.reset()
    assert second.result().isnan()


@pytest.mark.parametrize("outputs", [SHARES, SHARES.view(-1, 1)])
@pytest.mark.parametrize("targets", [LABELS, LABELS.float(), LABELS.view(-1, 1)])
def test_torchmetrics_take_what_binary_losses_take(outputs, targets):
    """Columns and float labels, which torchmetrics refuses, are fitted to what it takes."""
    classification = torchmetrics.classification

    assert pytest.approx(BINARY) == measured(classification.BinaryAccuracy(), outputs, targets)
    told = torch.stack([1 - outputs.flatten(), outputs.flatten()], 1)
    expected = sk.roc_auc_score(LABELS, SHARES)
    assert pytest.approx(expected) == measured(classification.MulticlassAUROC(2), told, targets)


def test_torchmetrics_by_name():
    """A class of torchmetrics that needs no arguments is found by name; one that does is asked for as an object."""
    metric = resolve("BinaryMatthewsCorrCoef", SHARES, LABELS)
    metric.update(SHARES, LABELS)

    assert "BinaryMatthewsCorrCoef" == metric.name
    assert pytest.approx(sk.matthews_corrcoef(LABELS, SHARES > 0.5)) == metric.result().item()
    with pytest.raises(ArgumentError, match=r"MulticlassAccuracy needs arguments .* metrics=\[MulticlassAccuracy\(...\)\]"):
        check_metric_name("MulticlassAccuracy", "Model.compile")


def test_torchmetrics_say_before_the_first_step_what_they_cannot_take():
    """A shape that torchmetrics refuses, a collection, and weights are errors that say so; the object stays untouched."""
    metric = torchmetrics.classification.BinaryAccuracy()

    with pytest.raises(DataError, match=r"'binary_accuracy' cannot take outputs of shape \(8, 4\)"):
        resolve(metric, LOGITS, INDEXES)
    with pytest.raises(DataError, match="must return a single number"):
        resolve(torchmetrics.classification.BinaryConfusionMatrix(), SHARES, LABELS)
    with pytest.raises(ArgumentError, match="MetricCollection is several metrics"):
        resolve(torchmetrics.MetricCollection([metric]))
    with pytest.raises(DataError, match="takes no sample weights"):
        resolve(metric).update(SHARES, LABELS, WEIGHTS)
    assert 0 == metric.update_count


# ---- functions and objects -------------------------------------------------------------------------------------------


def share_right(y_true, y_pred):
    return (y_pred.round() == y_true).float()


def test_functions():
    """A function's values are averaged over the samples, in the order of its arguments' names, under its own name."""
    scalar = resolve(lambda preds, target: (preds - target).abs().mean())
    scalar.update(SHARES[:6], LABELS[:6])
    scalar.update(SHARES[6:], LABELS[6:])

    assert "share_right" == resolve(share_right).name
    assert resolve(share_right).direction is None
    assert pytest.approx(BINARY) == measured(share_right, SHARES, LABELS)
    assert pytest.approx(np.average((SHARES.round() == LABELS), weights=WEIGHTS)) == measured(
        share_right, SHARES, LABELS, WEIGHTS
    )
    assert pytest.approx((SHARES - LABELS).abs().mean().item()) == scalar.result().item()
    assert pytest.approx(0.25) == measured(lambda y_true, y_pred: 0.25, SHARES, LABELS)
    with pytest.raises(DataError, match="one value for the whole batch"):
        scalar.update(SHARES, LABELS, WEIGHTS)


def test_a_function_may_say_what_is_better():
    """The attribute direction of a function is its direction; another word is an error."""

    def gain(y_true, y_pred):
        return y_pred

    gain.direction = "max"
    assert "max" == resolve(gain).direction
    gain.direction = "up"
    with pytest.raises(ArgumentError, match=r"gain.direction must be 'min' or 'max'. Received: 'up'"):
        resolve(gain)


def test_modules_and_losses():
    """A loss of torch's, object or class, can be measured."""
    for spec in (nn.L1Loss(), nn.L1Loss, resolve_loss("mae")):
        metric = resolve(spec, SHARES, LABELS)
        metric.update(SHARES, LABELS)

        assert metric.name in ("l1_loss", "mae")
        assert "min" == metric.direction
        assert pytest.approx((SHARES - LABELS).abs().mean().item()) == metric.result().item()


def test_a_metric_of_the_user_is_taken_as_it_is():
    """An object or class derived from Metric is used itself."""

    class Rows(Metric):
        def __init__(self):
            super().__init__("rows", "max")

    own = Rows()
    assert own is resolve(own)
    assert isinstance(resolve(Rows), Rows)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("acuracy", "accuracy"),
        ("root_mean_squared_eror", "root_mean_squared_error"),
        ("msle_", "mse_loss"),
        ("Precison", "precision"),
    ],
)
def test_an_unknown_name_brings_the_nearest_metric(name, nearest):
    """A typo is an error at compile time that suggests the nearest metric."""
    with pytest.raises(UnknownName, match=f"Model.compile: unknown metric '{name}'. Did you mean '{nearest}'?"):
        check_metric_name(name, "Model.compile")


def test_what_can_be_no_metric_is_refused():
    """Numbers and nothing are errors at compile time; names, functions and objects pass."""
    for spec in (5, None, [1]):
        with pytest.raises(ArgumentError, match="a metric must be a name"):
            check_metric_name(spec, "Model.compile")
    for spec in ("acc", "MeanSquaredError", "mse", "cross_entropy", share_right, torchmetrics.MeanSquaredError(), nn.L1Loss):
        check_metric_name(spec, "Model.compile")


@pytest.mark.parametrize(
    ("name", "outputs", "targets", "message"),
    [
        ("precision", LOGITS, INDEXES, "torchmetrics.classification.MulticlassPrecision(10)"),
        ("AUC", LOGITS, INDEXES, "tells two classes apart"),
        ("accuracy", LOGITS, torch.zeros(8, 7), "Class indexes of shape (8, 7) do not fit outputs of shape (8, 4)"),
        ("categorical_accuracy", LOGITS, INDEXES, "is not the outputs' shape"),
        ("sparse_categorical_accuracy", LOGITS, ONE_HOT, "The outputs must have one more axis"),
        ("sparse_categorical_crossentropy", LOGITS, INDEXES, "Use loss='cross_entropy'"),
        ("mse", LOGITS, INDEXES, "compares element by element"),
        ("f1_score", LOGITS.view(2, 4, 4), INDEXES, "takes outputs (B, classes)"),
        ("r2_score", LOGITS, INDEXES, "is not the outputs' shape"),
    ],
)
def test_what_cannot_be_measured_is_refused(name, outputs, targets, message):
    """The first batch shows what a metric cannot take; the message says what to do."""
    with pytest.raises(DataError) as caught:
        resolve(name, outputs, targets)

    assert message in str(caught.value)


def test_states_are_small_tensors():
    """A metric's state is tensors by name, which a checkpoint can hold."""
    metric = resolve("accuracy", LOGITS, INDEXES)
    metric.update(LOGITS, INDEXES)

    state = metric.state()

    assert all(isinstance(value, torch.Tensor) for value in state.values())
    assert json.dumps({key: value.tolist() for key, value in state.items()})
