"""The graph of a model as a serialized ``GraphDef``, which TensorBoard's Graphs tab draws.

The field numbers are those of TensorBoard's ``graph.proto``, ``node_def.proto``, ``attr_value.proto`` and
``tensor_shape.proto``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from jalon.sinks.wire import bytes_field, number_field

_PRODUCER = 22
"""The version of TensorFlow's graphs that is claimed: one that every TensorBoard in use reads."""


@dataclass(frozen=True, slots=True)
class Node:
    """Is one operation of a graph.

    Args:
        name: Its name; what stands before a ``/`` is the group in which it is drawn.
        op: What kind of operation it is.
        inputs: The names of the nodes whose results it takes.
        shapes: The shapes of its weights, by name.
    """

    name: str
    op: str
    inputs: tuple[str, ...] = ()
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


def graph_def(nodes: Iterable[Node]) -> bytes:
    """Return a graph as TensorBoard reads it.

    Args:
        nodes: The operations, each name once.

    Example:
        >>> graph_def([Node("fc", "Linear")])
        b'\\n\\x0c\\n\\x02fc\\x12\\x06Linear"\\x02\\x08\\x16'
    """
    return b"".join(bytes_field(1, _node(node)) for node in nodes) + bytes_field(4, number_field(1, _PRODUCER))


def _node(node: Node) -> bytes:
    inputs = b"".join(bytes_field(3, name.encode()) for name in node.inputs)
    attributes = b"".join(
        bytes_field(5, bytes_field(1, name.encode()) + bytes_field(2, bytes_field(7, _shape(shape))))
        for name, shape in node.shapes.items()
    )
    return bytes_field(1, node.name.encode()) + bytes_field(2, node.op.encode()) + inputs + attributes


def _shape(shape: tuple[int, ...]) -> bytes:
    return b"".join(bytes_field(2, number_field(1, size)) for size in shape)
