"""TensorBoard: curves, histograms, graphs, embeddings and profiles for TensorBoard, without TensorFlow."""

from __future__ import annotations

import math
import os
import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from operator import index
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jalon.callbacks._arguments import batches_between, name_todays_spelling, whole_number
from jalon.callbacks._event_files import cut_back
from jalon.callbacks._profiling import BatchProfiler
from jalon.callbacks._projector import Projector
from jalon.core.callback import Callback, Logs
from jalon.core.logs import scalar
from jalon.core.run import Run
from jalon.core.trainer import Embedding
from jalon.errors import ArgumentError, CallbackDegraded, CheckpointError, NotReady
from jalon.sinks.tfevents import HEAD_BYTES, EventFileWriter
from jalon.store import atomic

_PARTS = ("train", "validation")
_GONE = (
    "TensorBoard: of the records that were written before the interruption, {1:,} of {2:,} bytes are gone from the event "
    "files in {0}. Training goes on, and so do the records."
)
_NOT_CUT = (
    "TensorBoard: the event files in {0} could not be cut back to the backup, and would have points twice: {1}. Check that they "
    "can be written to, and start again."
)


class TensorBoard(Callback):
    """Write metrics and the model's graph, and if asked weights, embeddings and a profile, for TensorBoard to show.

    Needs neither TensorFlow nor TensorBoard; to look at the files, ``tensorboard --logdir logs``. Training goes into
    ``<log_dir>/train``, validation into ``<log_dir>/validation``, under Keras's tags:

    - at each epoch's end ``epoch_<metric>`` and ``epoch_learning_rate``, by epoch; a ``val_`` metric goes without its
      ``val_`` into the validation folder, so that both curves share a chart;
    - at the end of each validation and ``evaluate``, ``evaluation_<metric>_vs_iterations``, by the optimizer's steps;
    - with ``update_freq``, ``batch_<metric>``, by training batches since training began;
    - with ``histogram_freq``, ``<weight>/histogram`` and ``<weight>/image``, by epoch;
    - with ``write_graph``, the graph, when training begins: ``keras`` of a Functional or Sequential model of Keras's, the
      operations of a PyTorch module, or its layers where its ``forward`` cannot be followed without data;
    - with ``embeddings_freq``, ``train/projector_config.pbtxt`` with the first 100,000 rows of each table as text;
    - with ``profile_batch``, the profile of the framework, in ``train/plugins/profile``.

    Metrics that are not a single number are left out; NaN and infinities are written. Files are made when there is
    something to write, and are complete at each epoch's end. Each ``fit`` begins new ones.

    Args:
        log_dir: The folder, made if missing. Defaults to ``"logs"``.
        histogram_freq: How many epochs from one histogram of the weights to the next. Defaults to 0: none.
        write_graph: Whether to write the model's graph where the loop has one to give. Defaults to True.
        write_images: Whether to draw the weights too, whenever their histograms are written. Values from 0 to 1 go
            from black to white. Vectors are one pixel wide, matrices lie on their long side; of weights with three
            axes the longer of the outer two numbers the kernels, of which three are drawn. Defaults to False.
        write_steps_per_second: Whether to write ``epoch_steps_per_second``, and with ``update_freq``
            ``batch_steps_per_second``: training batches per second. Defaults to False.
        update_freq: ``"epoch"``; or ``"batch"`` or a number of batches, to write metrics that often besides.
            Defaults to ``"epoch"``.
        profile_batch: The batch to profile, counted from 1 through each ``fit``; or the first and the last, as a pair or
            as ``"10,20"``. Defaults to 0: none.
        embeddings_freq: How many epochs from one writing of the embedding tables to the next; they are also there from the
            beginning. Where the loop can write ``.h5`` files, all weights are saved besides, as
            ``train/keras_embedding.ckpt-<epoch>.weights.h5``. Defaults to 0: none.
        embeddings_metadata: A file with one label per row of a table, seen from ``log_dir``, for all embedding layers; or
            a dict of them by the layer's name. Defaults to None.
        batch_size: Keras 2's; without effect, as the three that follow.
        write_grads: Keras 2's.
        embeddings_layer_names: Keras 2's.
        embeddings_data: Keras 2's.

    Raises:
        ArgumentError: A wrong argument; or, when training begins, a ``log_dir`` that cannot be written, a name in
            ``embeddings_metadata`` that is no embedding layer's, or a loop that has no profiler.

    Example:
        >>> from jalon.callbacks import TensorBoard
        >>> every_epoch = TensorBoard("logs/first")
        >>> every_tenth_batch = TensorBoard("logs/second", update_freq=10, histogram_freq=1)
        >>> words = TensorBoard("logs/third", embeddings_freq=1, embeddings_metadata={"words": "words.tsv"})
        >>> profiled = TensorBoard("logs/fourth", profile_batch=(10, 20))

    After a resume: every record is there once, as in a training that was never interrupted. What came after the backup is taken
    away: the records go on in a new file that begins with all of those before. Whoever has the curves open in TensorBoard sees
    them right, except that, where ``log_dir`` holds the files of other trainings too, TensorBoard without its fast data server
    shows points twice until it is started again. A profile that was being taken is begun again.

    Source: Keras's class of this name.
    """

    critical = False
    lazy_logs = True
    adds_metrics = False
    optional_hooks = frozenset({"on_test_end"})

    def __init__(
        self,
        log_dir: str | os.PathLike[str] = "logs",
        histogram_freq: int = 0,
        write_graph: bool = True,
        write_images: bool = False,
        write_steps_per_second: bool = False,
        update_freq: int | Literal["batch", "epoch"] = "epoch",
        profile_batch: int | str | Sequence[int] = 0,
        embeddings_freq: int = 0,
        embeddings_metadata: str | os.PathLike[str] | Mapping[str, str | os.PathLike[str]] | None = None,
        *,
        batch_size: Any = None,
        write_grads: Any = None,
        embeddings_layer_names: Any = None,
        embeddings_data: Any = None,
    ) -> None:
        older = {
            "batch_size": batch_size,
            "write_grads": write_grads,
            "embeddings_layer_names": embeddings_layer_names,
            "embeddings_data": embeddings_data,
        }
        given = ", ".join(name for name, value in older.items() if value is not None)
        if given:
            name_todays_spelling(given, "It has no effect; leave it out.", who="TensorBoard")
        self.log_dir = _local_folder(log_dir)
        self.histogram_freq = whole_number(histogram_freq, name="histogram_freq", who="TensorBoard")
        self.write_graph = _switch("write_graph", write_graph)
        self.write_images = _switch("write_images", write_images)
        self.write_steps_per_second = _switch("write_steps_per_second", write_steps_per_second)
        self.update_freq = update_freq
        self.embeddings_freq = whole_number(embeddings_freq, name="embeddings_freq", who="TensorBoard")
        self.embeddings_metadata = _metadata(embeddings_metadata)
        self._batches = batches_between(update_freq, who="TensorBoard")
        self._profiler = BatchProfiler(*_profiled(profile_batch), self._start_profiler)
        self._projector: Projector | None = None
        self._writers: dict[str, EventFileWriter] = {}
        self._writers_run: Run | None = None
        self._batch_began = self._epoch_began = 0.0
        self._epoch_first_step = 0

    def skips_hook(self, hook: str) -> bool:
        if self._run is not None and not self._run.is_main:
            return True
        if getattr(type(self), hook) is not getattr(TensorBoard, hook):
            return False
        by_batch = self._batches is not None
        needed = {
            "on_train_batch_begin": (by_batch and self.write_steps_per_second) or self._profiler.first > 0,
            "on_train_batch_end": by_batch or self._profiler.first > 0,
            "on_epoch_begin": self.write_steps_per_second,
        }
        return not needed.get(hook, True)

    def rehearse(self, folder: Path) -> None:
        self.log_dir = str(folder)

    def check_setup(self) -> None:
        if not self.run.is_main:
            return
        for part in _PARTS:
            _refuse_unwritable(Path(self.log_dir, part), self.log_dir)
        if self._profiler.first:
            try:
                self._start_profiler()  # not entered: nothing starts yet
            except NotReady as exc:
                raise ArgumentError(f"TensorBoard: profile_batch must be 0 here. {exc}") from exc
        if self.embeddings_freq:
            _refuse_unknown_layers(self.embeddings_metadata, list(self.trainer.embeddings()))

    def state_dict(self) -> dict[str, Any]:
        """Return how much of the files counts, what is held back because it could not be written, and the counters."""
        self._commit()
        positions = {part: writer.position() for part, writer in self._writers.items() if writer.run is not None}
        return {
            "files": {part: length for part, (length, _) in positions.items()},
            "held": {part: np.frombuffer(held, np.uint8) for part, (_, held) in positions.items() if held},
            "profiler": self._profiler.state_dict(),
            "epoch": self._epoch_so_far() if self.write_steps_per_second else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._profiler.load_state_dict(state["profiler"])
        if state["epoch"] is not None:
            self._epoch_first_step = state["epoch"]["first_step"]
            self._epoch_began = self.run.clock.monotonic() - state["epoch"]["seconds"]
        if self.run.resumed and self.run.is_main:
            for part in _PARTS:
                self._cut_back(part, state["files"].get(part, 0), bytes(state["held"].get(part, b"")))

    def growing_files(self) -> Iterable[Path]:
        return [writer.path for writer in self._writers.values() if writer.path is not None]

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.close()
        self._writers = {}
        self._profiler.rewind()
        self.run.files[self.name or type(self).__name__] = Path(self.log_dir)
        if self._commit not in self.run.commits:
            self.run.commits.append(self._commit)
        self._projector = self._make_projector() if self.embeddings_freq else None
        if not self.run.resumed:
            self._begin()

    def _begin(self) -> None:
        # A start of this run that was killed before its first backup may have left files.
        for part in _PARTS:
            self._cut_back(part, 0, b"")
        # Before the first record: TensorBoard looks for tables once, when it first sees the run.
        if self._projector is not None:
            self._projector.write(self.trainer.named_weights())
            if self._saves(self._embeddings_checkpoint(0)):
                self._projector.write_as_keras()
        if self.write_graph:
            self._write_graph()

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch_began = self.run.clock.monotonic()
        self._epoch_first_step = self.run.step

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self._profiler.begin_batch()
        self._batch_began = self.run.clock.monotonic()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        run = self.run
        self._write_graphs_that_ran(self._profiler.end_batch())
        if self._batches is None or run.step % self._batches:
            return
        if self.write_steps_per_second:
            rate = _per_second(1, run.clock.monotonic() - self._batch_began)
            self._writer("train").scalar("batch_steps_per_second", rate, run.step)
        self._write("train", "batch_{}", {} if logs is None else logs, run.step)

    def on_test_end(self, logs: Logs | None = None) -> None:
        self._write("validation", "evaluation_{}_vs_iterations", logs or {}, self.trainer.iterations)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        metrics = dict(logs or {})
        metrics |= self.trainer.reported_rates()
        if self.write_steps_per_second:
            seconds = self.run.clock.monotonic() - self._epoch_began
            metrics["steps_per_second"] = _per_second(self.run.step - self._epoch_first_step, seconds)
        validation = {name[4:]: metrics.pop(name) for name in list(metrics) if name.startswith("val_")}
        self._write("train", "epoch_{}", metrics, epoch)
        self._write("validation", "epoch_{}", validation, epoch)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            self._write_weights(epoch)
        self._flush()
        if self._projector is not None and epoch % self.embeddings_freq == 0:
            self._write_embeddings(self._projector, epoch)

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._write_graphs_that_ran(self._profiler.stop())
        self.close()

    def close(self) -> None:
        with ExitStack() as stack:
            for writer in self._writers.values():
                stack.callback(writer.close)
            stack.callback(self._profiler.stop)

    def _writer(self, part: str) -> EventFileWriter:
        if self._writers_run is not self.run:
            self._writers, self._writers_run = {}, self.run
        writer = self._writers.get(part)
        if writer is None:
            name, folder = self._run_name(), Path(self.log_dir, part)
            if name is not None:
                atomic.make_folder(folder)  # a backup counts on it
            writer = self._writers[part] = EventFileWriter(folder, run=name, clock=self.run.clock)
        return writer

    def _run_name(self) -> str | None:
        """Return the run's name as it stands in the names of files: no other callback's of one folder."""
        if self.run.id is None or self.run.callbacks is None:  # a foreign loop gives no state back
            return None
        alike = [callback for callback in self.run.callbacks if isinstance(callback, TensorBoard)]
        ordinal = next((number for number, callback in enumerate(alike) if callback is self), 0)
        return f"{self.run.id}-{ordinal}" if ordinal else self.run.id

    def _cut_back(self, part: str, length: int, held: bytes) -> None:
        """Leave of a part's records what counts, and go on with them."""
        name, folder = self._run_name(), Path(self.log_dir, part)
        if name is None:
            return
        try:
            path = cut_back(folder, name, length, now=self.run.clock.wall())
            found = 0 if path is None else path.stat().st_size - HEAD_BYTES
            if path is not None or held:
                self._writer(part).go_on(path, held if found == length else b"")
        except OSError as exc:
            raise CheckpointError(_NOT_CUT.format(folder, exc.strerror or exc)) from exc
        if found < length:
            warnings.warn(_GONE.format(folder, length - found, length), CallbackDegraded, stacklevel=2)

    def _write(self, part: str, tag: str, metrics: Mapping[str, Any], step: int) -> None:
        numbers = [(name, number) for name, value in metrics.items() if (number := scalar(value)) is not None]
        if numbers:
            writer = self._writer(part)
            for name, number in numbers:
                writer.scalar(tag.format(name), number, step)

    def _write_weights(self, epoch: int) -> None:
        writer = self._writer("train")
        for path, weight in self.trainer.named_weights():
            name = path.replace(":", "_")
            writer.histogram(f"{name}/histogram", weight, epoch)
            images = _images(weight) if self.write_images else None
            if images is not None:
                writer.image(f"{name}/image", images, epoch)

    def _write_graph(self) -> None:
        graph = self.trainer.graph()
        if graph is None:
            return
        writer = self._writer("train")
        if graph.kind == "keras":
            writer.blob("keras", graph.content, 0, plugin="graph_keras_model")
        else:
            writer.graph(graph.content)

    def _make_projector(self) -> Projector | None:
        embeddings = list(self.trainer.embeddings())
        metadata = self.embeddings_metadata or {}
        if isinstance(metadata, str):
            metadata = dict.fromkeys((embedding.layer for embedding in embeddings), metadata)
        return Projector(Path(self.log_dir), embeddings, metadata) if embeddings else None

    def _write_embeddings(self, projector: Projector, epoch: int) -> None:
        projector.write(self.trainer.named_weights())
        path = self._embeddings_checkpoint(epoch)
        if self._saves(path):
            atomic.make_folder(path.parent)
            self.trainer.freeze(path, weights_only=True, about={})()

    def _embeddings_checkpoint(self, epoch: int) -> Path:
        return Path(self.log_dir, "train", f"keras_embedding.ckpt-{epoch}.weights.h5")

    def _saves(self, path: Path) -> bool:
        return self.trainer.suffix_fault(str(path), weights_only=True) is None

    def _start_profiler(self) -> AbstractContextManager[Any]:
        return self.trainer.profiler(Path(self.log_dir, "train"))

    def _write_graphs_that_ran(self, run_metadata: bytes | None) -> None:
        if run_metadata:
            number = self._profiler.last
            self._writer("train").blob(f"batch_{number}", run_metadata, number, plugin="graph_run_metadata_graph")

    def _epoch_so_far(self) -> dict[str, Any]:
        seconds = 0.0 if self._run is None else self._run.clock.monotonic() - self._epoch_began
        return {"first_step": self._epoch_first_step, "seconds": seconds}

    def _flush(self) -> None:
        for writer in self._writers.values():
            writer.flush()

    def _commit(self) -> None:
        # What cannot be written now is kept, and reported by the epoch's end, where it does not stop the run.
        with suppress(OSError):
            self._flush()


def _images(weight: Any) -> Any:
    """Return a weight as a stack of images, by Keras's rules, or ``None`` where it is none."""
    image = np.squeeze(weight)
    if image.size == 0:
        return None
    if image.ndim == 1:
        return image[np.newaxis, :, np.newaxis, np.newaxis]
    if image.ndim == 2:
        return (image.T if image.shape[0] > image.shape[1] else image)[np.newaxis, :, :, np.newaxis]
    if image.ndim == 3:
        return (np.moveaxis(image, -1, 0) if image.shape[-1] > image.shape[0] else image)[..., np.newaxis]
    return image if image.ndim == 4 and image.shape[-1] in (3, 4) else None


def _per_second(steps: int, seconds: float) -> float:
    return steps / seconds if seconds > 0 else math.inf


# ---- arguments ---------------------------------------------------------------------------------------------------------


def _local_folder(log_dir: Any) -> str:
    folder = os.fspath(log_dir) if isinstance(log_dir, (str, os.PathLike)) else None
    if not isinstance(folder, str) or "://" in folder:
        raise ArgumentError(f"TensorBoard: log_dir must be the path of a local folder. Received: log_dir={log_dir!r}.")
    return folder


def _switch(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ArgumentError(f"TensorBoard: {name} must be True or False. Received: {name}={value!r}.")
    return value


def _profiled(profile_batch: Any) -> tuple[int, int]:
    """Return the numbers of the first and the last batch to profile, both 0 for none."""
    given = profile_batch.split(",") if isinstance(profile_batch, str) else profile_batch
    parts = given if isinstance(given, (list, tuple)) else [given]
    try:
        numbers = [int(part) if isinstance(part, str) else index(part) for part in parts]
        first, last = numbers * 2 if len(numbers) == 1 else numbers
    except (TypeError, ValueError):
        first, last = 0, -1
    if not 0 <= first <= last or (first == 0 and last > 0):
        raise ArgumentError(
            "TensorBoard: profile_batch must be a non-negative integer or 2-tuple of positive integers, "
            f"the first and the last batch to profile. Received: profile_batch={profile_batch!r}."
        )
    return first, last


def _metadata(embeddings_metadata: Any) -> str | dict[str, str] | None:
    if embeddings_metadata is None:
        return None
    try:
        if isinstance(embeddings_metadata, Mapping):
            return {str(layer): os.fspath(path) for layer, path in embeddings_metadata.items()}
        return str(os.fspath(embeddings_metadata))
    except TypeError:
        raise ArgumentError(
            "TensorBoard: embeddings_metadata must be the path of a file, or a dict of such paths by embedding layer. "
            f"Received: embeddings_metadata={embeddings_metadata!r}."
        ) from None


def _refuse_unknown_layers(metadata: str | Mapping[str, str] | None, embeddings: Sequence[Embedding]) -> None:
    known = [embedding.layer for embedding in embeddings]
    unknown = [] if metadata is None or isinstance(metadata, str) else [layer for layer in metadata if layer not in known]
    if unknown:
        raise ArgumentError(
            "TensorBoard: Unrecognized `Embedding` layer names passed to `TensorBoard` `embeddings_metadata` argument: "
            f"{', '.join(map(repr, unknown))}. Known: {', '.join(map(repr, known)) or 'none'}."
        )


def _refuse_unwritable(folder: Path, log_dir: str) -> None:
    nearest = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as exc:
        raise ArgumentError(
            f"TensorBoard: log_dir={log_dir!r} cannot be written. {nearest}: {exc.strerror}. "
            "Pass a folder that can be made and written to."
        ) from exc
