import errno
import json
import math
import os
import resource
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.util.tensor_util import make_ndarray
from werkzeug.test import Client

from jalon.callbacks import CallbackList, TensorBoard
from jalon.core.logs import BatchLogs
from jalon.core.run import Run
from jalon.core.trainer import Embedding, Graph, TrainerAdapter
from jalon.errors import ArgumentError, CallbackDegraded, CheckpointError, OlderSpelling
from jalon.sinks.graph_def import Node, graph_def
from jalon.sinks.profile import Profile
from jalon.sinks.tfevents import HEAD_BYTES
from jalon.store import atomic, plain

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # html5lib, within TensorBoard
    from tensorboard.plugins.graph.graphs_plugin import GraphsPlugin
    from tensorboard.plugins.projector.projector_plugin import ProjectorPlugin


class Trainer(TrainerAdapter):
    """A trainer of two weights, whose numbers the test sets."""

    suffixes = (".pt",)
    validates = True
    iterations = 0

    def __init__(self, rates=(0.5, 0.25), weights=(), graph=None, embeddings=()):
        self.rates = list(rates)
        self.weights = dict(weights)
        self._graph = graph
        self._embeddings = embeddings

    def metric_names(self):
        return None

    def metric_direction(self, metric):
        return None

    def learning_rates(self):
        return self.rates

    def set_learning_rates(self, rates):
        self.rates = list(rates)

    def snapshot_weights(self, into=None):
        return dict(self.weights)

    def restore_weights(self, snapshot):
        self.weights = dict(snapshot)

    def freeze(self, path: Path, *, weights_only: bool, about: Mapping[str, object]) -> Callable[[], None]:
        return path.touch

    def load(self, path: Path) -> None:
        raise NotImplementedError

    def named_weights(self) -> Iterator[tuple[str, np.ndarray]]:
        yield from self.weights.items()

    def graph(self):
        return self._graph

    def embeddings(self):
        return iter(self._embeddings)


class ProfiledTrainer(Trainer):
    """A trainer whose profiler tells what happened to it."""

    def __init__(self, run_metadata=None, refuses=False):
        super().__init__()
        self.told = []
        self.run_metadata = run_metadata
        self.refuses = refuses

    @contextmanager
    def profiler(self, folder):
        if self.refuses:
            raise RuntimeError("another profiler is running")
        self.told.append(folder)
        profile = Profile(self._mark)
        try:
            yield profile
        finally:
            profile.run_metadata = self.run_metadata
            self.told.append("stopped")

    @contextmanager
    def _mark(self, number):
        self.told.append(number)
        yield
        self.told.append(-number)


class HandClock:
    """A clock that is moved by hand."""

    now = 1_700_000_000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now


class Loop:
    """A loop of two batches an epoch and one validation, taking half a second a batch and one for validation."""

    def __init__(self, *callbacks, trainer=None, rank=0):
        self.clock = HandClock()
        self.trainer = trainer or Trainer()
        self.run = Run(self.trainer, clock=self.clock, rank=rank)
        self.callbacks = CallbackList(list(callbacks))
        self.callbacks.begin(self.run, object(), {})
        self.reads = 0

    def _read(self):
        self.reads += 1
        return {"loss": 1.0 / self.run.step}

    def batch(self, batch):
        self.callbacks.tell_batch("on_train_batch_begin", batch, {})
        self.clock.now += 0.5
        self.run.step += 1
        self.trainer.iterations += 1
        self.callbacks.tell_batch("on_train_batch_end", batch, BatchLogs(self._read, lambda: self.run.step))

    def epoch(self, epoch, logs=None):
        logs = {"loss": 1.0, "val_loss": 2.0} if logs is None else logs
        self.callbacks.on_epoch_begin(epoch)
        for batch in range(2):
            self.batch(batch)
        self.evaluate({name[4:]: value for name, value in logs.items() if name.startswith("val_")})
        self.callbacks.on_epoch_end(epoch, logs)

    def evaluate(self, logs):
        self.callbacks.on_test_begin()
        self.clock.now += 1.0
        self.callbacks.on_test_end(logs)

    def fit(self, epochs, logs=None):
        with self.callbacks.session():
            self.callbacks.validate()
            self.callbacks.on_train_begin()
            for epoch in range(epochs):
                self.epoch(epoch, logs)
            self.callbacks.on_train_end()
        return self


def accumulated(folder) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"histograms": 0, "scalars": 0, "tensors": 0}).Reload()


def scalars(folder):
    """Every curve in a folder, as TensorBoard's own reader sees it: tag → [(step, value)]."""
    read = accumulated(folder)
    return {tag: [(event.step, event.value) for event in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def files(folder):
    return sorted(path for path in Path(folder).rglob("*") if path.is_file())


class TestScalars:
    def test_epochs(self, tmp_path):
        """Each epoch's metrics and learning rate are curves of Keras's names, validation in a folder of its own."""
        Loop(TensorBoard(tmp_path)).fit(2)

        assert {"epoch_loss": [(0, 1.0), (1, 1.0)], "epoch_learning_rate": [(0, 0.5), (1, 0.5)]} == scalars(tmp_path / "train")
        assert {
            "epoch_loss": [(0, 2.0), (1, 2.0)],
            "evaluation_loss_vs_iterations": [(2, 2.0), (4, 2.0)],
        } == scalars(tmp_path / "validation")

    def test_without_validation(self, tmp_path):
        """Without validation there is no validation folder."""
        Loop(TensorBoard(tmp_path)).fit(1, logs={"loss": 1.0})

        assert [tmp_path / "train"] == list(tmp_path.iterdir())

    def test_rate_in_the_logs(self, tmp_path):
        """A learning rate that another callback put into the logs makes no second point."""
        Loop(TensorBoard(tmp_path)).fit(1, logs={"loss": 1.0, "learning_rate": 9.0})

        assert [(0, 0.5)] == scalars(tmp_path / "train")["epoch_learning_rate"]

    def test_no_rate(self, tmp_path):
        """A loop without a learning rate has no curve of it."""
        Loop(TensorBoard(tmp_path), trainer=Trainer(rates=())).fit(1)

        assert {"epoch_loss"} == scalars(tmp_path / "train").keys()

    def test_not_a_number(self, tmp_path):
        """NaN and infinities are written; what is not a single number is left out."""
        logs = {"loss": math.nan, "grad": math.inf, "confusion": np.eye(2), "note": "hi", "none": None, "one": np.ones(1)}

        Loop(TensorBoard(tmp_path)).fit(1, logs=logs)

        read = scalars(tmp_path / "train")
        assert {"epoch_loss", "epoch_grad", "epoch_one", "epoch_learning_rate"} == read.keys()
        assert math.isnan(read["epoch_loss"][0][1])
        assert math.inf == read["epoch_grad"][0][1]

    def test_times(self, tmp_path):
        """Each record bears the time at which it was written."""
        Loop(TensorBoard(tmp_path)).fit(2)

        times = [event.wall_time for event in accumulated(tmp_path / "train").Scalars("epoch_loss")]

        assert [HandClock.now + 2, HandClock.now + 4] == times

    def test_evaluate(self, tmp_path):
        """A plain evaluate is written too, and the file closed behind it."""
        loop = Loop(TensorBoard(tmp_path))
        with loop.callbacks.session():
            loop.evaluate({"loss": 3.0})

        assert {"evaluation_loss_vs_iterations": [(0, 3.0)]} == scalars(tmp_path / "validation")


class TestBatches:
    def test_every_batch(self, tmp_path):
        """With update_freq="batch" each batch is a point, counted on through the epochs."""
        Loop(TensorBoard(tmp_path, update_freq="batch")).fit(2)

        expected = [(step, float(np.float32(1 / step))) for step in (1, 2, 3, 4)]
        assert expected == scalars(tmp_path / "train")["batch_loss"]

    def test_every_third_batch(self, tmp_path):
        """With a number, so many batches lie between two points, and nothing is read from the device in between."""
        loop = Loop(TensorBoard(tmp_path, update_freq=3)).fit(4)

        assert [3, 6] == [step for step, _ in scalars(tmp_path / "train")["batch_loss"]]
        assert 2 == loop.reads

    def test_resumed(self, tmp_path):
        """Steps are the run's own: a run that begins at step 100 goes on from there."""
        loop = Loop(TensorBoard(tmp_path, update_freq="batch"))
        loop.run.step = 100
        loop.fit(1)

        assert [101, 102] == [step for step, _ in scalars(tmp_path / "train")["batch_loss"]]

    def test_epochs_cost_batches_nothing(self, tmp_path):
        """With update_freq="epoch" the callback takes part in no batch hook."""
        loop = Loop(TensorBoard(tmp_path, write_steps_per_second=True))

        assert not any(loop.callbacks.batch_hooks.values())

    def test_subclass_is_asked(self, tmp_path):
        """A batch hook that a subclass overrides is called whatever update_freq says."""
        seen = []

        class Mine(TensorBoard):
            def on_train_batch_end(self, batch, logs=None):
                seen.append(batch)

        Loop(Mine(tmp_path)).fit(1)

        assert [0, 1] == seen

    def test_driver_that_asks_every_hook(self, tmp_path):
        """A driver that calls hooks the callback has no use for gets no batch points."""
        callback = TensorBoard(tmp_path)
        loop = Loop(callback)
        callback.on_train_batch_end(0, {"loss": 1.0})
        loop.fit(1)

        assert "batch_loss" not in scalars(tmp_path / "train")

    def test_steps_per_second(self, tmp_path):
        """Speed is written for the batch that is due, and for the epoch with its validation."""
        Loop(TensorBoard(tmp_path, update_freq=2, write_steps_per_second=True)).fit(2)

        read = scalars(tmp_path / "train")
        assert [(2, 2.0), (4, 2.0)] == read["batch_steps_per_second"]
        assert [(0, 1.0), (1, 1.0)] == read["epoch_steps_per_second"]

    def test_faster_than_the_clock(self, tmp_path):
        """A batch that takes no time that the clock can tell has an infinite speed."""
        loop = Loop(TensorBoard(tmp_path, update_freq="batch", write_steps_per_second=True))
        with loop.callbacks.session():
            loop.callbacks.tell_batch("on_train_batch_begin", 0, {})
            loop.run.step += 1
            loop.callbacks.tell_batch("on_train_batch_end", 0, {})

        assert [(1, math.inf)] == scalars(tmp_path / "train")["batch_steps_per_second"]


class TestWeights:
    def test_histograms(self, tmp_path):
        """Weights are written every histogram_freq epochs, the first one included."""
        trainer = Trainer(weights={"dense.weight": np.arange(6.0).reshape(2, 3), "dense/bias:0": np.zeros(3)})

        Loop(TensorBoard(tmp_path, histogram_freq=2), trainer=trainer).fit(4)

        read = accumulated(tmp_path / "train")
        assert ["dense.weight/histogram", "dense/bias_0/histogram"] == read.Tags()["histograms"]
        assert [(0, 15.0), (2, 15.0)] == [(e.step, e.histogram_value.sum) for e in read.Histograms("dense.weight/histogram")]
        assert [] == read.Tags()["tensors"]

    @pytest.mark.parametrize(
        ("shape", "drawn"),
        [
            ((5,), (1, 1, 5)),
            ((2, 5), (1, 5, 2)),
            ((5, 2), (1, 5, 2)),
            ((7, 1, 3, 2), (3, 2, 3)),
            ((3, 2, 1, 7), (3, 2, 3)),
            ((2, 4, 5, 3), (2, 5, 4)),
        ],
    )
    def test_images(self, tmp_path, shape, drawn):
        """Vectors are one pixel wide, matrices lie on their long side, kernels are drawn one by one, three at most."""
        trainer = Trainer(weights={"w": np.zeros(shape, dtype=np.float32)})

        Loop(TensorBoard(tmp_path, histogram_freq=1, write_images=True), trainer=trainer).fit(1)

        (event,) = accumulated(tmp_path / "train").Tensors("w/image")
        width, height, *pngs = make_ndarray(event.tensor_proto)
        assert drawn == (len(pngs), int(width), int(height))

    @pytest.mark.parametrize("shape", [(), (1, 1), (0, 3), (2, 4, 5, 6), (2, 2, 2, 2, 3)])
    def test_no_image(self, tmp_path, shape):
        """What is no image has a histogram and no image."""
        trainer = Trainer(weights={"w": np.zeros(shape, dtype=np.float32)})

        Loop(TensorBoard(tmp_path, histogram_freq=1, write_images=True), trainer=trainer).fit(1)

        assert (["w/histogram"], []) == tuple(accumulated(tmp_path / "train").Tags()[kind] for kind in ("histograms", "tensors"))


def served(folder):
    """A folder as TensorBoard's plugins get it."""
    runs = EventMultiplexer().AddRunsFromDirectory(str(folder)).Reload()
    return TBContext(logdir=str(folder), multiplexer=runs, data_provider=MultiplexerDataProvider(runs, str(folder)))


class TestGraph:
    def test_keras(self, tmp_path):
        """TensorBoard draws a Keras configuration as a conceptual graph of the training run."""
        layer = {"class_name": "Dense", "config": {"name": "head"}}
        config = {"class_name": "Sequential", "config": {"name": "net", "layers": [layer]}}
        Loop(TensorBoard(tmp_path), trainer=Trainer(graph=Graph("keras", json.dumps(config).encode()))).fit(1)
        plugin = GraphsPlugin(served(tmp_path))

        shown = plugin.info_impl(RequestContext(), "")["train"]["tags"]["keras"]
        drawn, _ = plugin.graph_impl(RequestContext(), "train", "keras", is_conceptual=True, experiment="")

        assert (True, False) == (shown["conceptual_graph"], shown["op_graph"])
        assert ["net/head"] == [node.name for node in text_format.Parse(drawn, GraphDef()).node]

    def test_operations(self, tmp_path):
        """TensorBoard draws operations as the graph of the training run."""
        content = graph_def([Node("in", "placeholder"), Node("net/fc", "Linear", ("in",), {"weight": (3, 2)})])
        Loop(TensorBoard(tmp_path), trainer=Trainer(graph=Graph("graph_def", content))).fit(2)
        plugin = GraphsPlugin(served(tmp_path))

        drawn, _ = plugin.graph_impl(RequestContext(), "train", None, is_conceptual=False, experiment="")

        assert plugin.info_impl(RequestContext(), "")["train"]["run_graph"]
        assert [("in", []), ("net/fc", ["in"])] == [
            (node.name, list(node.input)) for node in text_format.Parse(drawn, GraphDef()).node
        ]

    def test_unwanted(self, tmp_path):
        """Without write_graph, or where the loop has none, there is no graph."""
        graph = Graph("graph_def", graph_def([Node("fc", "Linear")]))
        Loop(TensorBoard(tmp_path / "a", write_graph=False), trainer=Trainer(graph=graph)).fit(1)
        Loop(TensorBoard(tmp_path / "b")).fit(1)

        assert [False, False] == [accumulated(tmp_path / name / "train").Tags()["graph"] for name in "ab"]


WORDS = (Embedding("words", "net/words/weight"),)


class WritingTrainer(Trainer):
    """A trainer that can write .h5 files."""

    suffixes = (".pt", ".h5")


class TestEmbeddings:
    def trainer(self, kind=Trainer):
        table = np.array([[0.1, 2.0], [-3.0, 1e-7], [5.0, math.nan]], dtype=np.float32)
        return kind(weights={"net/words/weight": table, "net/bias": np.zeros(2)}, embeddings=WORDS)

    def test_shown(self, tmp_path):
        """TensorBoard's projector, without TensorFlow's checkpoints, shows the table of each layer with its labels."""
        (tmp_path / "words.tsv").write_text("the\nan\nof\n")
        trainer = self.trainer()
        Loop(TensorBoard(tmp_path, embeddings_freq=1, embeddings_metadata={"words": "words.tsv"}), trainer=trainer).fit(1)
        plugin = ProjectorPlugin(served(tmp_path))
        client = {route: Client(app) for route, app in plugin.get_plugin_apps().items()}
        query = {"run": "train", "name": "net/words/weight", "num_rows": "100000"}

        info = client["/info"].get(query_string=query).json
        table = np.frombuffer(client["/tensor"].get(query_string=query).data, np.float32).reshape(3, 2)

        assert ["train"] == client["/runs"].get().json
        assert [("net/words/weight", [3, 2])] == [(one["tensorName"], one["tensorShape"]) for one in info["embeddings"]]
        np.testing.assert_array_equal(trainer.weights["net/words/weight"], table)
        assert "the\nan\nof\n" == client["/metadata"].get(query_string=query).text

    def test_there_from_the_beginning(self, tmp_path):
        """Tables are there before the first epoch, so that a TensorBoard already running finds them."""
        loop = Loop(TensorBoard(tmp_path, embeddings_freq=5), trainer=self.trainer())
        loop.callbacks.on_train_begin()

        assert ["net.words.weight.tsv", "projector_config.pbtxt"] == [path.name for path in files(tmp_path)]

    def test_frequency(self, tmp_path):
        """Tables are written anew every so many epochs."""
        trainer = self.trainer()
        loop = Loop(TensorBoard(tmp_path, embeddings_freq=2), trainer=trainer)
        loop.callbacks.on_train_begin()
        seen = []
        for epoch in range(4):
            trainer.weights["net/words/weight"] = np.full((1, 2), epoch)
            loop.epoch(epoch)
            seen.append((tmp_path / "train/embeddings/net.words.weight.tsv").read_text())
        loop.callbacks.on_train_end()

        assert ["0\t0\n", "0\t0\n", "2\t2\n", "2\t2\n"] == seen

    def test_as_keras(self, tmp_path):
        """Where the loop writes .h5 files, Keras's own configuration and checkpoints are there too."""
        callback = TensorBoard(tmp_path, embeddings_freq=2, embeddings_metadata="words.tsv")
        Loop(callback, trainer=self.trainer(WritingTrainer)).fit(3)

        assert [
            "embeddings {",
            '  tensor_name: "layer_with_weights-0/embeddings/.ATTRIBUTES/VARIABLE_VALUE"',
            '  metadata_path: "words.tsv"',
            "}",
        ] == (tmp_path / "projector_config.pbtxt").read_text().splitlines()
        assert ["keras_embedding.ckpt-0.weights.h5", "keras_embedding.ckpt-2.weights.h5"] == [
            path.name for path in sorted((tmp_path / "train").glob("*.h5"))
        ]

    def test_labels_from_anywhere(self, tmp_path):
        """Labels may lie outside log_dir; those that are not there are left out."""
        labels = tmp_path / "words.tsv"
        labels.write_text("the\nan\nof\n")
        Loop(TensorBoard(tmp_path / "a", embeddings_freq=1, embeddings_metadata=labels), trainer=self.trainer()).fit(1)
        Loop(TensorBoard(tmp_path / "b", embeddings_freq=1, embeddings_metadata="gone"), trainer=self.trainer()).fit(1)

        said = [(tmp_path / name / "train/projector_config.pbtxt").read_text() for name in "ab"]
        assert [True, False] == ["metadata_path" in text for text in said]

    def test_no_layers(self, tmp_path):
        """A model without embedding layers has nothing to project."""
        Loop(TensorBoard(tmp_path, embeddings_freq=1)).fit(1)

        assert [] == list(tmp_path.rglob("*.pbtxt"))

    def test_unknown_layer(self, tmp_path):
        """A name that is no embedding layer's is refused before anything is written."""
        callback = TensorBoard(tmp_path, embeddings_freq=1, embeddings_metadata={"words": "w.tsv", "wrods": "w.tsv"})

        with pytest.raises(ArgumentError, match=r"Unrecognized `Embedding` layer names passed to .*: 'wrods'\. Known: 'words'"):
            Loop(callback, trainer=self.trainer()).fit(1)

        assert [] == files(tmp_path)


class TestProfile:
    @pytest.mark.parametrize(
        ("profile_batch", "marks"),
        [(1, [1]), (3, [3]), ("3", [3]), ("2,3", [2, 3]), ((2, 4), [2, 3, 4]), ([1, 1], [1]), (np.int64(2), [2])],
    )
    def test_batches(self, tmp_path, profile_batch, marks):
        """The profiler runs from the first batch wanted to the last, through epochs, and is told of each."""
        trainer = ProfiledTrainer()
        Loop(TensorBoard(tmp_path, profile_batch=profile_batch), trainer=trainer).fit(3)

        assert [tmp_path / "train", *(sign * mark for mark in marks for sign in (1, -1)), "stopped"] == trainer.told

    @pytest.mark.parametrize("profile_batch", [0, (0, 0), "0", 7])
    def test_none(self, tmp_path, profile_batch):
        """Without a batch to profile, or without that many batches, there is no profile."""
        trainer = ProfiledTrainer()
        Loop(TensorBoard(tmp_path, profile_batch=profile_batch), trainer=trainer).fit(3)

        assert [] == trainer.told

    def test_no_cost(self, tmp_path):
        """Without a profile no batch hook is taken."""
        assert not any(Loop(TensorBoard(tmp_path)).callbacks.batch_hooks.values())

    def test_shorter_training(self, tmp_path):
        """A training that ends before the last batch wanted ends the profile."""
        trainer = ProfiledTrainer()
        Loop(TensorBoard(tmp_path, profile_batch=(2, 9)), trainer=trainer).fit(1)

        assert [tmp_path / "train", 2, -2, "stopped"] == trainer.told

    def test_fault(self, tmp_path):
        """An exception in the middle of a batch ends the profile."""
        trainer = ProfiledTrainer()
        loop = Loop(TensorBoard(tmp_path, profile_batch=1), trainer=trainer)
        with suppress(KeyboardInterrupt), loop.callbacks.session():
            loop.callbacks.on_train_begin()
            loop.callbacks.tell_batch("on_train_batch_begin", 0, {})
            raise KeyboardInterrupt

        assert [tmp_path / "train", 1, -1, "stopped"] == trainer.told

    def test_each_fit(self, tmp_path):
        """Each fit is profiled, its batches counted from 1, whatever came before."""
        trainer = ProfiledTrainer()
        loop = Loop(TensorBoard(tmp_path, profile_batch=2), trainer=trainer).fit(1)
        loop.fit(1)

        assert [tmp_path / "train", 2, -2, "stopped"] * 2 == trainer.told

    def test_graphs_that_ran(self, tmp_path):
        """Graphs that the profiler saw are written under the number of the last batch."""
        trainer = ProfiledTrainer(run_metadata=b"graphs")
        Loop(TensorBoard(tmp_path, profile_batch=(1, 2)), trainer=trainer).fit(1)

        (event,) = accumulated(tmp_path / "train").Tensors("batch_2")

        assert (2, b"graphs") == (event.step, make_ndarray(event.tensor_proto).item())

    def test_busy(self, tmp_path):
        """A profiler that cannot start is warned of and not tried again; training goes on."""
        trainer = ProfiledTrainer(refuses=True)
        with pytest.warns(CallbackDegraded, match="another profiler is running") as warned:
            Loop(TensorBoard(tmp_path, profile_batch=(1, 3)), trainer=trainer).fit(2)

        assert 1 == len(warned)
        assert [(0, 1.0), (1, 1.0)] == scalars(tmp_path / "train")["epoch_loss"]

    def test_no_profiler(self, tmp_path):
        """A loop without a profiler says so before anything is written."""
        with pytest.raises(ArgumentError, match=r"profile_batch must be 0 here\. This loop has no profiler"):
            Loop(TensorBoard(tmp_path, profile_batch=2)).fit(1)

        assert [] == files(tmp_path)


class TestFiles:
    def test_complete_at_an_epochs_end(self, tmp_path):
        """After each epoch everything is on the disk, while training goes on."""
        loop = Loop(TensorBoard(tmp_path, update_freq="batch"))
        with loop.callbacks.session():
            loop.callbacks.on_train_begin()
            loop.epoch(0)

            assert [(0, 1.0)] == scalars(tmp_path / "train")["epoch_loss"]
            assert 2 == len(scalars(tmp_path / "validation"))

    def test_complete_at_a_commit(self, tmp_path):
        """What was written when the run commits inside an epoch is on the disk."""
        loop = Loop(TensorBoard(tmp_path, update_freq="batch"))
        with loop.callbacks.session():
            loop.callbacks.on_train_begin()
            loop.batch(0)
            loop.run.commit()

            assert [(1, 1.0)] == scalars(tmp_path / "train")["batch_loss"]

    @pytest.mark.parametrize("fault", [ValueError, KeyboardInterrupt])
    def test_fault(self, tmp_path, fault):
        """A training that fails between two epochs leaves whole files with all that was written."""
        loop = Loop(TensorBoard(tmp_path, update_freq="batch"))

        def train():
            with loop.callbacks.session():
                loop.callbacks.on_train_begin()
                loop.epoch(0)
                loop.batch(0)
                raise fault

        with pytest.raises(fault):
            train()

        assert [1, 2, 3] == [step for step, _ in scalars(tmp_path / "train")["batch_loss"]]

    def test_second_fit(self, tmp_path):
        """A second fit with the same instance begins new files and leaves the first ones alone."""
        callback = TensorBoard(tmp_path)
        Loop(callback).fit(1)
        first = {path: path.read_bytes() for path in files(tmp_path)}
        Loop(callback).fit(1)

        assert 2 == len(first)
        assert 4 == len(files(tmp_path))
        assert first == {path: path.read_bytes() for path in first}

    def test_second_fit_of_a_driver_that_never_ends(self, tmp_path):
        """A second fit begins new files also where the first was never told to end."""
        callback = TensorBoard(tmp_path)
        loop = Loop(callback)
        for _ in range(2):
            loop.callbacks.on_train_begin()
            loop.epoch(0)
        callback.close()

        assert 4 == len(files(tmp_path))

    def test_closed_twice(self, tmp_path):
        """Closing may be repeated."""
        callback = TensorBoard(tmp_path)
        Loop(callback).fit(1)
        callback.close()

        assert 2 == len(files(tmp_path))

    def test_commit_on_a_full_disk(self, tmp_path):
        """A disk that is full at a commit inside an epoch does not stop the run; the epoch's end writes all."""
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        loop = Loop(TensorBoard(tmp_path, update_freq="batch"))
        loop.callbacks.on_train_begin()
        loop.batch(0)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        try:
            loop.run.commit()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        loop.epoch(0)
        loop.callbacks.on_train_end()

        assert [1, 2, 3] == [step for step, _ in scalars(tmp_path / "train")["batch_loss"]]

    def test_one_process_writes(self, tmp_path):
        """Of several processes that train together only the first writes."""
        loop = Loop(TensorBoard(tmp_path, update_freq="batch", histogram_freq=1), rank=1)
        loop.fit(1)

        assert [] == list(tmp_path.iterdir())
        assert not any(loop.callbacks.batch_hooks.values())

    def test_where(self, tmp_path):
        """The run knows where the files are."""
        assert {"TensorBoard": tmp_path} == Loop(TensorBoard(tmp_path)).fit(1).run.files

    def test_folder_lost(self, tmp_path):
        """A folder that goes bad while training runs is warned of once, and training goes on."""
        loop = Loop(TensorBoard(tmp_path / "logs"))
        loop.callbacks.on_train_begin()
        (tmp_path / "logs").write_text("in the way")

        with pytest.warns(CallbackDegraded, match=r"TensorBoard.on_test_end failed: (FileExists|NotADirectory)Error") as warned:
            loop.epoch(0)
        loop.epoch(1)
        loop.callbacks.on_train_end()

        assert 1 == len(warned)

    def test_recovers(self, tmp_path):
        """Once the folder is good again, later epochs are written."""
        loop = Loop(TensorBoard(tmp_path / "logs"))
        (tmp_path / "logs").write_text("in the way")
        loop.callbacks.on_train_begin()
        with pytest.warns(CallbackDegraded):
            loop.epoch(0)
        (tmp_path / "logs").unlink()
        loop.epoch(1)
        loop.callbacks.on_train_end()

        assert [(1, 1.0)] == scalars(tmp_path / "logs/train")["epoch_loss"]


def resumable(loop, *, resumed=False):
    """Make a loop's run one that can be gone on with."""
    loop.run.id, loop.run.resumed = "run", resumed
    return loop


def go_on(loop, state):
    """Begin a loop that goes on from a state, as a backup has kept it."""
    resumable(loop, resumed=True)
    loop.callbacks.on_train_begin()
    loop.callbacks.load_state_dict(plain.decode(plain.encode(state)))
    return loop


def kill(loop):
    """End as by a kill: what is held back is lost."""
    for writer in loop.callbacks.callbacks[0]._writers.values():
        writer._buffer.clear()
    loop.callbacks.callbacks[0].close()


def curve(folder, tag="epoch_loss"):
    """The steps of a curve in all files of a folder together, in the order in which they stand there."""
    read = [event for path in files(folder) for event in RawEventFileLoader(str(path)).Load()]
    return [event.step for event in map(Event.FromString, read) for value in event.summary.value if value.tag == tag]


class TestResume:
    def test_plain_state(self, tmp_path):
        """The state is small and plain, and does not grow with what was written."""
        loop = resumable(Loop(TensorBoard(tmp_path, update_freq="batch")))
        empty = loop.callbacks.state_dict()
        loop.callbacks.on_train_begin()
        loop.epoch(0)
        state = loop.callbacks.state_dict()["TensorBoard"]
        kill(loop)
        sizes = {path.parent.name: path.stat().st_size - HEAD_BYTES for path in files(tmp_path)}

        assert {"files": {}, "held": {}, "profiler": {"number": 0, "due": False}, "epoch": None} == empty["TensorBoard"]
        assert {**empty["TensorBoard"], "files": sizes} == json.loads(json.dumps(state))

    def test_state_without_a_run_to_go_on_with(self, tmp_path):
        """Under a loop that resumes nothing the files have no part in the state, and are named as ever."""
        loop = Loop(TensorBoard(tmp_path, update_freq="batch")).fit(1)
        before = files(tmp_path)
        state = loop.callbacks.state_dict()
        again = Loop(TensorBoard(tmp_path))
        again.callbacks.load_state_dict(state)

        assert {} == state["TensorBoard"]["files"]
        assert before == files(tmp_path)
        assert all(path.name.endswith(".0.v2") for path in before)

    def test_growing_files(self, tmp_path):
        """The files that the state tells of are known, also after the end of training."""
        callback = TensorBoard(tmp_path)
        nothing = list(callback.growing_files())
        resumable(Loop(callback)).fit(1)

        assert [] == nothing
        assert files(tmp_path) == sorted(callback.growing_files())

    def test_more_epochs_after_the_end(self, tmp_path):
        """The state after the end of training is that of all records, and more epochs go on in the same files."""
        loop = resumable(Loop(TensorBoard(tmp_path))).fit(2)
        there = files(tmp_path)
        again = go_on(Loop(TensorBoard(tmp_path)), loop.callbacks.state_dict())
        again.epoch(2)
        again.callbacks.on_train_end()

        assert there == files(tmp_path)
        assert [0, 1, 2] == curve(tmp_path / "train")

    def test_end_on_a_full_disk(self, tmp_path):
        """What a full disk refuses at the end of training is in the state, and written by whoever goes on."""
        loop = resumable(Loop(TensorBoard(tmp_path, update_freq="batch")))
        loop.callbacks.on_train_begin()
        loop.epoch(0)
        loop.batch(0)
        with full_disk():
            with pytest.warns(CallbackDegraded, match="File too large"):
                loop.callbacks.on_train_end()
            state = loop.callbacks.state_dict()
        go_on(Loop(TensorBoard(tmp_path)), state).callbacks.on_train_end()

        assert [1, 2, 3] == curve(tmp_path / "train", "batch_loss")

    @pytest.mark.parametrize("room", [0, 50, 300])
    def test_backup_on_a_full_disk(self, tmp_path, room):
        """What a full disk refuses is in the state; it is there once, whether it was written after the backup or not."""
        for name in ("killed", "wrote"):
            loop = resumable(Loop(TensorBoard(tmp_path / name, update_freq="batch")))
            loop.callbacks.on_train_begin()
            for batch in range(3):
                loop.batch(batch)
            with full_disk(room):
                state = loop.callbacks.state_dict()
            if name == "wrote":
                loop.batch(3)
                loop.run.commit()
            kill(loop)
            again = go_on(Loop(TensorBoard(tmp_path / name, update_freq="batch")), state)
            again.run.step = 3
            again.batch(3)
            again.callbacks.on_train_end()

            assert [1, 2, 3, 4] == curve(tmp_path / name / "train", "batch_loss")

    def test_full_disk_at_the_resume(self, tmp_path):
        """Where there is no room for a new file, the old one is cut, and no point is there twice."""
        loop = resumable(Loop(TensorBoard(tmp_path)))
        loop.callbacks.on_train_begin()
        loop.epoch(0)
        state = loop.callbacks.state_dict()
        for epoch in (1, 2, 3, 4):
            loop.epoch(epoch)
        kill(loop)
        there = files(tmp_path)
        with full_disk(150):
            again = go_on(Loop(TensorBoard(tmp_path)), state)
        again.epoch(1)
        again.callbacks.on_train_end()

        assert there == files(tmp_path)
        assert [0, 1] == curve(tmp_path / "train")

    def test_files_that_cannot_be_cut(self, tmp_path, monkeypatch):
        """Where the system refuses to take anything away, training is refused, for its files would have points twice."""
        loop = resumable(Loop(TensorBoard(tmp_path)))
        loop.callbacks.on_train_begin()
        loop.epoch(0)
        state = loop.callbacks.state_dict()
        loop.epoch(1)
        kill(loop)
        for name in ("fsync", "truncate"):
            monkeypatch.setattr(os, name, refuse)
        with pytest.raises(CheckpointError, match=r"could not be cut back to the backup.*[Rr]ead-only.*Check that they can"):
            go_on(Loop(TensorBoard(tmp_path)), state)
        monkeypatch.undo()

        assert [0, 1] == curve(tmp_path / "train")

    @pytest.mark.parametrize("left", ["nothing", "half"])
    def test_files_that_are_gone(self, tmp_path, left):
        """Where records are gone, a warning says how much of what; whole records that are left stay."""
        loop = resumable(Loop(TensorBoard(tmp_path, update_freq="batch")))
        loop.callbacks.on_train_begin()
        loop.epoch(0, {"loss": 1.0})
        state = loop.callbacks.state_dict()
        kill(loop)
        (path,) = files(tmp_path)
        if left == "nothing":
            path.unlink()
        else:
            os.truncate(path, path.stat().st_size - 70)  # a record and a half
        message = rf"of the records that were written before .*, \d+ of {state['TensorBoard']['files']['train']} bytes are gone"
        with pytest.warns(CallbackDegraded, match=message) as told:
            again = go_on(Loop(TensorBoard(tmp_path)), state)
        again.epoch(1)
        again.callbacks.on_train_end()

        assert 1 == len(told)
        assert ([] if left == "nothing" else [1, 2]) == curve(tmp_path / "train", "batch_loss")
        assert 1 == curve(tmp_path / "train")[-1]

    def test_files_that_are_gone_with_something_held_back(self, tmp_path):
        """Where the end of a file is gone, what a full disk had held back has no place any more; whole records are left."""
        loop = resumable(Loop(TensorBoard(tmp_path, update_freq="batch")))
        loop.callbacks.on_train_begin()
        loop.batch(0)
        loop.batch(1)
        with full_disk(150):  # in the second record
            state = loop.callbacks.state_dict()
        kill(loop)
        (path,) = files(tmp_path)
        os.truncate(path, 140)
        with pytest.warns(CallbackDegraded, match="bytes are gone"):
            again = go_on(Loop(TensorBoard(tmp_path, update_freq="batch")), state)
        again.run.step = 2
        again.batch(2)
        again.callbacks.on_train_end()

        assert [1, 3] == curve(tmp_path / "train", "batch_loss")

    def test_killed_before_the_first_backup(self, tmp_path):
        """A start that was killed before its first backup leaves no record in any file for the next one."""
        for _ in range(2):
            loop = resumable(Loop(TensorBoard(tmp_path)))
            loop.callbacks.on_train_begin()
            loop.epoch(0)
            kill(loop)

        assert [0] == curve(tmp_path / "train")
        assert [0] == curve(tmp_path / "validation")

    def test_graph_once(self, tmp_path):
        """The graph is in the files once, however often training is gone on with."""
        graph = Graph("graph_def", graph_def([Node("in", "placeholder")]))
        loop = resumable(Loop(TensorBoard(tmp_path), trainer=Trainer(graph=graph)))
        loop.callbacks.on_train_begin()
        state = loop.callbacks.state_dict()
        loop.epoch(0)
        kill(loop)
        again = go_on(Loop(TensorBoard(tmp_path), trainer=Trainer(graph=graph)), state)
        again.epoch(0)
        again.callbacks.on_train_end()

        read = [Event.FromString(event) for path in files(tmp_path / "train") for event in RawEventFileLoader(str(path)).Load()]
        assert 1 == sum(event.HasField("graph_def") for event in read)

    def test_embeddings_stay(self, tmp_path):
        """Going on does not write the tables anew: the weights are not put back yet when training begins."""
        table = tmp_path / "train/embeddings/words.weight.tsv"

        def loop_over(table):
            trainer = Trainer(weights={"words.weight": table}, embeddings=[Embedding("words", "words.weight")])
            return resumable(Loop(TensorBoard(tmp_path, embeddings_freq=2), trainer=trainer))

        loop = loop_over(np.ones((2, 1)))
        loop.callbacks.on_train_begin()
        state = loop.callbacks.state_dict()
        kill(loop)
        again = go_on(loop_over(np.zeros((2, 1))), state)
        stayed = table.read_text()
        again.epoch(0)
        again.callbacks.on_train_end()

        assert ("1\n1\n", "0\n0\n") == (stayed, table.read_text())

    def test_two_in_one_folder(self, tmp_path):
        """Two of them may write to one folder; going on with one takes nothing from the other."""
        pair = [TensorBoard(tmp_path, update_freq="batch"), TensorBoard(tmp_path)]
        loop = resumable(Loop(*pair))
        loop.callbacks.on_train_begin()
        loop.epoch(0, {"loss": 1.0})
        state = loop.callbacks.state_dict()
        loop.epoch(1, {"loss": 1.0})
        for callback in pair:
            callback.close()
        again = go_on(Loop(TensorBoard(tmp_path, update_freq="batch"), TensorBoard(tmp_path)), state)
        again.run.step = 2
        again.epoch(1, {"loss": 1.0})
        again.callbacks.on_train_end()

        assert [0, 0, 1, 1] == sorted(curve(tmp_path / "train"))
        assert [1, 2, 3, 4] == curve(tmp_path / "train", "batch_loss")

    def test_evaluate_afterwards(self, tmp_path):
        """An evaluate of its own after the training goes into a file of its own, which going on leaves alone."""
        callback = TensorBoard(tmp_path)
        loop = resumable(Loop(callback)).fit(1)
        state = loop.callbacks.state_dict()
        evaluation = Loop(callback)
        with evaluation.callbacks.session():
            evaluation.evaluate({"loss": 3.0})
        again = go_on(Loop(TensorBoard(tmp_path)), state)
        again.trainer.iterations = 2
        again.epoch(1)
        again.callbacks.on_train_end()

        assert [True, False] == [".run." in path.name for path in files(tmp_path / "validation")]
        assert [2, 4, 0] == curve(tmp_path / "validation", "evaluation_loss_vs_iterations")

    def test_speed(self, tmp_path):
        """The speed of an epoch that was interrupted is that of the time it was trained in."""
        options = {"log_dir": tmp_path, "write_steps_per_second": True}
        loop = resumable(Loop(TensorBoard(**options)))
        loop.callbacks.on_train_begin()
        loop.callbacks.on_epoch_begin(0)
        loop.batch(0)
        state = loop.callbacks.state_dict()
        kill(loop)
        again = resumable(Loop(TensorBoard(**options)), resumed=True)
        again.callbacks.on_train_begin()
        again.callbacks.on_epoch_begin(0)
        again.run.step = 1
        again.clock.now += 1000
        again.callbacks.load_state_dict(state)
        again.batch(1)
        again.callbacks.on_epoch_end(0, {})
        again.callbacks.on_train_end()

        assert [(0, 2.0)] == scalars(tmp_path / "train")["epoch_steps_per_second"]

    @pytest.mark.parametrize(
        ("batches", "marks"), [(1, [2, 3]), (2, [3]), (3, [])], ids=["before it", "while it is taken", "after it"]
    )
    def test_profile(self, tmp_path, batches, marks):
        """A profile is taken once: the batches are counted on, and one that was interrupted takes those that are left."""
        loop = resumable(Loop(TensorBoard(tmp_path, profile_batch=(2, 3)), trainer=ProfiledTrainer()))
        loop.callbacks.on_train_begin()
        for batch in range(batches):
            loop.batch(batch)
        state = loop.callbacks.state_dict()
        kill(loop)
        trainer = ProfiledTrainer()
        again = go_on(Loop(TensorBoard(tmp_path, profile_batch=(2, 3)), trainer=trainer), state)
        for batch in range(batches, 6):
            again.batch(batch)
        again.callbacks.on_train_end()

        assert marks == [told for told in trainer.told if isinstance(told, int) and told > 0]

    def test_other_processes(self, tmp_path):
        """Of several processes only the one that writes touches the files."""
        loop = resumable(Loop(TensorBoard(tmp_path))).fit(1)
        before = {path: path.read_bytes() for path in files(tmp_path)}
        state = loop.callbacks.state_dict()
        state["TensorBoard"]["files"]["train"] -= 10
        other = go_on(Loop(TensorBoard(tmp_path), rank=1), state)

        assert {} == other.callbacks.state_dict()["TensorBoard"]["files"]
        assert before == {path: path.read_bytes() for path in files(tmp_path)}

    def test_loop_that_gives_no_state_back(self, tmp_path):
        """Under a loop that goes on with a run but gives no state back, each start writes files of ordinary names."""
        for resumed in (False, True):
            callback = TensorBoard(tmp_path)
            run = Run(Trainer(), clock=HandClock())
            run.id, run.resumed = "run", resumed
            callback.set_run(run)
            callback.on_train_begin()
            callback.on_epoch_end(int(resumed), {"loss": 1.0})
            callback.on_train_end()

        assert [False, False] == [".run." in path.name for path in files(tmp_path)]
        assert [(0, 1.0), (1, 1.0)] == scalars(tmp_path / "train")["epoch_loss"]

    def test_folders_last(self, tmp_path, monkeypatch):
        """A folder that a backup counts on is on the disk before the first record."""
        synchronised = []
        monkeypatch.setattr(atomic, "sync_folder", synchronised.append)
        loop = resumable(Loop(TensorBoard(tmp_path / "logs"))).fit(1, {"loss": 1.0})

        assert loop.callbacks.callbacks
        assert [tmp_path, tmp_path / "logs"] == synchronised


def refuse(*args):
    raise OSError(errno.EROFS, "read-only")


@contextmanager
def full_disk(size=0):
    """Let no file grow beyond a size, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class TestRefusals:
    @pytest.mark.parametrize("in_the_way", ["logs", "logs/train", "logs/validation"])
    def test_file_in_the_way(self, tmp_path, in_the_way):
        """A log_dir where a file is in the way is refused before anything is written."""
        place = tmp_path / in_the_way
        place.parent.mkdir(exist_ok=True)
        place.write_text("mine")
        loop = Loop(TensorBoard(tmp_path / "logs"))

        with pytest.raises(ArgumentError, match=r"log_dir='.*' cannot be written\. .*: Not a directory"):
            loop.callbacks.validate()

        assert [place] == files(tmp_path)

    def test_other_processes_write_nothing(self, tmp_path):
        """Of several processes only the one that writes looks whether log_dir can be written."""
        (tmp_path / "logs").write_text("mine")

        Loop(TensorBoard(tmp_path / "logs"), rank=1).callbacks.validate()

        assert "mine" == (tmp_path / "logs").read_text()

    @pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a folder that not even the superuser can write to")
    def test_no_permission(self):
        """A log_dir in a folder that cannot be written to is refused."""
        with pytest.raises(ArgumentError, match="cannot be written"):
            Loop(TensorBoard("/proc/jalon/logs")).callbacks.validate()

    def test_no_litter(self, tmp_path):
        """Looking whether log_dir can be written leaves nothing behind."""
        Loop(TensorBoard(tmp_path / "a/b/logs")).callbacks.validate()

        assert [] == list(tmp_path.iterdir())

    def test_relative(self, tmp_path, monkeypatch):
        """The default folder is looked for where the program runs."""
        monkeypatch.chdir(tmp_path)
        Loop(TensorBoard()).fit(1)

        assert ["train", "validation"] == sorted(path.name for path in (tmp_path / "logs").iterdir())

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ({"log_dir": 3}, "log_dir must be the path of a local folder. Received: log_dir=3"),
            ({"log_dir": b"logs"}, "log_dir must be the path"),
            ({"log_dir": "gs://bucket/logs"}, "local folder. Received: log_dir='gs://bucket/logs'"),
            ({"histogram_freq": -1}, "histogram_freq must be .* Received: histogram_freq=-1"),
            ({"histogram_freq": 0.5}, "histogram_freq must be"),
            ({"write_graph": "no"}, "write_graph must be True or False. Received: write_graph='no'"),
            ({"write_images": 1}, "write_images must be True or False"),
            ({"write_steps_per_second": None}, "write_steps_per_second must be True or False"),
            ({"update_freq": "epochs"}, "update_freq must be .* Received: update_freq='epochs'"),
            ({"update_freq": 0}, "update_freq must be"),
            ({"update_freq": -5}, "update_freq must be"),
            ({"update_freq": 1.0}, "update_freq must be"),
            ({"update_freq": True}, "update_freq must be"),
            ({"update_freq": None}, "update_freq must be"),
            ({"profile_batch": -1}, "profile_batch must be a non-negative integer or 2-tuple .* Received: profile_batch=-1"),
            ({"profile_batch": (5, 2)}, "profile_batch must be"),
            ({"profile_batch": (0, 2)}, "profile_batch must be"),
            ({"profile_batch": (1, 2, 3)}, "profile_batch must be"),
            ({"profile_batch": ()}, "profile_batch must be"),
            ({"profile_batch": "a,b"}, "profile_batch must be .* Received: profile_batch='a,b'"),
            ({"profile_batch": 1.5}, "profile_batch must be"),
            ({"profile_batch": None}, "profile_batch must be"),
            ({"embeddings_freq": -1}, "embeddings_freq must be"),
            ({"embeddings_freq": "1"}, "embeddings_freq must be"),
            ({"embeddings_metadata": 5}, "embeddings_metadata must be the path of a file, or a dict .* embeddings_metadata=5"),
            ({"embeddings_metadata": {"words": None}}, "embeddings_metadata must be"),
        ],
    )
    def test_wrong_argument(self, arguments, said):
        """A wrong argument is refused by the constructor, with what was received."""
        with pytest.raises(ArgumentError, match=said):
            TensorBoard(**arguments)

    def test_arguments_by_place(self):
        """Arguments stand in Keras's order."""
        callback = TensorBoard("logs", 1, False, True, True, "batch", 0, 0, None)

        assert ("logs", 1, False, True, True, "batch") == (
            callback.log_dir,
            callback.histogram_freq,
            callback.write_graph,
            callback.write_images,
            callback.write_steps_per_second,
            callback.update_freq,
        )


def test_the_spelling_of_keras_2(tmp_path):
    """What only Keras 2 takes has no effect, and one warning names all of it."""
    with pytest.warns(OlderSpelling, match="batch_size, write_grads is Keras 2's spelling. It has no effect") as told:
        TensorBoard(tmp_path, batch_size=32, write_grads=False)
    assert 1 == len(told)
