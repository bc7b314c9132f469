"""TensorBoard: curves, histograms and images for TensorBoard, without TensorFlow."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from numbers import Integral
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jalon.callbacks._arguments import whole_number
from jalon.core.callback import Callback, Logs
from jalon.core.logs import scalar
from jalon.errors import ArgumentError
from jalon.sinks.tfevents import EventFileWriter


class TensorBoard(Callback):
    """Write metrics, and weights if asked, as event files that TensorBoard shows.

    Needs neither TensorFlow nor TensorBoard; to look at the files, ``tensorboard --logdir logs``. Training goes into
    ``<log_dir>/train``, validation into ``<log_dir>/validation``, under Keras's tags:

    - at each epoch's end ``epoch_<metric>`` and ``epoch_learning_rate``, by epoch; a ``val_`` metric goes without its
      ``val_`` into the validation folder, so that both curves share a chart;
    - at the end of each validation and ``evaluate``, ``evaluation_<metric>_vs_iterations``, by the optimizer's steps;
    - with ``update_freq``, ``batch_<metric>``, by training batches since training began;
    - with ``histogram_freq``, ``<weight>/histogram`` and ``<weight>/image``, by epoch.

    Metrics that are not a single number are left out; NaN and infinities are written. Files are made when there is
    something to write, and are complete at each epoch's end. Each ``fit`` begins new ones.

    Args:
        log_dir: The folder, made if missing. Defaults to ``"logs"``.
        histogram_freq: How many epochs from one histogram of the weights to the next. Defaults to 0: none.
        write_graph: Whether to write the model's graph where the loop has one to give; a ``jalon.Model`` has none.
            Defaults to True.
        write_images: Whether to draw the weights too, whenever their histograms are written. Values from 0 to 1 go
            from black to white. Vectors are one pixel wide, matrices lie on their long side; of weights with three
            axes the longer of the outer two numbers the kernels, of which three are drawn. Defaults to False.
        write_steps_per_second: Whether to write ``epoch_steps_per_second``, and with ``update_freq``
            ``batch_steps_per_second``: training batches per second. Defaults to False.
        update_freq: ``"epoch"``; or ``"batch"`` or a number of batches, to write metrics that often besides.
            Defaults to ``"epoch"``.
        profile_batch: 0: profiling is not available.
        embeddings_freq: 0: embeddings are not written.
        embeddings_metadata: None: embeddings are not written.

    Raises:
        ArgumentError: A wrong argument; or, when training begins, a ``log_dir`` that cannot be written.

    Example:
        >>> from jalon.callbacks import TensorBoard
        >>> every_epoch = TensorBoard("logs/first")
        >>> every_tenth_batch = TensorBoard("logs/second", update_freq=10, histogram_freq=1)

    After a resume: the steps go on where they were, since they are the run's; the records go into new files.
    """

    critical = False
    lazy_logs = True
    adds_metrics = False

    def __init__(
        self,
        log_dir: str | os.PathLike[str] = "logs",
        histogram_freq: int = 0,
        write_graph: bool = True,
        write_images: bool = False,
        write_steps_per_second: bool = False,
        update_freq: int | Literal["batch", "epoch"] = "epoch",
        profile_batch: int = 0,
        embeddings_freq: int = 0,
        embeddings_metadata: None = None,
    ) -> None:
        _refuse_unavailable(profile_batch, embeddings_freq, embeddings_metadata)
        self.log_dir = _local_folder(log_dir)
        self.histogram_freq = whole_number(histogram_freq, name="histogram_freq", who="TensorBoard")
        self.write_graph = _switch("write_graph", write_graph)
        self.write_images = _switch("write_images", write_images)
        self.write_steps_per_second = _switch("write_steps_per_second", write_steps_per_second)
        self.update_freq = update_freq
        self._batches = _batches(update_freq)
        self._writers: dict[str, EventFileWriter] = {}
        self._batch_began = self._epoch_began = 0.0
        self._epoch_first_step = 0

    def skips_hook(self, hook: str) -> bool:
        if self._run is not None and not self._run.is_main:
            return True
        if getattr(type(self), hook) is not getattr(TensorBoard, hook):
            return False
        by_batch = self._batches is not None
        needed = {
            "on_train_batch_begin": by_batch and self.write_steps_per_second,
            "on_train_batch_end": by_batch,
            "on_epoch_begin": self.write_steps_per_second,
        }
        return not needed.get(hook, True)

    def check_setup(self) -> None:
        if self.run.is_main:
            for part in ("train", "validation"):
                _refuse_unwritable(Path(self.log_dir, part), self.log_dir)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.close()
        self.run.files[self.name or type(self).__name__] = Path(self.log_dir)
        if self._commit not in self.run.commits:
            self.run.commits.append(self._commit)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch_began = self.run.clock.monotonic()
        self._epoch_first_step = self.run.step

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self._batch_began = self.run.clock.monotonic()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        run = self.run
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
        rates = self.trainer.learning_rates()
        if rates:
            metrics["learning_rate"] = rates[0]
        if self.write_steps_per_second:
            seconds = self.run.clock.monotonic() - self._epoch_began
            metrics["steps_per_second"] = _per_second(self.run.step - self._epoch_first_step, seconds)
        validation = {name[4:]: metrics.pop(name) for name in list(metrics) if name.startswith("val_")}
        self._write("train", "epoch_{}", metrics, epoch)
        self._write("validation", "epoch_{}", validation, epoch)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            self._write_weights(epoch)
        self._flush()

    def on_train_end(self, logs: Logs | None = None) -> None:
        self.close()

    def close(self) -> None:
        writers, self._writers = self._writers, {}
        with ExitStack() as stack:
            for writer in writers.values():
                stack.callback(writer.close)

    def _writer(self, part: str) -> EventFileWriter:
        writer = self._writers.get(part)
        if writer is None:
            writer = self._writers[part] = EventFileWriter(Path(self.log_dir, part), clock=self.run.clock)
        return writer

    def _write(self, part: str, tag: str, metrics: Mapping[str, Any], step: int) -> None:
        writer = self._writer(part)
        for name, value in metrics.items():
            number = scalar(value)
            if number is not None:
                writer.scalar(tag.format(name), number, step)

    def _write_weights(self, epoch: int) -> None:
        writer = self._writer("train")
        for path, weight in self.trainer.named_weights():
            name = path.replace(":", "_")
            writer.histogram(f"{name}/histogram", weight, epoch)
            images = _images(weight) if self.write_images else None
            if images is not None:
                writer.image(f"{name}/image", images, epoch)

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


def _refuse_unavailable(profile_batch: Any, embeddings_freq: Any, embeddings_metadata: Any) -> None:
    if profile_batch != 0:
        raise ArgumentError(
            f"TensorBoard: profiling is not available under this loop. Received: profile_batch={profile_batch!r}. "
            "Leave it at 0, and profile with your framework's own profiler."
        )
    if embeddings_freq != 0 or embeddings_metadata is not None:
        raise ArgumentError(
            "TensorBoard: embeddings are not written under this loop. "
            f"Received: embeddings_freq={embeddings_freq!r}, embeddings_metadata={embeddings_metadata!r}. Leave both out."
        )


def _local_folder(log_dir: Any) -> str:
    folder = os.fspath(log_dir) if isinstance(log_dir, (str, os.PathLike)) else None
    if not isinstance(folder, str) or "://" in folder:
        raise ArgumentError(f"TensorBoard: log_dir must be the path of a local folder. Received: log_dir={log_dir!r}.")
    return folder


def _switch(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ArgumentError(f"TensorBoard: {name} must be True or False. Received: {name}={value!r}.")
    return value


def _batches(update_freq: Any) -> int | None:
    """Return every how many batches metrics are written, or ``None`` for never."""
    if isinstance(update_freq, str) and update_freq in ("epoch", "batch"):
        return None if update_freq == "epoch" else 1
    if not isinstance(update_freq, Integral) or isinstance(update_freq, bool) or update_freq <= 0:
        raise ArgumentError(
            "TensorBoard: update_freq must be 'epoch', 'batch' or a positive whole number of batches. "
            f"Received: update_freq={update_freq!r}."
        )
    return int(update_freq)


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
