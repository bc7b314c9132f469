import math
import resource
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from jalon.callbacks import CallbackList, TensorBoard
from jalon.core.logs import BatchLogs
from jalon.core.run import Run
from jalon.core.trainer import TrainerAdapter
from jalon.errors import ArgumentError, CallbackDegraded


class Trainer(TrainerAdapter):
    """A trainer of two weights, whose numbers the test sets."""

    suffixes = (".pt",)
    validates = True
    iterations = 0

    def __init__(self, rates=(0.5, 0.25), weights=()):
        self.rates = list(rates)
        self.weights = dict(weights)

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

    def freeze(self, *, weights_only: bool, about: Mapping[str, object]) -> Callable[[Path], None]:
        return Path.touch

    def named_weights(self) -> Iterator[tuple[str, np.ndarray]]:
        yield from self.weights.items()


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

    def test_no_state(self, tmp_path):
        """There is nothing to save: the steps are the run's."""
        assert {} == TensorBoard(tmp_path).state_dict()

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
            ({"profile_batch": 5}, "profiling is not available under this loop. Received: profile_batch=5"),
            ({"profile_batch": (2, 5)}, "profiling is not available"),
            ({"profile_batch": "2,5"}, "profiling is not available"),
            ({"embeddings_freq": 1}, "embeddings are not written under this loop. Received: embeddings_freq=1"),
            ({"embeddings_freq": -1}, "embeddings are not written"),
            ({"embeddings_metadata": "words.tsv"}, "embeddings are not written .* embeddings_metadata='words.tsv'"),
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
