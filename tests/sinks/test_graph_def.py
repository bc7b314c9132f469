from tensorboard.compat.proto.graph_pb2 import GraphDef

from jalon.sinks.graph_def import Node, graph_def


def test_read_back():
    """protobuf reads names, kinds, edges and shapes as they were given."""
    nodes = [
        Node("x", "placeholder"),
        Node("net/fc", "Linear", ("x",), {"weight": (300, 2), "scale": ()}),
        Node("ü", "add", ("x", "net/fc")),
    ]

    read = GraphDef.FromString(graph_def(nodes))

    assert nodes == [
        Node(
            node.name,
            node.op,
            tuple(node.input),
            {name: tuple(dim.size for dim in value.shape.dim) for name, value in node.attr.items()},
        )
        for node in read.node
    ]
    assert read.versions.producer > 0


def test_wire_format():
    """A graph is what protobuf itself makes of it."""
    expected = GraphDef()
    node = expected.node.add(name="fc", op="Linear", input=["x"])
    node.attr["weight"].shape.dim.add(size=300)
    expected.versions.producer = 22

    assert expected.SerializeToString() == graph_def([Node("fc", "Linear", ("x",), {"weight": (300,)})])
