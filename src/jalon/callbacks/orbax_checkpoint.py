"""OrbaxCheckpoint: save the model in Orbax's format as training goes on."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jalon._optional import require
from jalon.callbacks._saving import kept_number, refuse_late_metrics, save_cadence, shown
from jalon.callbacks.monitor_callback import MonitorCallback
from jalon.core.cadence import Cadence, Ticker
from jalon.core.callback import Logs
from jalon.core.logs import scalar
from jalon.core.monitor import Mode, Monitor
from jalon.core.run import Best
from jalon.core.trainer import TrainerAdapter
from jalon.errors import ArgumentError, MissingMetric, SaveFailed
from jalon.store.atomic import refuse_unwritable


class OrbaxCheckpoint(MonitorCallback):
    """Save the model in Orbax's format as training goes on: each time, or only when a metric has improved.

    Each save is a folder in ``directory`` whose name is its number: the epoch, from 0, or the training batches done so far
    where batches are counted. Where the folder holds that number or a higher one already, as in a second training,
    numbers go on from there, so that the newest save always has the highest. Training waits while the model is copied;
    Orbax writes the copy in the background. The next save, the end of training and an exception wait for it.

    ``keras.saving.load_model(directory)`` and ``model.load_weights(directory)`` read what was saved of a Keras model,
    ``load`` and ``load_weights`` of ``jalon.Model`` what was saved of one; they take the newest save.

    A value improves where it beats the best so far; NaN never does, and an epoch that does not report the metric, as one
    without validation, saves nothing that depends on it. A save that fails, as on a full disk, leaves the earlier saves and
    the best value as they were; a warning says so, and training goes on.

    Args:
        directory: The folder that holds the saves. Made where it is missing.
        monitor: The metric to compare, with ``save_best_only``. Defaults to ``"val_loss"``.
        verbose: 1 to be told of each decision. Defaults to 0.
        save_best_only: Save only what improves on the best so far. Defaults to False.
        mode: ``"min"`` where less is better, ``"max"`` where more is, ``"auto"`` to take it from the metric. Defaults to
            ``"auto"``.
        save_freq: ``"epoch"``, a number of training batches, counted across epochs, or ``every(epochs=…)``,
            ``every(steps=…)``, ``every(seconds=…)``. Defaults to ``"epoch"``.
        initial_value_threshold: The value to beat from the start, with ``save_best_only``. Defaults to none.
        max_to_keep: How many of the newest saves in the folder to keep; ``None`` keeps all. Defaults to 1.
        save_on_background: Whether training goes on while a save is written. Defaults to True.
        save_weights_only: Leave out what only going on needs, as the optimizer's state. Defaults to False.

    Raises:
        MissingPackage: ``orbax-checkpoint`` is not installed.
        ArgumentError: An argument cannot be what it is.
        CheckpointError: Nothing can be written in ``directory``; when training begins.
        MissingMetric: Nothing reports ``monitor``, with ``save_best_only``; as early as that can be known.
        NotReady: The loop has nothing to give to Orbax; when training begins.

    Example:
        >>> import tempfile
        >>> import torch
        >>> from jalon import Model
        >>> folder = tempfile.mkdtemp()
        >>> x, y = torch.randn(32, 4), torch.randn(32, 1)
        >>> model = Model(torch.nn.Linear(4, 1)).compile("adam", loss="mse")
        >>> history = model.fit(x, y, epochs=3, verbose=0, callbacks=OrbaxCheckpoint(folder, max_to_keep=2))
        >>> sorted(os.listdir(folder))
        ['1', '2']
        >>> model.load(folder)

    A second training of the same model goes on from the best so far; a training of another model starts afresh.

    After a resume: the best value and what was counted are those from before.

    Source: Keras's class of this name.
    """

    adds_metrics = False
    lazy_logs = True

    def __init__(
        self,
        directory: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        mode: Mode = "auto",
        save_freq: str | int | Cadence = "epoch",
        initial_value_threshold: float | None = None,
        max_to_keep: int | None = 1,
        save_on_background: bool = True,
        save_weights_only: bool = False,
    ) -> None:
        who = type(self).__name__
        super().__init__(monitor, mode, baseline=initial_value_threshold)
        self._orbax = require("orbax.checkpoint", extra="orbax", who=who)
        if not isinstance(directory, (str, os.PathLike)) or not os.fspath(directory):
            raise ArgumentError(f"{who}: directory must be the path of a folder. Received: {directory!r}.")
        self.directory = directory
        self._folder = Path(directory).absolute()
        self.verbose = verbose
        self.save_best_only = save_best_only
        self.save_freq = save_freq
        self.initial_value_threshold = scalar(initial_value_threshold)
        self.max_to_keep = kept_number(max_to_keep, "max_to_keep", who)
        self.save_on_background = save_on_background
        self.save_weights_only = save_weights_only
        self._ticker = Ticker(save_cadence(save_freq, who))
        if save_best_only and self._ticker.cadence.by_batch:
            refuse_late_metrics([monitor], save_freq, who)
        self._reached: Best | None = None
        self._trained: Any = None
        self._total_batches_seen = 0
        self._checkpointer: Any = None
        self._pending: _Pending | None = None
        self._troubled = False

    @property
    def best(self) -> float | None:
        """The best value so far that is saved."""
        self._settle()
        return self._monitor.best

    @best.setter
    def best(self, value: float | None) -> None:
        self._monitor.best = value

    def rehearse(self, folder: Path) -> None:
        self.directory, self._folder = folder, folder
        self._ticker = Ticker(Cadence(steps=1) if self._ticker.cadence.by_batch else Cadence(epochs=1))

    @property
    def checkpointer(self) -> Any:
        """Orbax's ``Checkpointer`` on the folder; opened where it is not open."""
        if self._checkpointer is None:
            training = self._orbax.v1.training
            self._checkpointer = training.Checkpointer(
                self._folder,
                preservation_policy=training.preservation_policies.LatestN(self.max_to_keep),
                cleanup_tmp_directories=True,  # what a save that was killed has left
            )
        return self._checkpointer

    def is_multihost_enabled(self) -> bool:
        """Return whether several processes that JAX joins save one model together."""
        return bool(self._orbax.multihost.is_jax_distributed_client_initialized())

    def is_primary_host(self) -> bool:
        """Return whether this process is the first of those that save together, or the only one."""
        return not self.is_multihost_enabled() or bool(self._orbax.multihost.is_primary_host(primary_host=0))

    def wait_until_finished(self) -> None:
        """Wait until what was saved is on the disk, in every process that takes part."""
        self._settle()
        if self.is_multihost_enabled():
            self._orbax.multihost.sync_global_processes("jalon:OrbaxCheckpoint")

    def skips_hook(self, hook: str) -> bool:
        """Return whether a hook is not needed at this cadence."""
        unused = "on_epoch_end" if self._ticker.cadence.by_batch else "on_train_batch_end"
        return hook == unused and getattr(type(self), hook) is getattr(OrbaxCheckpoint, hook)

    def awaited_metrics(self) -> Iterable[Monitor]:
        """Return the metric, where it is compared."""
        return super().awaited_metrics() if self.save_best_only else ()

    def check_setup(self) -> None:
        """Refuse a loop that cannot be saved so, and a place where nothing can be written."""
        if type(self.trainer).checkpointables is TrainerAdapter.checkpointables:
            self.trainer.checkpointables(weights_only=self.save_weights_only)
        if self.run.is_main:
            refuse_unwritable(self._folder / "checkpoint", type(self).__name__)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Start afresh with another model; with the same one, go on."""
        if self._trained is not None and self._trained is not self.model:
            self._monitor.best = self.initial_value_threshold
            self._reached = None
            self._ticker = Ticker(self._ticker.cadence)
        self._trained = self.model
        self._monitor.restart(self._monitor.best)
        self._ticker.begin_training(now=self.run.clock.monotonic())
        self._total_batches_seen = self.trainer.iterations

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Count batches from the epoch's first on."""
        self._ticker.begin_epoch(epoch)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Save if enough batches have passed, or enough time. One call may stand for several batches."""
        steps = self._ticker.steps_up_to(batch)
        self._total_batches_seen += steps
        if not self._ticker.after_steps(steps, now=self.run.clock.monotonic()):
            return
        told = dict(logs or {})
        if self.save_best_only and self.monitor not in told:
            raise MissingMetric(type(self).__name__, self.monitor, told, when=f"batch {batch + 1}")
        self._consider(self._total_batches_seen, told)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Save if enough epochs have passed."""
        if self._ticker.after_epoch(now=self.run.clock.monotonic()):
            self._consider(epoch, dict(logs or {}))

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Wait until the last save is on the disk, and let Orbax go until the next training."""
        self.wait_until_finished()
        self.close()

    def close(self) -> None:
        """Wait until what was saved is on the disk, and let Orbax go."""
        try:
            self._settle()
        finally:
            checkpointer, self._checkpointer = self._checkpointer, None
            if checkpointer is not None:
                checkpointer.close()

    def state_dict(self) -> dict[str, Any]:
        """Return the best value and what was counted."""
        self._settle()
        return {
            "best": self._monitor.best,
            "best_epoch": self._reached and self._reached.epoch,
            "best_path": self._reached and str(self._reached.path),
            "total_batches": self._total_batches_seen,
            "counted": self._ticker.state_dict(now=self.run.clock.monotonic()),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what ``state_dict`` returned."""
        self._monitor.best = state["best"]
        if state["best_path"] is not None:
            self._record(Best(self.monitor, state["best"], state["best_epoch"], Path(state["best_path"])))
        self._total_batches_seen = state["total_batches"]
        self._ticker.load_state_dict(state["counted"], now=self.run.clock.monotonic())

    # ---- one save ----------------------------------------------------------------------------------------------------

    def _consider(self, number: int, logs: Logs) -> None:
        self._settle()
        if self.save_best_only:
            value = self._monitor.read(logs, self.trainer, epoch=self._at_epoch)
            if value is None:
                return
            if not self._monitor.improves(value, self._monitor.best):
                self._say(f"{self.monitor} did not improve from {shown(self._monitor.best)}")
                return
            self._say(f"{self.monitor} improved from {shown(self._monitor.best)} to {value:.5f}")
        self._save_checkpoint(number, logs)

    def _save_checkpoint(self, step: int, logs: Logs | None = None) -> None:
        """Save under a number, or under the next one that is higher than those in the folder."""
        value = scalar((logs or {}).get(self.monitor))
        if not self.run.is_main and not self.is_multihost_enabled():
            self._keep(_Pending(self._folder / str(step), self._at_epoch, value))
            return
        content = self.trainer.checkpointables(weights_only=self.save_weights_only)
        save = self._pending = _Pending(self._folder, self._at_epoch, value)
        with self._surviving(save):
            latest = self.checkpointer.latest
            step = step if latest is None else max(step, latest.step + 1)
            save.path = self._folder / str(step)
            self._say(f"saving model to {save.path}")
            about = {"epoch": save.epoch, "monitor": self.monitor, "value": None if value is None else str(value)}
            save.response = self.checkpointer.save_checkpointables_async(step, content, force=True, custom_metadata=about)
        if not self.save_on_background:
            self._settle()

    def _settle(self) -> None:
        """Wait for what is being written, and draw the consequences."""
        save = self._pending
        if save is None:
            return
        with self._surviving(save):
            save.response.result()
            self._pending = None
            self._troubled = False
            self._say(f"finished saving model to {save.path}", epoch=save.epoch)
            self._keep(save)

    @contextmanager
    def _surviving(self, save: _Pending) -> Iterator[None]:
        """Warn in place of an error of the system's, once until a save succeeds."""
        try:
            yield
        except Exception as exc:
            self._pending = None
            self._start_anew(save)
            failure = _system_error(exc)
            if failure is None:
                raise
            if not self._troubled:
                self._troubled = True
                message = (
                    f"{type(self).__name__}: the model of epoch {save.epoch + 1} was not saved to {save.path}: "
                    f"{failure.strerror or failure}. What was saved before is intact, and training goes on. "
                    "Check that the folder is there, can be written to and has space, as by a lower max_to_keep."
                )
                self.run.record("warning", who=type(self).__name__, text=message)
                warnings.warn(message, SaveFailed, stacklevel=2)

    def _start_anew(self, save: _Pending) -> None:
        """Let Orbax look at the folder afresh: after a failed save it no longer knows what is there."""
        checkpointer, self._checkpointer = self._checkpointer, None
        # Where the save did not even begin, a thread of Orbax's may still make its folder. To close would cut it off, and
        # the process would wait for it at its end.
        if checkpointer is not None and save.response is not None:
            with suppress(Exception):
                checkpointer.wait()  # it raises the error of a save a second time
            checkpointer.close()

    def _keep(self, save: _Pending) -> None:
        self.run.files[self.name or type(self).__name__] = save.path
        if self.save_best_only and save.value is not None:
            self._monitor.best = save.value
            self._record(Best(self.monitor, save.value, save.epoch, save.path))

    def _record(self, best: Best) -> None:
        self._reached = self.run.bests[self.monitor] = best

    @property
    def _at_epoch(self) -> int:
        return self.run.epoch if self._ticker.epoch is None else self._ticker.epoch

    def _say(self, message: str, *, epoch: int | None = None) -> None:
        if self.verbose > 0:
            self.run.say(f"Epoch {(self._at_epoch if epoch is None else epoch) + 1}: {message}")


@dataclass(slots=True)
class _Pending:
    """Is a save under way."""

    path: Path
    epoch: int
    value: float | None
    response: Any = None


def _system_error(exc: Exception) -> OSError | None:
    """Return the system's refusal, if that is why a save failed. Orbax's writer reports one as a ``ValueError``."""
    if isinstance(exc, OSError):
        return exc
    code = re.search(r"os_error_code='(\d+)'", str(exc))
    return OSError(int(code[1]), os.strerror(int(code[1]))) if code else None
