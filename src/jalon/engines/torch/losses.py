"""Losses by Keras's name, by torch's name, as modules and as functions.

A Keras name has Keras's meaning to the letter: ``"binary_crossentropy"`` and its kin take probabilities, clipped by
1e-7; a sample's value is the mean over the last axis; class indexes belong to the last axis. A torch name has torch's
meaning, with torch's defaults: ``"cross_entropy"`` takes logits, its classes are on axis 1. Names that differ only in
case are one name, and no name is both Keras's and torch's.

Weights multiply each sample's value before the mean is taken over all elements, as in Keras 3; a torch loss that was
told to add up, to ignore a class or to weight classes does so there too.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jalon.engines.torch import functions as formulas
from jalon.engines.torch.functions import (
    Compare,
    as_indexes,
    as_labels,
    as_torch_indexes,
    in_words,
    like_outputs,
    name_of,
    outputs_first,
    weighted,
)
from jalon.errors import ArgumentError, DataError, UnknownName

Kind = Literal["from_logits", "probabilities", "other"]
Check = Callable[[str, Tensor, Tensor], None]
"""Takes the loss in words, outputs and targets, and raises a ``DataError`` where they do not fit."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Says how one loss is reckoned.

    Args:
        each: Returns a value per element, or per sample where it takes the last axis together.
        whole: Returns the mean of all of them in one call, where there is a faster one.
        fit: Fits targets to outputs in shape and type.
        over_last: Whether a sample's value is the mean of ``each`` over the last axis.
        reduce: Brings weighted values to one number, given the targets.
        kind: What outputs the loss takes, for metrics that depend on it.
        class_axis: Where the classes are, or ``None`` where each output stands alone.
        checks: Run on the first batch.
    """

    each: Compare
    whole: Compare | None = None
    fit: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = like_outputs
    over_last: bool = False
    reduce: Callable[[Tensor, Tensor], Tensor] = lambda values, _: values.mean()
    kind: Kind = "other"
    class_axis: int | None = -1
    checks: tuple[Check, ...] = ()


class Loss:
    """Compares one output with its targets, giving one number to make smaller.

    Args:
        name: What the user called it.
        recipe: How it is reckoned.
        module: The module behind it, if there is one.

    Attributes:
        kind: What outputs it takes: ``"from_logits"``, ``"probabilities"`` or ``"other"``.
        class_axis: Where the classes are: -1 as in Keras, 1 as in torch, ``None`` where each output stands alone.
    """

    def __init__(self, name: str, recipe: Recipe, *, module: nn.Module | None = None) -> None:
        self.name = name
        self.kind = recipe.kind
        self.class_axis = recipe.class_axis
        self.module = module
        self._recipe = recipe
        self._fit = recipe.fit
        self._whole = recipe.whole or self._mean

    def __repr__(self) -> str:
        return f"<Loss {self.name}>"

    def __call__(self, outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the loss of a batch: 0-d, with gradients.

        Args:
            outputs: What the model returned ``(B, ...)``.
            targets: What it should have returned.
            weights: One weight per sample ``(B,)``.
        """
        outputs, targets = self._fit(outputs, targets)
        if weights is None:
            loss: Tensor = self._whole(outputs, targets)
            return loss
        values = weighted(self._per_sample(outputs, targets), weights, f"Loss {self.name!r}")
        return self._recipe.reduce(values, targets)

    def each(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each sample ``(B, ...)``, or 0-d where the loss has no value per sample."""
        return self._per_sample(*self._fit(outputs, targets))

    def check(self, outputs: Tensor, targets: Tensor) -> None:
        """Refuse outputs and targets that this loss cannot take, and bring its own tensors to the outputs' device.

        Args:
            outputs: What the model returned for the first batch.
            targets: That batch's targets.

        Raises:
            DataError: They do not fit the loss, or each other; the remedy is named.
        """
        if self.module is not None and isinstance(outputs, Tensor):
            self.module.to(outputs.device)
        for check in self._recipe.checks:
            check(f"Loss {self.name!r}", outputs, targets)

    def _per_sample(self, outputs: Tensor, targets: Tensor) -> Tensor:
        values: Tensor = self._recipe.each(outputs, targets)
        return values.mean(-1) if self._recipe.over_last and values.ndim > 1 else values

    def _mean(self, outputs: Tensor, targets: Tensor) -> Tensor:
        values: Tensor = self._recipe.each(outputs, targets)
        return values.mean()


class ByShape(Loss):
    """Is Keras's ``"crossentropy"``: binary, sparse or categorical, as the shapes tell."""

    def __init__(self, name: str) -> None:
        super().__init__(name, KERAS["categorical_crossentropy"])
        kinds = ("binary", "sparse_categorical", "categorical")
        self._binary, self._sparse, self._categorical = (
            Loss(f"{kind}_crossentropy", KERAS[f"{kind}_crossentropy"]) for kind in kinds
        )

    def __call__(self, outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        return self._meant(outputs, targets)(outputs, targets, weights)

    def each(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self._meant(outputs, targets).each(outputs, targets)

    def check(self, outputs: Tensor, targets: Tensor) -> None:
        self._meant(outputs, targets).check(outputs, targets)

    def _meant(self, outputs: Tensor, targets: Tensor) -> Loss:
        if outputs.ndim == 1 or outputs.shape[-1] == 1:
            return self._binary
        return self._sparse if targets.ndim < outputs.ndim or targets.shape[-1] == 1 else self._categorical


def resolve_loss(spec: Any, *, where: str = "Model.compile") -> Loss:
    """Return the loss that a name, a module or a function means.

    Args:
        spec: Keras's name or class name (``"mse"``, ``"MeanSquaredError"``), torch's (``"cross_entropy"``,
            ``"CrossEntropyLoss"``), an ``nn.Module`` or its class, or a function; ``outputs_first`` says in which order
            a function gets its arguments. What a function returns is averaged.
        where: Who asks, for messages.

    Raises:
        UnknownName: No loss has that name; the nearest is suggested.
        ArgumentError: It cannot be called with outputs and targets.

    Example:
        >>> resolve_loss("mse")(torch.tensor([[1.0], [3.0]]), torch.tensor([1.0, 1.0]))
        tensor(2.)
    """
    if isinstance(spec, Loss):
        return spec
    if isinstance(spec, str):
        return _by_name(spec, where)
    if inspect.isclass(spec):
        spec = _instance(spec, where)
    if isinstance(spec, nn.Module):
        return Loss(name_of(spec), _of_module(spec, where), module=spec)
    if not callable(spec):
        raise ArgumentError(f"{where}: loss must be a name, a torch module or a function. Received: {spec!r}.")
    return Loss(name_of(spec), _of_function(spec, where))


def loss_names() -> list[str]:
    """Return the names that losses go by, aliases and other spellings left out."""
    return [*KERAS, *BY_SHAPE, *(name for names in TORCH for name in names)]


# ---- from a spec to a recipe -----------------------------------------------------------------------------------------


def _by_name(name: str, where: str) -> Loss:
    lowered = name.lower()
    if lowered in BY_SHAPE:
        return ByShape(name)
    recipe = _RECIPES.get(lowered)
    if recipe is not None:
        return Loss(name, recipe)
    kind = getattr(nn.modules.loss, name, None)
    if isinstance(kind, type) and issubclass(kind, nn.modules.loss._Loss):
        raise ArgumentError(
            f"{where}: torch's {name} takes more than outputs and targets, so its name alone does not say how to call it. "
            "Pass a function of (y_true, y_pred) that calls it."
        )
    raise UnknownName("loss", name, loss_names(), where=where)


def _instance(kind: type, where: str) -> Any:
    try:
        return kind()
    except TypeError as error:
        raise ArgumentError(f"{where}: {kind.__name__} needs arguments ({error}). Pass an object of it.") from error


def _of_module(module: nn.Module, where: str) -> Recipe:
    compare = each = outputs_first(module, where=where)
    options = vars(module) | dict(module.named_buffers(recurse=False))
    if "reduction" in options:
        each = copy.copy(module)
        vars(each)["reduction"] = "none"
    return replace(_torch_recipe(type(module), options), each=each, whole=_averaged(compare, name_of(module)))


def _of_function(function: Callable[..., Any], where: str) -> Recipe:
    compare = outputs_first(function, where=where)
    bare, options = function, dict[str, Any]()
    while isinstance(bare, functools.partial):
        options = bare.keywords | options
        bare = bare.func
    each = compare
    if "reduction" in _parameters(function):
        each = outputs_first(functools.partial(function, reduction="none"), where=where)
    return replace(_torch_recipe(bare, options), each=each, whole=_averaged(compare, name_of(function)))


def _averaged(compare: Compare, name: str) -> Compare:
    def whole(outputs: Tensor, targets: Tensor) -> Tensor:
        value = compare(outputs, targets)
        if not isinstance(value, Tensor):
            raise DataError(
                f"Loss {name!r} returned a {type(value).__name__}. It must return a tensor reckoned from the outputs, "
                "so that there are gradients."
            )
        return value if value.ndim == 0 else value.mean()

    return whole


def _torch_recipe(thing: Any, options: Mapping[str, Any]) -> Recipe:
    """Return the recipe of a loss class or function of torch, with the options it was given, or one that knows nothing."""
    for (kind, function), recipe in TORCH.items():
        if thing is getattr(F, function) or (isinstance(thing, type) and issubclass(thing, getattr(nn, kind))):
            return _with_options(recipe, options)
    return _with_options(Recipe(_nothing, fit=_as_given, checks=(_finite,)), options)


def _with_options(recipe: Recipe, options: Mapping[str, Any]) -> Recipe:
    """Let ``reduction``, ignored and weighted classes mean in a weighted batch what they mean in torch."""
    if options.get("reduction") == "sum":
        return replace(recipe, reduce=lambda values, _: values.sum())
    if options.get("reduction") == "batchmean":
        return replace(recipe, reduce=lambda values, _: values.sum() / len(values))
    if recipe.fit is not as_torch_indexes:
        return recipe
    ignored = options.get("ignore_index", -100)
    checks = tuple(replace(check, ignored=ignored) if isinstance(check, ClassIndexes) else check for check in recipe.checks)
    return replace(recipe, reduce=functools.partial(_mean_over_classes, ignored, options.get("weight")), checks=checks)


def _mean_over_classes(ignored: int, class_weights: Tensor | None, values: Tensor, targets: Tensor) -> Tensor:
    """Return the mean as torch takes it: over the class weights of the targets that are not ignored."""
    if targets.is_floating_point():
        return values.mean()
    counted = targets != ignored
    if class_weights is None:
        return values.sum() / counted.sum()
    return values.sum() / (class_weights.to(values)[targets.where(counted, 0)] * counted).sum()


def _parameters(function: Callable[..., Any]) -> set[str]:
    try:
        return set(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return set()


def _nothing(_outputs: Tensor, _targets: Tensor) -> None: ...


def _as_given(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    return outputs, targets


# ---- what the first batch is asked -----------------------------------------------------------------------------------


def _finite(who: str, outputs: Any, targets: Any, *, minus_infinity: bool = True) -> None:
    if not (isinstance(outputs, Tensor) and isinstance(targets, Tensor)):
        return
    bad = ~outputs.isfinite() & ~(minus_infinity & outputs.isneginf())
    if bad.any():
        raise DataError(
            f"{who}: {int(bad.sum())} of the {outputs.numel()} outputs for the first batch are NaN or infinite, before any "
            "step was taken. Look for NaN and very large values in x, and scale it."
        )
    if targets.is_floating_point() and targets.isnan().any():
        raise DataError(f"{who}: the first batch's targets hold NaN. Remove those samples from x and y.")


def _numbers(who: str, outputs: Tensor, targets: Tensor, *, minus_infinity: bool = False) -> None:
    _finite(who, outputs, targets, minus_infinity=minus_infinity)
    if not outputs.is_floating_point():
        raise DataError(f"{who}: the model's outputs are {outputs.dtype}, through which there are no gradients.")
    if outputs.shape[:1] != targets.shape[:1]:
        raise DataError(
            f"{who}: outputs of shape {in_words(outputs)} and targets of shape {in_words(targets)} hold different numbers "
            "of samples."
        )


def _logit_numbers(who: str, outputs: Tensor, targets: Tensor) -> None:
    _numbers(who, outputs, targets, minus_infinity=True)


def _same_shape(who: str, outputs: Tensor, targets: Tensor) -> None:
    try:
        like_outputs(outputs, targets)
    except DataError:
        remedy = "Make the last layer return what y holds, or reshape y."
        if not targets.is_floating_point() and targets.ndim < outputs.ndim:
            remedy = "Where y holds class indexes, use loss='cross_entropy' (takes logits)."
        raise DataError(
            f"{who} compares element by element: outputs of shape {in_words(outputs)} cannot be compared with targets of "
            f"shape {in_words(targets)}. {remedy}"
        ) from None


def _one_hot(sparse: str) -> Check:
    def check(who: str, outputs: Tensor, targets: Tensor) -> None:
        _several_classes(who, outputs, -1)
        if targets.shape == outputs.shape:
            return
        if targets.shape == outputs.shape[:-1] or targets.shape == (*outputs.shape[:-1], 1):
            raise DataError(
                f"{who} takes one-hot targets of shape {in_words(outputs)}. Received class indexes of shape "
                f"{in_words(targets)}. {sparse}"
            )
        _same_shape(who, outputs, targets)

    return check


@dataclass(frozen=True, slots=True)
class ClassIndexes:
    """Checks targets that are class indexes.

    Args:
        axis: The outputs' axis of classes.
        one_hot: What to do with one-hot targets; empty where they are taken as they are.
        ignored: The index that counts for nothing, if there is one.
    """

    axis: int
    one_hot: str
    ignored: int | None = None

    def __call__(self, who: str, outputs: Tensor, targets: Tensor) -> None:
        _several_classes(who, outputs, self.axis)
        if targets.shape == outputs.shape:
            self._refuse_one_hot(who, outputs, targets)
            return
        _index_shape(who, outputs, targets, self.axis)
        if targets.is_floating_point() and (targets != targets.round()).any():
            raise DataError(f"{who} takes class indexes, whole numbers. Received targets that {_range(targets)}.")
        counted = targets if self.ignored is None else targets[targets != self.ignored]
        classes = outputs.shape[self.axis]
        if counted.numel() and not (counted.min() >= 0 and counted.max() < classes):
            raise DataError(
                f"{who}: the targets {_range(counted)}; the model's outputs of shape {in_words(outputs)} stand for the classes "
                f"0 to {classes - 1}. Number the classes from 0, or give the last layer an output for each."
            )

    def _refuse_one_hot(self, who: str, outputs: Tensor, targets: Tensor) -> None:
        if self.one_hot:
            raise DataError(
                f"{who} takes class indexes. Received targets of the outputs' shape {in_words(targets)}, as if one-hot. "
                f"{self.one_hot}"
            )


def _index_shape(who: str, outputs: Tensor, targets: Tensor, axis: int) -> None:
    shape, kept = _without(outputs.shape, axis), list(outputs.shape)
    kept[axis] = 1
    if list(targets.shape) in (shape, kept):
        return
    other = 1 if axis == -1 else -1
    remedy = "Pass one class index per sample."
    if list(targets.shape) == _without(outputs.shape, other):
        remedy = f"Move the classes there: outputs.movedim({other}, {axis})."
    place = "the last axis" if axis == -1 else "axis 1"
    raise DataError(
        f"{who} has its classes on {place}: outputs of shape {in_words(outputs)} take targets of shape {tuple(shape)}. "
        f"Received: {in_words(targets)}. {remedy}"
    )


def _without(shape: torch.Size, axis: int) -> list[int]:
    rest = list(shape)
    del rest[axis]
    return rest


def _several_classes(who: str, outputs: Tensor, axis: int) -> None:
    if outputs.ndim < 2 or outputs.shape[axis] == 1:
        raise DataError(
            f"{who} needs an output per class. Received outputs of shape {in_words(outputs)}. For two classes with one output "
            "use loss='binary_cross_entropy_with_logits' (takes logits)."
        )


def _vectors(who: str, outputs: Tensor, _targets: Tensor) -> None:
    if outputs.ndim < 2:
        raise DataError(f"{who} compares vectors on the last axis. Received outputs of shape {in_words(outputs)}.")


def _probabilities(remedy: str, *, adds_up: bool = False) -> Check:
    def check(who: str, outputs: Tensor, _targets: Tensor) -> None:
        slack = 1e-3 if outputs.dtype in (torch.float32, torch.float64) else 3e-2
        if outputs.min() < -slack or outputs.max() > 1.0 + slack:
            place = " Its classes are on axis 1." if remedy is _SOFTMAX and outputs.ndim > 2 else ""
            raise DataError(f"{who} takes probabilities; the model's outputs {_range(outputs)}. {remedy}{place}")
        sums = outputs.double().sum(-1)
        if adds_up and ((sums - 1.0).abs() > slack).any():
            raise DataError(
                f"{who} takes probabilities that add up to 1 for each sample; the sums of the model's outputs {_range(sums)}. "
                "End the model with nn.Softmax(dim=-1). Where several classes can be true at once, use "
                "loss='binary_crossentropy' instead."
            )

    return check


def _logarithms(who: str, outputs: Tensor, _targets: Tensor) -> None:
    if outputs.max() > 1e-3:
        raise DataError(
            f"{who} takes logarithms of probabilities, which are not above 0; the model's outputs {_range(outputs)}. "
            "Use loss='cross_entropy' (takes logits), or end the model with nn.LogSoftmax(dim=1)."
        )


def _rates(who: str, outputs: Tensor, _targets: Tensor) -> None:
    if outputs.min() < 0:
        raise DataError(f"{who} takes rates of 0 and more; the model's outputs {_range(outputs)}. End it with nn.Softplus().")


def _shares(who: str, _outputs: Tensor, targets: Tensor) -> None:
    if targets.min() < 0 or targets.max() > 1:
        raise DataError(
            f"{who} takes targets from 0 to 1; they {_range(targets)}. Where y holds class indexes, give the last layer an "
            "output per class and use loss='cross_entropy' (takes logits)."
        )


def _plus_minus_one(who: str, _outputs: Tensor, targets: Tensor) -> None:
    if (targets.abs() != 1).any():
        raise DataError(f"{who} takes targets of -1 and 1; they {_range(targets)}. For classes 0 and 1 pass 2 * y - 1.")


def _range(values: Tensor) -> str:
    return f"range from {values.min().item():.4g} to {values.max().item():.4g}"


# ---- the names -------------------------------------------------------------------------------------------------------

_SIGMOID = "Use loss='binary_cross_entropy_with_logits' (takes logits), or end the model with nn.Sigmoid()."
_INDEXES = "Pass y.argmax(1)."
_SOFTMAX = "Use loss='cross_entropy' (takes logits), or end the model with nn.Softmax(dim=-1)."


def _regression(each: Compare, whole: Compare | None = None) -> Recipe:
    return Recipe(each, whole, over_last=True, checks=(_numbers, _same_shape))


def _binary(each: Compare, remedy: str) -> Recipe:
    checks = (_numbers, _same_shape, _shares, _probabilities(remedy))
    return Recipe(each, over_last=True, kind="probabilities", checks=checks)


def _categorical(each: Compare, sparse: str) -> Recipe:
    return Recipe(each, kind="probabilities", checks=(_numbers, _one_hot(sparse), _probabilities(_SOFTMAX, adds_up=True)))


def _overlap(each: Compare) -> Recipe:
    remedy = "End the model with nn.Sigmoid()."
    return Recipe(each, each, kind="probabilities", checks=(_numbers, _same_shape, _probabilities(remedy)))


KERAS: dict[str, Recipe] = {
    "mean_squared_error": _regression(functools.partial(F.mse_loss, reduction="none"), F.mse_loss),
    "mean_absolute_error": _regression(functools.partial(F.l1_loss, reduction="none"), F.l1_loss),
    "mean_absolute_percentage_error": _regression(formulas.absolute_percentage_error),
    "mean_squared_logarithmic_error": _regression(formulas.squared_logarithmic_error),
    "huber": _regression(functools.partial(F.huber_loss, reduction="none"), F.huber_loss),
    "log_cosh": _regression(formulas.log_cosh),
    "hinge": _regression(formulas.hinge),
    "squared_hinge": _regression(formulas.squared_hinge),
    "poisson": Recipe(formulas.poisson, over_last=True, checks=(_numbers, _same_shape, _rates)),
    "cosine_similarity": Recipe(formulas.cosine_loss, checks=(_numbers, _vectors, _same_shape)),
    "kl_divergence": Recipe(
        formulas.kl_divergence,
        kind="probabilities",
        checks=(_numbers, _vectors, _same_shape, _probabilities("End the model with nn.Softmax(dim=-1).")),
    ),
    "binary_crossentropy": _binary(formulas.binary_crossentropy, _SIGMOID),
    "binary_focal_crossentropy": _binary(formulas.binary_focal_crossentropy, "End the model with nn.Sigmoid()."),
    "categorical_crossentropy": _categorical(formulas.categorical_crossentropy, "Use loss='sparse_categorical_crossentropy'."),
    "categorical_focal_crossentropy": _categorical(formulas.categorical_focal_crossentropy, "Pass one-hot targets."),
    "sparse_categorical_crossentropy": Recipe(
        formulas.sparse_categorical_crossentropy,
        functools.partial(formulas.sparse_categorical_crossentropy, reduction="mean"),
        fit=as_indexes,
        kind="probabilities",
        checks=(
            _numbers,
            ClassIndexes(-1, "Use loss='categorical_crossentropy'."),
            _probabilities(_SOFTMAX, adds_up=True),
        ),
    ),
    "categorical_hinge": Recipe(
        formulas.categorical_hinge,
        checks=(_numbers, _one_hot("Pass one-hot targets, as torch.nn.functional.one_hot makes them.")),
    ),
    "dice": _overlap(formulas.dice),
    "tversky": _overlap(formulas.tversky),
    "circle": Recipe(formulas.circle, fit=as_labels, checks=(_numbers, _vectors)),
    "ctc": Recipe(formulas.ctc, fit=as_labels, kind="from_logits", checks=(_logit_numbers, _vectors)),
}

ALIASES = {
    "bce": "binary_crossentropy",
    "kld": "kl_divergence",
    "kullback_leibler_divergence": "kl_divergence",
    "mae": "mean_absolute_error",
    "mape": "mean_absolute_percentage_error",
    "mse": "mean_squared_error",
    "msle": "mean_squared_logarithmic_error",
}

BY_SHAPE = ("crossentropy", "ce")


def _torch(function: str, *checks: Check, **more: Any) -> Recipe:
    whole: Callable[..., Any] = getattr(F, function)
    return Recipe(functools.partial(whole, reduction="none"), whole, checks=checks, **more)


TORCH: dict[tuple[str, str], Recipe] = {
    ("MSELoss", "mse_loss"): _torch("mse_loss", _numbers, _same_shape),
    ("L1Loss", "l1_loss"): _torch("l1_loss", _numbers, _same_shape),
    ("HuberLoss", "huber_loss"): _torch("huber_loss", _numbers, _same_shape),
    ("SmoothL1Loss", "smooth_l1_loss"): _torch("smooth_l1_loss", _numbers, _same_shape),
    ("PoissonNLLLoss", "poisson_nll_loss"): _torch("poisson_nll_loss", _numbers, _same_shape),
    ("KLDivLoss", "kl_div"): _torch("kl_div", _logit_numbers, _same_shape),
    ("SoftMarginLoss", "soft_margin_loss"): _torch("soft_margin_loss", _numbers, _same_shape, _plus_minus_one),
    ("HingeEmbeddingLoss", "hinge_embedding_loss"): _torch("hinge_embedding_loss", _numbers, _same_shape, _plus_minus_one),
    ("BCELoss", "binary_cross_entropy"): _torch(
        "binary_cross_entropy",
        _numbers,
        _same_shape,
        _shares,
        _probabilities(_SIGMOID),
        kind="probabilities",
        class_axis=None,
    ),
    ("BCEWithLogitsLoss", "binary_cross_entropy_with_logits"): _torch(
        "binary_cross_entropy_with_logits", _numbers, _same_shape, _shares, kind="from_logits", class_axis=None
    ),
    ("MultiLabelSoftMarginLoss", "multilabel_soft_margin_loss"): _torch(
        "multilabel_soft_margin_loss", _numbers, _vectors, _same_shape, _shares, kind="from_logits", class_axis=None
    ),
    ("MultiLabelMarginLoss", "multilabel_margin_loss"): _torch(
        "multilabel_margin_loss", _numbers, _vectors, _same_shape, fit=as_labels, class_axis=None
    ),
    ("MultiMarginLoss", "multi_margin_loss"): _torch("multi_margin_loss", _numbers, ClassIndexes(-1, _INDEXES), fit=as_indexes),
    ("CrossEntropyLoss", "cross_entropy"): _torch(
        "cross_entropy", _logit_numbers, ClassIndexes(1, ""), fit=as_torch_indexes, kind="from_logits", class_axis=1
    ),
    ("NLLLoss", "nll_loss"): _torch(
        "nll_loss", _logit_numbers, ClassIndexes(1, _INDEXES), _logarithms, fit=as_torch_indexes, class_axis=1
    ),
}

_RECIPES: dict[str, Recipe] = {
    **{name: recipe for snake, recipe in KERAS.items() for name in (snake, snake.replace("_", ""))},
    **{alias: KERAS[name] for alias, name in ALIASES.items()},
    **{name.lower(): _with_options(recipe, {}) for names, recipe in TORCH.items() for name in names},
}
"""Every recipe by its names in lower case; a class of Keras's is its function without underscores."""
