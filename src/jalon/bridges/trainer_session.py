"""TrainerSession: callbacks in the training of a trainer that keeps checkpoints of its own, from its beginning to its end."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from jalon.callbacks.backup_and_restore import BackupAndRestore
from jalon.callbacks.history import History
from jalon.core.callback import Callback
from jalon.core.callback_list import BATCH_HOOKS, CallbackList
from jalon.core.hooks import implementation
from jalon.core.keras_face import KerasFace
from jalon.core.logs import BatchLogs
from jalon.core.loop_support import LoopSupport
from jalon.core.run import Phase, Run
from jalon.engines.torch.structures import as_plain, from_plain
from jalon.errors import ArgumentError, CheckpointError
from jalon.store import atomic, plain
from jalon.store.writer import WRITER

_WITHIN_EPOCHS = (*(hook for hook in BATCH_HOOKS if "predict" not in hook), "on_before_optimizer_step")
_PARTS = {"id", "run", "callbacks", "history", "trainer", "epoch"}


class TrainerSession:
    """Tells callbacks of one training, evaluation or prediction of a trainer that keeps checkpoints of its own.

    The trainer's checkpoint is the one commit point: ``state`` is what has to stand in it, and what ``begin_training`` takes
    back when the trainer goes on from it.

    Args:
        callbacks: Who is told.
        run: Where the training stands.
        trained: The model.
        params: ``{"verbose", "epochs", "steps"}``.
        loop: What the trainer gives to callbacks.

    Attributes:
        epoch_is_open: Whether an epoch has begun whose end has not been told.
    """

    def __init__(self, callbacks: Iterable[Any], run: Run, trained: Any, params: Mapping[str, Any], *, loop: LoopSupport) -> None:
        self.callbacks = CallbackList(list(callbacks))
        self.run = run
        self.epoch_is_open = False
        self._model, self._params, self._loop = KerasFace(run, trained), params, loop
        self._before_end: bytes | None = None
        self._entered: set[tuple[Path, int]] = set()
        self._stack = ExitStack()

    @property
    def history(self) -> History:
        """The history of the training."""
        return next(callback for callback in self.callbacks if isinstance(callback, History))

    def agrees_on_batches(self) -> bool:
        """Return whether a callback that decides takes part in batches: several processes then agree after each of them.

        One that says of itself that it ``decides_alike`` in all of them needs no agreement.
        """
        critical = [callback for callback in self.callbacks if getattr(callback, "critical", True)]
        decide = [callback for callback in critical if not getattr(callback, "decides_alike", False)]
        return any(implementation(callback, hook) is not None for callback in decide for hook in _WITHIN_EPOCHS)

    # ---- begin and end ---------------------------------------------------------------------------------------------------

    def begin(self, phase: Phase) -> None:
        """Hand out the run, and refuse what cannot work."""
        self.run.phase = phase
        self._stack.enter_context(self.callbacks.session())
        self.callbacks.begin(self.run, self._model, self._params)
        if phase == "train":
            self._refuse_backups()
            self.callbacks.validate(self._loop)

    def begin_training(self, state: bytes | None) -> None:
        """Begin a training, or go on with the one whose state is given.

        Raises:
            CheckpointError: It is no such state.
            StateMismatch: It belongs to other callbacks.
        """
        kept = None if state is None else _decoded(state)
        self.run.resumed = kept is not None
        self.run.id = uuid.uuid4().hex if kept is None else kept["id"]
        self.begin("train")
        self.callbacks.on_train_begin({})
        if kept is not None:
            self._go_on(kept)

    def _go_on(self, kept: Mapping[str, Any]) -> None:
        run, epoch = self.run, kept["epoch"]
        run.epoch = epoch["number"]
        if epoch["is_open"]:
            self.epoch_is_open = True
            self.callbacks.on_epoch_begin(run.epoch, {})
        self.history.begin_with(zip(kept["history"]["epoch"], kept["history"]["rows"], strict=True))
        run.load_state_dict(kept["run"])
        run.batch = epoch["batch"]
        self.callbacks.load_state_dict(from_plain(kept["callbacks"]), without=History)
        run.trainer.load_loop_state(from_plain(kept["trainer"]))
        if epoch["ended"] is not None:
            self.end_epoch(epoch["ended"])
        if run.stop_requested:
            run.trainer.request_stop()

    def end_training(self, logs: Mapping[str, float]) -> None:
        """Tell that the training ended, and close everything."""
        self.callbacks.on_train_end(dict(logs))
        self.close()

    def close(self) -> None:
        """Close everything after a normal end."""
        self.run.phase = "idle"
        self._stack.close()

    def fail(self, exc: BaseException) -> None:
        """Tell every callback of the exception that ends the call, and close it."""
        self.run.phase = "idle"
        self._stack.__exit__(type(exc), exc, exc.__traceback__)

    def _refuse_backups(self) -> None:
        for callback in self.callbacks:
            if isinstance(callback, BackupAndRestore):
                raise ArgumentError(
                    f"callbacks: {type(callback).__name__} cannot put back where {self._loop.loop} stands; its own checkpoint "
                    f"can, and holds the state of these callbacks. {self._loop.lacks['BackupAndRestore']}"
                )

    # ---- epochs and batches ------------------------------------------------------------------------------------------------

    def begin_epoch(self, epoch: int) -> None:
        """Tell that an epoch begins."""
        self.run.epoch, self.run.batch = epoch, 0
        self.epoch_is_open = True
        self.callbacks.on_epoch_begin(epoch, {})

    def end_epoch(self, logs: Mapping[str, float], *, keep_before: bool = False) -> None:
        """Tell that the epoch in hand ended, and commit it.

        Args:
            logs: What it reported.
            keep_before: Whether a checkpoint may be written while callbacks are told: it then holds what was before, and this
                is told again when the training goes on from it.
        """
        self._before_end = self._encoded(ended=dict(logs)) if keep_before else None
        try:
            self.callbacks.on_epoch_end(self.run.epoch, dict(logs))
            self.run.commit()
        finally:
            self._before_end = None
        self.epoch_is_open = False
        self._leave_if_asked()

    def begin_batch(self, batch: int) -> None:
        """Tell that a training batch begins."""
        self.run.batch = batch
        if self.callbacks.batch_hooks["on_train_batch_begin"]:
            self.callbacks.tell_batch("on_train_batch_begin", batch, {})

    def end_batch(self, batch: int, logs: BatchLogs) -> None:
        """Tell that a training batch ended."""
        self.run.batch = batch
        self.run.step += 1
        if self.callbacks.batch_hooks["on_train_batch_end"]:
            self.callbacks.tell_batch("on_train_batch_end", batch, logs)
        self._leave_if_asked()

    def tell_batch(self, hook: str, batch: int, logs: dict[str, Any]) -> None:
        """Tell of a batch that is not trained on."""
        if self.callbacks.batch_hooks[hook]:
            self.callbacks.tell_batch(hook, batch, logs)
        self._leave_if_asked()

    def begin_test(self) -> None:
        """Tell that a validation or an evaluation begins."""
        if self.run.phase == "train":
            self.run.phase = "validation"
        self.callbacks.on_test_begin({})

    def end_test(self, logs: Mapping[str, float]) -> None:
        """Tell that it ended."""
        self.callbacks.on_test_end(dict(logs))
        if self.run.phase == "validation":
            self.run.phase = "train"

    def _leave_if_asked(self) -> None:
        if self.run.leave_now:
            raise self.run.left()

    # ---- what stands in the trainer's checkpoint ---------------------------------------------------------------------------

    def state(self) -> bytes:
        """Return all that going on needs beside the trainer's own, once everything that it counts on is on the disk."""
        return self._encoded(ended=None) if self._before_end is None else self._before_end

    def _encoded(self, *, ended: Mapping[str, float] | None) -> bytes:
        run = self.run
        for outcome in WRITER.pending():
            outcome.exception()  # whoever saved it draws the consequences
        state = {
            "id": run.id,
            "run": run.state_dict(),
            "callbacks": as_plain(self.callbacks.state_dict(without=History)),
            "history": self.history.state_dict(),
            "trainer": as_plain(run.trainer.loop_state()),
            "epoch": {"number": run.epoch, "batch": run.batch, "is_open": self.epoch_is_open, "ended": ended},
        }
        for callback in self.callbacks:
            if isinstance(callback, Callback):
                callback.write_growing_files()
                for path in callback.growing_files():
                    with suppress(FileNotFoundError):
                        self._sync(path)
        return plain.encode(state)

    def _sync(self, path: Path) -> None:
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            entry = (path, os.fstat(file.fileno()).st_ino)
        if entry not in self._entered:
            atomic.sync_folder(path.parent)
            self._entered.add(entry)


def _decoded(state: bytes) -> dict[str, Any]:
    kept = plain.decode(state)
    if not isinstance(kept, dict) or not kept.keys() >= _PARTS:
        raise CheckpointError("The checkpoint holds something else than the state of these callbacks.")
    return kept
