"""What ``Model.summary`` prints."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from torch import nn


def print_summary(module: nn.Module) -> None:
    """Print a module's layers with the shapes and numbers of their weights."""
    table = Table(title=type(module).__name__, title_justify="left")
    table.add_column("Layer")
    table.add_column("Type")
    table.add_column("Weights")
    table.add_column("Parameters", justify="right")
    for name, part in module.named_modules():
        own = dict(part.named_parameters(recurse=False))
        if own or not list(part.children()):
            shapes = ", ".join(f"{key} {_shape(value)}" for key, value in own.items())
            table.add_row(name or "-", type(part).__name__, shapes, f"{sum(map(_count, own.values())):,}")
    parameters = list(module.parameters())
    trainable = sum(_count(value) for value in parameters if value.requires_grad)
    console = Console()
    console.print(table)
    console.print(f"Parameters: {sum(map(_count, parameters)):,}, of which trained: {trainable:,}")


def _count(parameter: nn.Parameter) -> int:
    return 0 if isinstance(parameter, nn.UninitializedParameter) else parameter.numel()


def _shape(parameter: nn.Parameter) -> str:
    return "lazy" if isinstance(parameter, nn.UninitializedParameter) else "×".join(map(str, parameter.shape)) or "0-d"
