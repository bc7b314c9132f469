"""Objective: the compiled losses and metrics, by output, and the running values of one phase."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from jalon.core.trainer import Direction
from jalon.engines.torch.losses import Loss, resolve_loss
from jalon.engines.torch.metrics import Metric, check_metric_name, resolve_metric
from jalon.engines.torch.running import Mean, State, prefixed, under
from jalon.errors import ArgumentError, DataError

WHERE = "Model.compile"
_RETURNED = "returned:"


@dataclass(slots=True)
class Output:
    """Is what is asked of one output of the model.

    Args:
        name: The output's name; empty where the model has one output.
        loss: Its loss, if it has one.
        weight: The weight of that loss in the sum.
        metrics: Measured without sample weights.
        weighted: Measured with sample weights.
    """

    name: str
    loss: Loss | None
    weight: float
    metrics: list[Metric] = field(default_factory=list)
    weighted: list[Metric] = field(default_factory=list)


class Objective:
    """Holds what ``compile`` was given and, once a batch has been seen, what it means for each output.

    Args:
        loss: One loss for every output, a list by position, or a dict by output.
        loss_weights: Weights in the sum, likewise.
        metrics: One metric or a list of them; for several outputs a list of lists or a dict.
        weighted_metrics: The same, measured with sample weights.
    """

    def __init__(self, loss: Any, loss_weights: Any, metrics: Any, weighted_metrics: Any) -> None:
        self._losses = _map_specs(lambda spec: None if spec is None else resolve_loss(spec, where=WHERE), loss)
        self._loss_weights = loss_weights
        self._metrics = metrics
        self._weighted = weighted_metrics
        for spec in (*_flat_specs(metrics), *_flat_specs(weighted_metrics)):
            check_metric_name(spec, where=WHERE)
        self.has_loss = any(spec is not None for spec in _flat_specs(self._losses))
        self.outputs: list[Output] = []
        self._only: Output | None = None

    def build(self, outputs: Any, targets: Any) -> None:
        """Settle which loss and metrics belong to which output, and refuse what does not fit.

        Args:
            outputs: What the model returned for a batch.
            targets: That batch's ``y``.

        Raises:
            DataError: Outputs and targets do not fit each other or the loss.
        """
        named = by_name(outputs)
        wanted = self.paired(named, targets)
        built = []
        for number, (name, output) in enumerate(named.items()):
            if name not in wanted:
                continue
            built.append(self._output(name, number, len(named), output, wanted[name]))
        if all(part.loss is None for part in built) and self.has_loss:
            raise ArgumentError(f"{WHERE}: no loss belongs to an output. The model's outputs: {', '.join(named)}.")
        self.outputs = built
        self._only = built[0] if len(named) == 1 else None

    def loss(self, outputs: Any, targets: Any, weights: Tensor | None) -> Tensor:
        """Return the loss of a batch, to go back through."""
        only = self._only
        if only is not None and only.loss is not None:
            return only.loss(outputs, targets, weights)
        named = by_name(outputs)
        wanted = self.paired(named, targets)
        terms = [
            part.loss(named[part.name], wanted[part.name], weights) * part.weight
            for part in self.outputs
            if part.loss is not None
        ]
        return torch.stack(terms).sum()

    def direction(self, metric: str) -> Direction | None:
        """Return whether less or more of a metric is better."""
        if metric == "loss" or metric.endswith("_loss"):
            return "min"
        for part in self.outputs:
            for name, measured in named_metrics(part):
                if name == metric:
                    return measured.direction
        return None

    def _output(self, name: str, number: int, count: int, output: Tensor, target: Tensor) -> Output:
        loss = _spec_for(self._losses, name, number, count)
        if loss is not None:
            loss.check(output, target)
        kind, class_axis = (loss.kind, loss.class_axis) if loss is not None else ("other", -1)
        weight = _spec_for(self._loss_weights, name, number, count)
        part = Output(name, loss, 1.0 if weight is None else float(weight))
        for specs, into in ((self._metrics, part.metrics), (self._weighted, part.weighted)):
            for spec in _as_list(_spec_for(specs, name, number, count, many=True)):
                into.append(
                    resolve_metric(spec, loss_kind=kind, outputs=output, targets=target, class_axis=class_axis, where=WHERE)
                )
        return part

    def paired(self, outputs: Mapping[str, Tensor], targets: Any) -> dict[str, Tensor]:
        """Return the target of each output, by the output's name.

        Raises:
            DataError: There are targets for other outputs than there are.
        """
        wanted = by_name(targets)
        if len(outputs) == 1 and len(wanted) == 1:
            return dict(zip(outputs, wanted.values(), strict=True))
        if isinstance(targets, Mapping):
            unknown = sorted(wanted.keys() - outputs.keys())
            if unknown:
                raise DataError(f"y names outputs the model has not: {', '.join(unknown)}. It has: {', '.join(outputs)}.")
            return wanted
        if len(outputs) != len(wanted):
            raise DataError(
                f"The model returns {len(outputs)} outputs ({', '.join(outputs)}) and y holds {len(wanted)} arrays. "
                "Pass y as a tuple with one array per output, or as a dict by output name."
            )
        return dict(zip(outputs, wanted.values(), strict=True))


class Tracker:
    """Follows the running loss and metrics of one phase; values stay on the device until they are read.

    Args:
        objective: What is measured. Its metrics are copied, so that phases do not disturb each other.
    """

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.updates = 0
        self.loss = Mean()
        self.outputs = copy.deepcopy(objective.outputs)
        self.output_losses = {part.name: Mean() for part in self.outputs if len(self.outputs) > 1 and part.loss is not None}
        self.returned: dict[str, Mean] = {}
        only = self.outputs[0] if len(self.outputs) == 1 and not self.outputs[0].weighted else None
        self._updates = None if only is None else [metric.update for metric in only.metrics]
        self._named = self._all_named()

    @property
    def names(self) -> list[str]:
        """The names that are reported, loss first."""
        return [*(["loss"] if self.objective.has_loss else []), *(name for name, _ in self._named)]

    def reset(self) -> None:
        """Start a phase afresh."""
        self.loss.reset()
        for mean in (*self.output_losses.values(), *self.returned.values()):
            mean.reset()
        for part in self.outputs:
            for metric in (*part.metrics, *part.weighted):
                metric.reset()
        self.updates += 1

    def update(self, loss: Tensor | None, outputs: Any, targets: Any, weights: Tensor | None, rows: int) -> None:
        """Take a batch in.

        Args:
            loss: The batch's mean loss, if it has one.
            outputs: What the model returned.
            targets: The batch's ``y``.
            weights: The samples' weights ``(B,)``, if there are any.
            rows: Samples in the batch.
        """
        self.updates += 1
        if loss is not None:
            self.loss.add(loss.detach(), rows)
        if self._updates is not None and isinstance(outputs, Tensor):
            if self._updates:
                outputs = outputs.detach()
                for update in self._updates:
                    update(outputs, targets)
        else:
            self._update_each(outputs, targets, weights, rows)

    def add_returned(self, values: Mapping[str, Any], rows: int, *, measured: bool) -> None:
        """Take in what an overridden step returned of one batch, to be averaged over the epoch.

        Args:
            values: The batch's values by name.
            rows: Samples in the batch.
            measured: Whether the step measured the compiled metrics too; then theirs stand.
        """
        self.updates += 1
        known = set(self.names) if measured else set()
        for name, value in values.items():
            if name not in known:
                self.returned.setdefault(name, Mean()).add(torch.as_tensor(value).detach(), rows)

    def read(self) -> dict[str, float]:
        """Return every value so far as a float, by name in alphabetical order."""
        values = {name: mean.result() for name, mean in self.returned.items() if mean.count}
        if self.loss.count:
            values["loss"] = self.loss.result()
        seen = bool(self.loss.count) or not self.returned
        values |= {name: metric.result() for name, metric in self._named if seen}
        names = sorted(values)
        return dict(zip(names, _floats([values[name] for name in names]), strict=True))

    def results(self) -> dict[str, Tensor]:
        """Return every value so far, still on the device."""
        values = {"loss": self.loss.result()} if self.loss.count else {}
        return values | {name: metric.result() for name, metric in self._named}

    def state(self) -> State:
        """Return everything taken in so far, to go on from bit for bit."""
        parts = ((name, part.state()) for name, part in self._parts())
        return {key: value for name, state in parts for key, value in prefixed(name, state).items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what ``state`` returned."""
        for key in state:
            if key.startswith(_RETURNED) and key.endswith(".count"):
                self.returned.setdefault(key.removeprefix(_RETURNED).removesuffix(".count"), Mean())
        for name, part in self._parts():
            part.load_state(under(name, state))
        self.updates += 1

    def _parts(self) -> Iterator[tuple[str, Mean | Metric]]:
        """Yield whatever takes batches in, by a name of its own."""
        yield "loss", self.loss
        yield from ((f"{_RETURNED}{name}", mean) for name, mean in self.returned.items())
        yield from ((f"output loss:{name}", mean) for name, mean in self.output_losses.items())
        for number, part in enumerate(self.outputs):
            yield from ((f"metric:{number}:{place}", metric) for place, metric in enumerate((*part.metrics, *part.weighted)))

    @torch.no_grad()
    def _update_each(self, outputs: Any, targets: Any, weights: Tensor | None, rows: int) -> None:
        named = by_name(outputs)
        wanted = self.objective.paired(named, targets)
        for part in self.outputs:
            output, target = named[part.name].detach(), wanted[part.name]
            if part.name in self.output_losses and part.loss is not None:
                self.output_losses[part.name].add(part.loss(output, target, weights), rows)
            for metric in part.metrics:
                metric.update(output, target)
            for metric in part.weighted:
                metric.update(output, target, weights)

    def _all_named(self) -> list[tuple[str, Mean | Metric]]:
        named: list[tuple[str, Mean | Metric]] = [(f"{name}_loss", mean) for name, mean in self.output_losses.items()]
        for part in self.outputs:
            named.extend(named_metrics(part))
        return named


def named_metrics(part: Output) -> list[tuple[str, Metric]]:
    """Return the metrics of an output with their names in the logs; a weighted namesake is told apart."""
    prefix = f"{part.name}_" if part.name else ""
    named = [(prefix + metric.name, metric) for metric in part.metrics]
    taken = {name for name, _ in named}
    for metric in part.weighted:
        name = prefix + metric.name
        named.append((f"{prefix}weighted_{metric.name}" if name in taken else name, metric))
    return named


def by_name(structure: Any) -> dict[str, Any]:
    """Return tensors by output name: a dict's own, ``output_1`` … for several, and an empty name for one."""
    if isinstance(structure, Mapping):
        return dict(structure)
    if isinstance(structure, (tuple, list)):
        return {f"output_{number}": value for number, value in enumerate(structure, 1)}
    return {"": structure}


def _floats(values: list[Tensor]) -> list[float]:
    """Read several 0-d tensors with one synchronisation."""
    if not values or all(value.device.type == "cpu" for value in values):
        return [value.item() for value in values]
    device = next(value.device for value in values if value.device.type != "cpu")
    stacked: list[float] = torch.stack([value.to(device, torch.float32) for value in values]).tolist()
    return stacked


def _as_list(spec: Any) -> list[Any]:
    return [] if spec is None else list(spec) if isinstance(spec, (list, tuple)) else [spec]


def _flat_specs(specs: Any) -> list[Any]:
    if isinstance(specs, Mapping):
        specs = list(specs.values())
    if isinstance(specs, (list, tuple)):
        return [leaf for spec in specs for leaf in _flat_specs(spec)]
    return [] if specs is None else [specs]


def _map_specs(function: Any, specs: Any) -> Any:
    if isinstance(specs, Mapping):
        return {name: function(spec) for name, spec in specs.items()}
    if isinstance(specs, (list, tuple)):
        return [function(spec) for spec in specs]
    return function(specs)


def _spec_for(specs: Any, name: str, number: int, count: int, *, many: bool = False) -> Any:
    """Return what was asked of one output.

    Args:
        specs: One for all, a list by position, or a dict by name.
        name: The output's name.
        number: Its position.
        count: How many outputs there are.
        many: Whether a plain list belongs to one output, as with metrics.
    """
    if isinstance(specs, Mapping):
        return specs.get(name, specs.get("") if count > 1 else next(iter(specs.values()), None))
    if isinstance(specs, (list, tuple)):
        by_position = not many or (count > 1 and any(isinstance(spec, (list, tuple)) for spec in specs))
        if not by_position:
            return specs
        if len(specs) != count:
            raise ArgumentError(f"{WHERE}: {len(specs)} were given for {count} outputs. Received: {specs!r}.")
        return specs[number]
    return specs
