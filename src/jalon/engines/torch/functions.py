"""Functions that compare outputs with targets: the order of their arguments, how shapes are fitted, Keras's formulas."""

from __future__ import annotations

import functools
import inspect
import math
import re
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jalon.errors import ArgumentError, DataError

Compare = Callable[[Tensor, Tensor], Any]
"""Takes ``(outputs, targets)``."""

EPSILON = 1e-7
"""What Keras keeps probabilities away from 0 and 1 by."""

_HALF = frozenset({torch.float16, torch.bfloat16})
_TARGET_WORDS = frozenset({"true", "truth", "target", "targets", "label", "labels", "ytrue", "gt"})
_OUTPUT_WORDS = frozenset(
    {"pred", "preds", "prediction", "predictions", "predicted", "ypred", "hat", "yhat", "output", "outputs", "out"}
    | {"logit", "logits", "input", "inputs", "prob", "probs", "probability", "probabilities", "score", "scores"}
)


def outputs_first(function: Callable[..., Any], *, where: str) -> Compare:
    """Return a function that takes ``(outputs, targets)``, whatever order the given one has.

    Modules and functions of torch take ``(outputs, targets)``. Of any other function the parameters' names decide:
    ``y_true``, ``target``, ``label``, ``y`` and the like are targets; ``y_pred``, ``output``, ``logits``, ``input`` and
    the like are outputs. Where no name tells, the order is Keras's: ``(y_true, y_pred)``.

    Args:
        function: Takes two tensors.
        where: Who asks, for messages.

    Raises:
        ArgumentError: It cannot take two arguments.

    Example:
        >>> outputs_first(lambda y_true, y_pred: y_true - y_pred, where="here")(3, 5)
        2
    """
    names = _positional(function.forward if isinstance(function, nn.Module) else function, where)
    if isinstance(function, nn.Module) or _is_of_torch(function):
        return function
    parts = [_part(name) for name in names[:2]]
    if parts[:1] == ["outputs"] or (parts[:1] == [None] and parts[1:] == ["targets"]):
        return function
    return lambda outputs, targets: function(targets, outputs)


def name_of(function: Any) -> str:
    """Return what a function or object is called: its ``name``, its ``__name__``, or its class in snake case."""
    for attribute in ("name", "__name__"):
        name = getattr(function, attribute, None)
        if isinstance(name, str) and name:
            return name
    if isinstance(function, functools.partial):
        return name_of(function.func)
    return snake_case(type(function).__name__)


def snake_case(name: str) -> str:
    """Return a class's name as Keras writes it in logs: ``"MeanSquaredError"`` as ``"mean_squared_error"``."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def in_words(shape: torch.Size | Tensor) -> str:
    """Return a shape for messages."""
    return str(tuple(shape.shape if isinstance(shape, Tensor) else shape))


def like_outputs(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Fit targets to outputs that are compared element by element.

    ``(B, 1)`` and ``(B,)`` fit each other, as in Keras; any other difference of shapes is an error, never broadcast.
    Outputs of half precision are compared in float32, as Keras and autocast do.

    Raises:
        DataError: The shapes differ.
    """
    if outputs.dtype in _HALF:
        outputs = outputs.float()
    if targets.dtype is not outputs.dtype:
        targets = targets.to(outputs.dtype)
    if targets.shape != outputs.shape:
        targets = _reshaped(targets, outputs.shape)
    return outputs, targets


def as_indexes(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Fit class indexes to outputs whose classes are on the last axis."""
    if outputs.dtype in _HALF:
        outputs = outputs.float()
    if targets.ndim == outputs.ndim and targets.shape[-1] == 1:
        targets = targets.squeeze(-1)
    if targets.dtype is not torch.int64:
        targets = targets.long()
    return outputs, targets


def as_torch_indexes(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Fit class indexes, or probabilities of the outputs' shape, to outputs whose classes are on axis 1."""
    if outputs.dtype in _HALF:
        outputs = outputs.float()
    if targets.ndim == outputs.ndim:
        if targets.shape == outputs.shape:
            return outputs, targets.to(outputs.dtype)
        if targets.shape[1:2] == (1,):
            targets = targets.squeeze(1)
    if targets.dtype is not torch.int64:
        targets = targets.long()
    return outputs, targets


def as_labels(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Fit whole-number targets of a shape of their own to outputs."""
    return outputs.float() if outputs.dtype in _HALF else outputs, targets.long()


def weighted(values: Tensor, weights: Tensor, who: str) -> Tensor:
    """Return values multiplied by their samples' weights.

    Args:
        values: One value per sample ``(B,)``, or more ``(B, ...)``.
        weights: ``(B,)``, or as many axes of ``values`` as it has.
        who: What was weighted, for messages.

    Raises:
        DataError: There is no value per sample, or the shapes differ.
    """
    return values * like_values(weights, values, who)


def like_values(weights: Tensor, values: Tensor, who: str) -> Tensor:
    """Fit samples' weights to values, for the product of both; as ``weighted``."""
    if values.ndim == 0:
        raise DataError(
            f"{who} returns one value for the whole batch, so that weights of single samples cannot be applied. "
            "Return one value per sample, or leave sample_weight and class_weight out."
        )
    if weights.ndim > values.ndim and weights.shape[-1] == 1:
        weights = weights.squeeze(-1)
    if weights.shape != values.shape[: weights.ndim]:
        raise DataError(
            f"{who}: sample weights of shape {in_words(weights)} do not fit values of shape {in_words(values)}. "
            "Pass one weight per sample."
        )
    return weights.to(values.dtype).reshape(weights.shape + (1,) * (values.ndim - weights.ndim))


def _reshaped(targets: Tensor, shape: torch.Size) -> Tensor:
    same_but_for_one = targets.shape == (*shape, 1) or (*targets.shape, 1) == shape
    if not same_but_for_one:
        raise DataError(
            f"The targets' shape {in_words(targets)} is not the outputs' shape {in_words(shape)}. "
            "They are compared element by element, so the shapes must be the same."
        )
    return targets.reshape(shape)


def _part(name: str) -> str | None:
    words = set(name.lower().split("_"))
    if words & _TARGET_WORDS or name.strip("_").lower() == "y":
        return "targets"
    return "outputs" if words & _OUTPUT_WORDS else None


def _is_of_torch(function: Any) -> bool:
    while isinstance(function, functools.partial):
        function = function.func
    module = getattr(function, "__module__", None) or ""
    return module == "torch" or module.startswith("torch.")


def _positional(function: Callable[..., Any], where: str) -> list[str]:
    """Return the names of the parameters that can be given by position, two unknown ones where they cannot be read."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return ["", ""]
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return ["", ""]
    names = [each.name for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    required = [each for each in parameters if each.default is each.empty and each.kind is not each.VAR_KEYWORD]
    if len(names) < 2 or len(required) > 2:
        raise ArgumentError(
            f"{where}: {name_of(function)} cannot be called with the targets and the outputs alone. "
            f"Received: {name_of(function)}{inspect.signature(function)}. Pass a function of (y_true, y_pred)."
        )
    return names


# ---- Keras's formulas ------------------------------------------------------------------------------------------------


def absolute_percentage_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return how far each output is off, in percent of its target."""
    return 100.0 * ((targets - outputs) / targets.abs().clamp_min(EPSILON)).abs()


def squared_logarithmic_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the squared difference of the logarithms of 1 + x, values below 0 taken as 0."""
    return ((targets.clamp_min(EPSILON) + 1.0).log() - (outputs.clamp_min(EPSILON) + 1.0).log()).square()


def cosine_similarity(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the cosine of the angle between the vectors on the last axis."""
    return (F.normalize(outputs, dim=-1, eps=EPSILON) * F.normalize(targets, dim=-1, eps=EPSILON)).sum(-1)


def cosine_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the cosine similarity with its sign turned, so that less is better."""
    return -cosine_similarity(outputs, targets)


def log_cosh(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the logarithm of the hyperbolic cosine of each error."""
    error = outputs - targets
    return error + F.softplus(-2.0 * error) - math.log(2.0)


def kl_divergence(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the divergence of the distributions on the last axis."""
    outputs, targets = outputs.clamp(EPSILON, 1.0), targets.clamp(EPSILON, 1.0)
    return (targets * (targets / outputs).log()).sum(-1)


def poisson(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the Poisson loss of each rate."""
    return outputs - targets * (outputs + EPSILON).log()


def binary_crossentropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy of each probability."""
    clipped = outputs.clamp(EPSILON, 1.0 - EPSILON)
    # torch's own is twice as fast, but refuses NaN, on a GPU by killing the context, and there everything under autocast.
    if clipped.is_cpu:
        try:
            return F.binary_cross_entropy(clipped, targets, reduction="none")
        except RuntimeError:
            pass
    return -torch.lerp(torch.log1p(-clipped), clipped.log(), targets)


def binary_focal_crossentropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy of each probability, certain ones counting less (gamma 2)."""
    of_the_truth = targets * outputs + (1.0 - targets) * (1.0 - outputs)
    return (1.0 - of_the_truth).square() * binary_crossentropy(outputs, targets)


def _distribution(outputs: Tensor) -> Tensor:
    return (outputs / outputs.sum(-1, keepdim=True)).clamp(EPSILON, 1.0 - EPSILON)


def categorical_crossentropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy of the distributions on the last axis, scaled to add up to 1."""
    return -(targets * _distribution(outputs).log()).sum(-1)


def categorical_focal_crossentropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the same with certain classes counting less (alpha 0.25, gamma 2)."""
    shares = _distribution(outputs)
    return -(0.25 * (1.0 - shares).square() * targets * shares.log()).sum(-1)


def sparse_categorical_crossentropy(outputs: Tensor, targets: Tensor, reduction: str = "none") -> Tensor:
    """Return the cross-entropy of the distributions on the last axis against class indexes."""
    logs = _distribution(outputs).log()
    return F.nll_loss(logs.movedim(-1, 1) if logs.ndim > 2 else logs, targets, reduction=reduction)


def _signs(targets: Tensor) -> Tensor:
    binary = ((targets == 0) | (targets == 1)).all()
    return torch.where(binary, 2.0 * targets - 1.0, targets)


def hinge(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the hinge loss of each output; targets 0 and 1 stand for -1 and 1."""
    return (1.0 - _signs(targets) * outputs).clamp_min(0.0)


def squared_hinge(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the squared hinge loss of each output."""
    return hinge(outputs, targets).square()


def categorical_hinge(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return by how much the best wrong class comes within 1 of the right one."""
    right = (targets * outputs).sum(-1)
    wrong = ((1.0 - targets) * outputs).amax(-1)
    return (wrong - right + 1.0).clamp_min(0.0)


def dice(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return 1 less the Dice coefficient of the whole batch."""
    return 1.0 - 2.0 * (targets * outputs).sum() / (targets.sum() + outputs.sum() + EPSILON)


def tversky(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return 1 less the Tversky index of the whole batch (alpha and beta 0.5)."""
    common = (targets * outputs).sum()
    false_positives, false_negatives = ((1.0 - targets) * outputs).sum(), (targets * (1.0 - outputs)).sum()
    return 1.0 - common / (common + 0.5 * false_positives + 0.5 * false_negatives + EPSILON)


def circle(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the circle loss of L2-normalised embeddings; samples without a pair count in no mean (Sun et al., 2020)."""
    gamma, margin = 80.0, 0.4
    distances = (1.0 - outputs @ outputs.T).clamp_min(0.0)
    alike = targets.reshape(-1, 1) == targets.reshape(1, -1)
    pairs = alike & ~torch.eye(len(outputs), dtype=torch.bool, device=outputs.device)
    near = -gamma * (margin + distances) * (margin - distances)
    far = gamma * (1.0 + margin - distances).clamp_min(0.0) * (1.0 - margin - distances)
    losses = F.softplus(near.masked_fill(~pairs, -math.inf).logsumexp(1) + far.masked_fill(alike, -math.inf).logsumexp(1))
    counted = losses > 0
    return losses * (len(losses) / counted.sum().clamp_min(1))


def ctc(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the CTC loss of logits ``(B, time, classes)`` against labels ``(B, length)``; class 0 is blank and padding."""
    logs = F.log_softmax(outputs, dim=-1).transpose(0, 1)
    steps = torch.full((outputs.shape[0],), outputs.shape[1], dtype=torch.int64)
    return F.ctc_loss(logs, targets, steps, (targets != 0).sum(-1), blank=0, reduction="none")
