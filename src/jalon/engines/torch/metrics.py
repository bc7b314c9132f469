"""Metrics by name, as ``torchmetrics`` objects and as functions; values stay on the device until they are read.

Names are Keras's, and every loss's; a metric goes into the logs under the name that the user wrote. Metrics of two classes
take a probability above 0.5 for the second class; where the loss takes logits, a logit above 0.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import inspect
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from jalon.core.trainer import Direction
from jalon.engines.torch.functions import (
    EPSILON,
    cosine_similarity,
    in_words,
    like_outputs,
    like_values,
    name_of,
    outputs_first,
)
from jalon.engines.torch.losses import Loss, loss_names, resolve_loss
from jalon.engines.torch.running import Mean, State, Sum, prefixed, under
from jalon.errors import ArgumentError, DataError, UnknownName

Hits = Callable[[Tensor, Tensor], Tensor]

THRESHOLDS = 200
"""At how many thresholds the area under a curve is reckoned, as in Keras."""
TOP = 5
"""Among how many classes the top-k accuracies look, as in Keras."""


# ---- metrics ---------------------------------------------------------------------------------------------------------


class Metric:
    """Measures one output over the batches of a phase.

    Args:
        name: Its name in the logs.
        direction: Whether less or more of it is better, or ``None`` where nobody said.
    """

    def __init__(self, name: str, direction: Direction | None = None) -> None:
        self.name = name
        self.direction = direction

    def __repr__(self) -> str:
        return f"<Metric {self.name}>"

    def check(self, outputs: Tensor, targets: Tensor) -> None:
        """Refuse outputs and targets that cannot be measured.

        Raises:
            DataError: They do not fit; the remedy is named.
        """

    def reset(self) -> None:
        """Forget everything, before a phase."""
        raise NotImplementedError

    def update(self, outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> None:
        """Take in a batch.

        Args:
            outputs: What the model returned ``(B, ...)``, without gradients.
            targets: What it should have returned.
            weights: One weight per sample ``(B,)``.
        """
        raise NotImplementedError

    def result(self) -> Tensor:
        """Return the value so far, 0-d and on the device; NaN where nothing was seen."""
        raise NotImplementedError

    def state(self) -> State:
        """Return what was taken in so far, to go on from in the middle of an epoch."""
        raise NotImplementedError

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what ``state`` returned."""
        raise NotImplementedError


class MeanMetric(Metric):
    """Is the mean over the samples of what a function returns.

    Args:
        name: Its name in the logs.
        compare: Takes ``(outputs, targets)`` and returns a value per sample, or one for the batch.
        direction: Whether less or more of it is better.
    """

    def __init__(self, name: str, compare: Callable[[Tensor, Tensor], Any], direction: Direction | None) -> None:
        super().__init__(name, direction)
        self._compare = compare
        self._mean = Mean()

    def reset(self) -> None:
        self._mean.reset()

    def update(self, outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> None:
        values = self._compare(outputs, targets)
        if not isinstance(values, Tensor):
            values = torch.as_tensor(values, dtype=torch.float32, device=outputs.device)
        if values.ndim == 0 and weights is None:
            self._mean.add(values, outputs.shape[0])
        else:
            self._mean.add_each(values, weights, who=f"Metric {self.name!r}")

    def result(self) -> Tensor:
        return self._mean.result()

    def state(self) -> State:
        return self._mean.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self._mean.load_state(state)


class RootMean(MeanMetric):
    """Is the square root of a mean."""

    def result(self) -> Tensor:
        return super().result().sqrt()


class LossMetric(MeanMetric):
    """Is a loss, measured."""

    def __init__(self, name: str, loss: Loss, direction: Direction | None) -> None:
        super().__init__(name, loss.each, direction)
        self._loss = loss

    def check(self, outputs: Tensor, targets: Tensor) -> None:
        self._loss.check(outputs, targets)

    def update(self, outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> None:
        if weights is None:
            self._mean.add(self._loss(outputs, targets), outputs.shape[0])
        else:
            super().update(outputs, targets, weights)


class Accuracy(MeanMetric):
    """Is the share of samples that were told right.

    Args:
        name: Its name in the logs.
        choose: Returns, for the first batch, what tells which samples were right.
    """

    def __init__(self, name: str, choose: Callable[[Tensor, Tensor], Hits]) -> None:
        super().__init__(name, self._first, "max")
        self._choose = choose

    def check(self, outputs: Tensor, targets: Tensor) -> None:
        self._choose(outputs, targets)

    def update(self, outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> None:
        hits = self._compare(outputs, targets)
        if weights is None and hits.ndim == 1:
            self._mean.add_sum(_how_many(hits), hits.shape[0])
        else:
            self._mean.add_each(hits, weights, who=f"Metric {self.name!r}")

    def _first(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self._compare = self._choose(outputs, targets)
        hits: Tensor = self._compare(outputs, targets)
        return hits


class SumsMetric(Metric):
    """Is reckoned from several running sums.

    Args:
        name: Its name in the logs.
        direction: Whether less or more of it is better.
        sums: Their names.
    """

    def __init__(self, name: str, direction: Direction | None, sums: tuple[str, ...]) -> None:
        super().__init__(name, direction)
        self._sums = {each: Sum() for each in sums}

    def reset(self) -> None:
        for each in self._sums.values():
            each.reset()

    def result(self) -> Tensor:
        sums = {name: each.result() for name, each in self._sums.items()}
        known = {name: value for name, value in sums.items() if value is not None}
        return self._reckon(**known) if len(known) == len(sums) else torch.tensor(math.nan)

    def state(self) -> State:
        return {key: value for name, each in self._sums.items() for key, value in prefixed(name, each.state()).items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        for name, each in self._sums.items():
            each.load_state(under(name, state))

    def _reckon(self, **sums: Tensor) -> Tensor:
        raise NotImplementedError


class Confusion(SumsMetric):
    """Counts how outputs of two classes were told: precision, recall, and the four counts themselves.

    Args:
        name: Its name in the logs.
        direction: Whether less or more of it is better.
        cells: What is counted: the first alone, or as a share of all.
        asked: What the outputs are.
    """

    def __init__(self, name: str, direction: Direction | None, cells: tuple[str, ...], asked: Asked) -> None:
        super().__init__(name, direction, cells)
        self._asked = asked

    def check(self, outputs: Tensor, targets: Tensor) -> None:
        _two_classes(self.name, outputs, targets)

    def update(self, outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> None:
        positive = self._asked.positive(outputs)
        true = like_outputs(outputs, targets)[1] != 0
        fitted = None if weights is None else like_values(weights, outputs, f"Metric {self.name!r}")
        for cell, total in self._sums.items():
            told = _CELLS[cell](positive, true)
            total.add(_how_many(told) if fitted is None else (told * fitted).sum())

    def _reckon(self, **sums: Tensor) -> Tensor:
        first, *others = sums.values()
        return _share(first, first + others[0]) if others else first


class AUC(SumsMetric):
    """Is the area under the ROC curve at 200 thresholds, interpolated, as Keras reckons it."""

    def __init__(self, name: str, asked: Asked) -> None:
        super().__init__(name, "max", ("buckets",))
        self._asked = asked

    def check(self, outputs: Tensor, targets: Tensor) -> None:
        _two_classes(self.name, outputs, targets)

    def update(self, outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> None:
        outputs, targets = like_outputs(outputs, targets)
        shares = self._asked.probabilities(outputs).nan_to_num(0.0).clamp(0.0, 1.0)
        buckets = (shares * (THRESHOLDS - 1)).ceil().sub(1).clamp_min(0).long() + THRESHOLDS * (targets != 0)
        amounts = torch.ones_like(shares)
        if weights is not None:
            amounts = like_values(weights, shares, f"Metric {self.name!r}").expand_as(shares)
        told = torch.zeros(2 * THRESHOLDS, dtype=shares.dtype, device=shares.device)
        self._sums["buckets"].add(told.index_add_(0, buckets.flatten(), amounts.flatten()))

    def _reckon(self, **sums: Tensor) -> Tensor:
        reached = sums["buckets"].view(2, THRESHOLDS).flip(1).cumsum(1).flip(1)
        false_rate, true_rate = _share(reached, reached[:, :1])
        area: Tensor = (false_rate[:-1] - false_rate[1:]) @ (true_rate[:-1] + true_rate[1:]) / 2
        return area


class F1Score(SumsMetric):
    """Is the mean over the classes of each class's F1 score; the class of the greatest output counts as told.

    One output of two classes is compared with the threshold. Targets are one-hot or class indexes. Keras returns the
    classes' scores unaveraged, which nothing can monitor.
    """

    def __init__(self, name: str, asked: Asked) -> None:
        super().__init__(name, "max", ("right", "told", "true"))
        self._asked = asked

    def check(self, outputs: Tensor, targets: Tensor) -> None:
        if outputs.ndim > 2:
            raise DataError(f"Metric {self.name!r} takes outputs (B, classes). Received: {in_words(outputs)}.")
        self._told(outputs, targets)

    def update(self, outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> None:
        told, true = self._told(outputs, targets)
        if weights is None:
            self._sums["right"].add((told * true).sum(0))
        else:
            fitted = like_values(weights, told, f"Metric {self.name!r}")
            self._sums["right"].add((told * true * fitted).sum(0))
            told, true = told * fitted, true * fitted
        self._sums["told"].add(told.sum(0))
        self._sums["true"].add(true.sum(0))

    def _told(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        if outputs.ndim == 1 or outputs.shape[1] == 1:
            outputs, targets = like_outputs(outputs, targets)
            return self._asked.positive(outputs).float().view(-1, 1), targets.float().view(-1, 1)
        if targets.numel() == outputs.shape[0]:
            targets = nn.functional.one_hot(targets.long().view(-1), outputs.shape[1])
        outputs, targets = like_outputs(outputs, targets)
        told = (outputs >= outputs.amax(-1, keepdim=True)) & (outputs.abs() > 1e-9)
        return told.to(outputs.dtype), targets

    def _reckon(self, **sums: Tensor) -> Tensor:
        precision = sums["right"] / (sums["told"] + EPSILON)
        recall = sums["right"] / (sums["true"] + EPSILON)
        return (2.0 * precision * recall / (precision + recall + EPSILON)).mean()


class R2Score(SumsMetric):
    """Is the share of the targets' variance that the outputs explain, averaged over the columns, as in Keras."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "max", ("count", "targets", "squares", "errors"))

    def check(self, outputs: Tensor, targets: Tensor) -> None:
        if outputs.ndim > 2:
            raise DataError(f"Metric {self.name!r} takes outputs (B, columns). Received: {in_words(outputs)}.")
        like_outputs(outputs, targets)

    def update(self, outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> None:
        outputs, targets = like_outputs(outputs, targets)
        wide = torch.float32 if outputs.device.type == "mps" else torch.float64
        rows = outputs.shape[0]
        outputs, targets = outputs.to(wide).view(rows, -1), targets.to(wide).view(rows, -1)
        amounts = torch.ones_like(outputs)
        if weights is not None:
            amounts = like_values(weights, outputs, f"Metric {self.name!r}").expand_as(outputs)
        self._sums["count"].add(amounts.sum(0))
        self._sums["targets"].add((targets * amounts).sum(0))
        self._sums["squares"].add((targets.square() * amounts).sum(0))
        self._sums["errors"].add(((targets - outputs).square() * amounts).sum(0))

    def _reckon(self, **sums: Tensor) -> Tensor:
        spread = sums["squares"] - sums["targets"].square() / sums["count"]
        scores = 1.0 - sums["errors"] / spread
        return torch.where(scores.isinf(), torch.zeros_like(scores), scores).mean()


class TorchMetric(Metric):
    """Is a ``torchmetrics`` object; it follows the outputs' device.

    Args:
        metric: The object.
    """

    def __init__(self, metric: Any) -> None:
        better: dict[bool | None, Direction] = {True: "max", False: "min"}
        super().__init__(name_of(metric), better.get(metric.higher_is_better))
        self._metric = metric
        self._classifies = type(metric).__module__.startswith("torchmetrics.classification")
        self._device: torch.device | None = None
        self._seen = 0

    def check(self, outputs: Tensor, targets: Tensor) -> None:
        trial = copy.deepcopy(self)
        trial.reset()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                trial.update(outputs, targets)
                value = trial._metric.compute()
        except (ValueError, RuntimeError, TypeError) as error:
            raise DataError(
                f"Metric {self.name!r} cannot take outputs of shape {in_words(outputs)} with targets of shape "
                f"{in_words(targets)}: {error}"
            ) from error
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise DataError(f"Metric {self.name!r} must return a single number to be logged. Received: {value!r}.")

    def reset(self) -> None:
        self._metric.reset()
        self._seen = 0

    def update(self, outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> None:
        if weights is not None:
            raise DataError(
                f"Metric {self.name!r} of torchmetrics takes no sample weights. Pass it in metrics, not in weighted_metrics."
            )
        if self._device != outputs.device:
            self._device = outputs.device
            self._metric.to(self._device)
        self._metric.update(*self._fitted(outputs, targets))
        self._seen += 1

    def result(self) -> Tensor:
        if not self._seen:
            return torch.tensor(math.nan)
        value: Tensor = self._metric.compute()
        return value.reshape(())

    def state(self) -> State:
        state = {"seen": torch.tensor(self._seen)}
        for prefix, part in self._parts():
            for name, value in part.metric_state.items():
                values = {"": value} if isinstance(value, Tensor) else {f".{number}": one for number, one in enumerate(value)}
                state |= {f"{prefix}.{name}{number}": one.clone() for number, one in values.items()}
        return state

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.reset()
        self._seen = int(state["seen"])
        self._device = None
        for prefix, part in self._parts():
            for name, value in part.metric_state.items():
                key = f"{prefix}.{name}"
                listed = [one.clone() for _, one in sorted(under(key, state).items(), key=lambda item: int(item[0]))]
                setattr(part, name, state[key].clone() if isinstance(value, Tensor) else listed)
            part._update_count = self._seen  # torchmetrics knows no other way to say that it was updated

    def _parts(self) -> Iterator[tuple[str, Any]]:
        return ((prefix, part) for prefix, part in self._metric.named_modules() if is_torchmetric(part))

    def _fitted(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Fit ``(B,)`` and ``(B, 1)`` to each other, and floats that are classes to whole numbers."""
        if self._classifies and targets.is_floating_point():
            targets = targets.long()
        if targets.ndim > 1 and targets.shape[-1] == 1:
            targets = targets.squeeze(-1)
        if outputs.ndim == targets.ndim + 1 and outputs.shape[-1] == 1:
            outputs = outputs.squeeze(-1)
        return outputs, targets


# ---- what the outputs are --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Asked:
    """Says what the outputs are that a metric is asked about.

    Args:
        from_logits: Whether they are logits.
        class_axis: Where the classes are, or ``None`` where each output stands alone.
    """

    from_logits: bool
    class_axis: int | None

    def positive(self, outputs: Tensor) -> Tensor:
        """Return which outputs tell the second class."""
        if self._compete(outputs):
            return self.probabilities(outputs) > 0.5
        return outputs > (0.0 if self.from_logits else 0.5)

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Return the outputs as probabilities."""
        if self._compete(outputs):
            return outputs.softmax(self.class_axis or -1)
        return outputs.sigmoid() if self.from_logits else outputs

    def accuracy(self, outputs: Tensor, targets: Tensor) -> Hits:
        """Return what ``"accuracy"`` means for a batch: binary, categorical or sparse, by its shapes, as in Keras."""
        axis = self.class_axis
        if axis is None or outputs.ndim == 1 or outputs.shape[axis] == 1:
            return self.binary(outputs, targets)
        return self.categorical(outputs, targets) if targets.shape == outputs.shape else self.sparse(outputs, targets)

    def binary(self, outputs: Tensor, targets: Tensor) -> Hits:
        """Return what tells which outputs of two classes are right."""
        like_outputs(outputs, targets)
        positive = self.positive

        def hits(outputs: Tensor, targets: Tensor) -> Tensor:
            right = positive(outputs) == (targets if targets.shape == outputs.shape else targets.view(outputs.shape))
            return right.squeeze(-1) if right.ndim == 2 and right.shape[1] == 1 else right

        return hits

    def categorical(self, outputs: Tensor, targets: Tensor) -> Hits:
        """Return what tells which samples with one-hot targets are right."""
        like_outputs(outputs, targets)
        axis = self.class_axis or -1
        return lambda outputs, targets: outputs.argmax(axis) == targets.argmax(axis)

    def sparse(self, outputs: Tensor, targets: Tensor) -> Hits:
        """Return what tells which samples with class indexes are right."""
        axis = self._axis_of(outputs, targets)

        def hits(outputs: Tensor, targets: Tensor) -> Tensor:
            if targets.ndim == outputs.ndim:
                targets = targets.squeeze(axis)
            return outputs.argmax(axis) == targets

        return hits

    def top_categorical(self, outputs: Tensor, targets: Tensor) -> Hits:
        """Return what tells which samples with one-hot targets have their class among the five greatest outputs."""
        like_outputs(outputs, targets)
        axis = self.class_axis or -1
        return lambda outputs, targets: _among_top(outputs, targets.argmax(axis, keepdim=True), axis)

    def top_sparse(self, outputs: Tensor, targets: Tensor) -> Hits:
        """Return what tells which samples with class indexes have their class among the five greatest outputs."""
        axis = self._axis_of(outputs, targets)

        def hits(outputs: Tensor, targets: Tensor) -> Tensor:
            return _among_top(outputs, targets.long() if targets.ndim == outputs.ndim else targets.long().unsqueeze(axis), axis)

        return hits

    def _compete(self, outputs: Tensor) -> bool:
        """Return whether outputs are logits of which one class wins."""
        axis = self.class_axis
        return self.from_logits and axis is not None and outputs.ndim > 1 and outputs.shape[axis] > 1

    def _axis_of(self, outputs: Tensor, targets: Tensor) -> int:
        """Return the axis without which the outputs have the targets' shape, the loss's own before others."""
        for axis in (self.class_axis or -1, -1, 1):
            kept = list(outputs.shape)
            if outputs.ndim > 1:
                kept[axis] = 1
                if list(targets.shape) in (kept, [*kept[:axis], *kept[axis:][1:]]):
                    return axis
        raise DataError(
            f"Class indexes of shape {in_words(targets)} do not fit outputs of shape {in_words(outputs)}. "
            "The outputs must have one more axis, for the classes."
        )


def _among_top(outputs: Tensor, indexes: Tensor, axis: int) -> Tensor:
    return (outputs > outputs.gather(axis, indexes)).sum(axis) < TOP


def _two_classes(name: str, outputs: Tensor, targets: Tensor) -> None:
    try:
        like_outputs(outputs, targets)
    except DataError:
        raise DataError(
            f"Metric {name!r} tells two classes apart. Received outputs of shape {in_words(outputs)} and targets of shape "
            f"{in_words(targets)}. For several classes pass an object, as torchmetrics.classification.MulticlassPrecision(10)."
        ) from None


_CELLS: dict[str, Hits] = {
    "true_positives": lambda told, true: told & true,
    "false_positives": lambda told, true: told & ~true,
    "false_negatives": lambda told, true: ~told & true,
    "true_negatives": lambda told, true: ~(told | true),
}


def _squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    outputs, targets = like_outputs(outputs, targets)
    return (outputs - targets).square()


def _cosine(outputs: Tensor, targets: Tensor) -> Tensor:
    return cosine_similarity(*like_outputs(outputs, targets))


def _share(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole == 0, torch.zeros_like(part), part / whole)


def _how_many(hits: Tensor) -> Tensor:
    # On the CPU it takes half the time of a sum; on a GPU it would be one kernel more.
    return torch.count_nonzero(hits) if hits.is_cpu else hits.sum()


# ---- names -----------------------------------------------------------------------------------------------------------


METRICS: dict[str, Callable[[str, Asked], Metric]] = {
    "accuracy": lambda name, asked: Accuracy(name, asked.accuracy),
    "binary_accuracy": lambda name, asked: Accuracy(name, asked.binary),
    "categorical_accuracy": lambda name, asked: Accuracy(name, asked.categorical),
    "sparse_categorical_accuracy": lambda name, asked: Accuracy(name, asked.sparse),
    "top_k_categorical_accuracy": lambda name, asked: Accuracy(name, asked.top_categorical),
    "sparse_top_k_categorical_accuracy": lambda name, asked: Accuracy(name, asked.top_sparse),
    "auc": AUC,
    "precision": lambda name, asked: Confusion(name, "max", ("true_positives", "false_positives"), asked),
    "recall": lambda name, asked: Confusion(name, "max", ("true_positives", "false_negatives"), asked),
    "true_positives": lambda name, asked: Confusion(name, "max", ("true_positives",), asked),
    "true_negatives": lambda name, asked: Confusion(name, "max", ("true_negatives",), asked),
    "false_positives": lambda name, asked: Confusion(name, "min", ("false_positives",), asked),
    "false_negatives": lambda name, asked: Confusion(name, "min", ("false_negatives",), asked),
    "f1_score": F1Score,
    "r2_score": lambda name, _: R2Score(name),
    "root_mean_squared_error": lambda name, _: RootMean(name, _squared_error, "min"),
    "cosine_similarity": lambda name, _: MeanMetric(name, _cosine, "max"),
    "log_cosh_error": lambda name, _: LossMetric(name, resolve_loss("log_cosh"), "min"),
}

_MAKERS = {
    "acc": METRICS["accuracy"],
    **{name: make for snake, make in METRICS.items() for name in (snake, snake.replace("_", ""))},
}
"""Every maker by its names in lower case; a class of Keras's is its name without underscores."""


def check_metric_name(spec: Any, where: str) -> None:
    """Refuse what cannot be a metric, before there is any data.

    Args:
        spec: As in ``resolve_metric``.
        where: Who asks, for messages.

    Raises:
        UnknownName: No metric has that name; the nearest is suggested.
        ArgumentError: It is no metric.
    """
    if isinstance(spec, str):
        if spec.lower() not in _MAKERS:
            _loss_or_torchmetric(spec, where)
    elif not callable(spec) and not isinstance(spec, Metric):
        raise ArgumentError(f"{where}: a metric must be a name, a torchmetrics object or a function. Received: {spec!r}.")


def resolve_metric(
    spec: Any,
    *,
    loss_kind: str,
    outputs: Tensor | None,
    targets: Tensor | None,
    class_axis: int | None = -1,
    where: str = "Model.compile",
) -> Metric:
    """Return the metric that a name, an object or a function means.

    Args:
        spec: Keras's name or class name, a loss's name, a ``torchmetrics`` object, a ``Metric``, or a function;
            ``outputs_first`` says in which order a function gets its arguments. What a function returns for a batch is
            weighted by the batch's size; its attribute ``direction``, ``"min"`` or ``"max"``, says what is better.
        loss_kind: What outputs the loss takes; ``"from_logits"`` sets the threshold of two classes to 0.
        outputs: What the model returned for a first batch, to check against; ``None`` where there is none yet.
        targets: That batch's targets.
        class_axis: Where the loss has its classes: -1 as in Keras, 1 as in torch, ``None`` where each output stands alone.
        where: Who asks, for messages.

    Raises:
        UnknownName: No metric has that name; the nearest is suggested.
        ArgumentError: It is no metric, or needs arguments.
        DataError: Outputs and targets cannot be measured so.

    Example:
        >>> told, true = torch.tensor([[0.1, 0.9], [0.8, 0.2]]), torch.tensor([1, 1])
        >>> metric = resolve_metric("accuracy", loss_kind="probabilities", outputs=told, targets=true)
        >>> metric.update(told, true)
        >>> metric.result().item()
        0.5
    """
    metric = _resolved(spec, Asked(loss_kind == "from_logits", class_axis), where)
    if outputs is not None and targets is not None:
        metric.check(outputs, targets)
    return metric


def is_torchmetric(thing: Any) -> bool:
    """Return whether an object or class is a metric of ``torchmetrics``, without importing it."""
    kind = thing if inspect.isclass(thing) else type(thing)
    return any(each.__name__ == "Metric" and each.__module__.startswith("torchmetrics.") for each in kind.__mro__)


def _resolved(spec: Any, asked: Asked, where: str) -> Metric:
    check_metric_name(spec, where)
    if isinstance(spec, str):
        make = _MAKERS.get(spec.lower())
        return make(spec, asked) if make else _loss_or_torchmetric(spec, where)
    if inspect.isclass(spec):
        spec = _instance(spec, where)
    if isinstance(spec, Metric):
        return spec
    if is_torchmetric(spec):
        return TorchMetric(spec)
    if type(spec).__name__ == "MetricCollection":
        raise ArgumentError(f"{where}: a MetricCollection is several metrics. Pass metrics=[*collection.values()].")
    if isinstance(spec, (nn.Module, Loss)):
        loss = resolve_loss(spec, where=where)
        known = isinstance(spec, (nn.modules.loss._Loss, Loss))
        return LossMetric(loss.name, loss, "min" if known else _direction_of(spec, where))
    return MeanMetric(name_of(spec), outputs_first(spec, where=where), _direction_of(spec, where))


def _loss_or_torchmetric(name: str, where: str) -> Metric:
    try:
        return LossMetric(name, resolve_loss(name, where=where), "min")
    except UnknownName:
        metric = _torchmetric(name, where)
    if metric is None:
        raise UnknownName("metric", name, {"acc", *METRICS, *loss_names()}, where=where)
    metric.name = name
    return metric


def _torchmetric(name: str, where: str) -> TorchMetric | None:
    if importlib.util.find_spec("torchmetrics") is None:
        return None
    for home in ("torchmetrics.classification", "torchmetrics"):
        kind = getattr(importlib.import_module(home), name, None)
        if inspect.isclass(kind) and is_torchmetric(kind):
            return TorchMetric(_instance(kind, where))
    return None


def _instance(kind: type, where: str) -> Any:
    try:
        return kind()
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            f"{where}: {kind.__name__} needs arguments ({error}). Pass an object: metrics=[{kind.__name__}(...)]."
        ) from error


def _direction_of(spec: Any, where: str) -> Direction | None:
    direction: Any = getattr(spec, "direction", None)
    if direction not in (None, "min", "max"):
        raise ArgumentError(f"{where}: {name_of(spec)}.direction must be 'min' or 'max'. Received: {direction!r}.")
    found: Direction | None = direction
    return found
