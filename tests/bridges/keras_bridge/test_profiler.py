import keras
import pytest

from jalon.bridges.keras_bridge import profiler as bridge
from jalon.errors import NotReady


def by_tensorflow():
    tf = pytest.importorskip("tensorflow")
    tf.function(lambda x: x @ x)(tf.ones((4, 4)))


def by_jax():
    jax = pytest.importorskip("jax")
    jax.jit(lambda x: x @ x)(jax.numpy.ones((4, 4))).block_until_ready()


def by_torch():
    torch = pytest.importorskip("torch")
    torch.mm(torch.ones(4, 4), torch.ones(4, 4))


@pytest.mark.parametrize(
    ("backend", "compute", "suffix"),
    [("tensorflow", by_tensorflow, ".xplane.pb"), ("jax", by_jax, ".xplane.pb"), ("torch", by_torch, ".pt.trace.json")],
)
def test_written(tmp_path, monkeypatch, backend, compute, suffix):
    """Every backend leaves one profile where TensorBoard looks, and may leave another later."""
    pytest.importorskip(backend)
    monkeypatch.setattr(keras.config, "backend", lambda: backend)
    for run in ("first", "second"):
        with bridge.profiler(tmp_path / run) as profile, profile.mark(1):
            compute()

        assert 1 == len(list((tmp_path / run).glob(f"plugins/profile/*/*{suffix}")))


def test_graphs_of_tensorflow(tmp_path, monkeypatch):
    """TensorFlow tells the graphs that ran for the first time."""
    pytest.importorskip("tensorflow")
    from tensorflow.core.protobuf.config_pb2 import RunMetadata

    monkeypatch.setattr(keras.config, "backend", lambda: "tensorflow")
    with bridge.profiler(tmp_path) as profile, profile.mark(1):
        by_tensorflow()

    graphs = RunMetadata.FromString(profile.run_metadata).function_graphs
    assert "MatMul" in {node.op for graph in graphs for node in graph.pre_optimization_graph.node}


def test_other_backends(tmp_path, monkeypatch):
    """A backend without a profiler says so before anything starts."""
    monkeypatch.setattr(keras.config, "backend", lambda: "numpy")

    with pytest.raises(NotReady, match="numpy backend has no profiler"):
        bridge.profiler(tmp_path)
