"""Loop: callbacks in a loop that is written by hand, in any framework."""

from __future__ import annotations

import atexit
import math
import os
import sys
import weakref
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from jalon.callbacks._run_folder import callbacks_of
from jalon.callbacks.backup_and_restore import Resume
from jalon.callbacks.history import History
from jalon.callbacks.progbar_logger import ProgbarLogger
from jalon.core.callback_list import CallbackList
from jalon.core.keras_face import KerasFace
from jalon.core.run import Run
from jalon.engines.loop import hosts
from jalon.engines.loop.adapter import LoopAdapter
from jalon.engines.loop.evaluation import Evaluation, Step
from jalon.engines.loop.leaving import fault_of, send_again
from jalon.engines.loop.place import LoopPlace
from jalon.engines.loop.plain_state import refuse_stateless
from jalon.engines.loop.training import Training, late, no_evaluation
from jalon.errors import ArgumentError, NotReady

Verbose = Literal["auto", 0, 1, 2]

_open: weakref.WeakSet[Training] = weakref.WeakSet()


class Loop:
    """Give callbacks to a loop that is written by hand, in any framework.

    The loop stays yours: the steps, the models, the data. ``for epoch in loop`` reaches the hooks of epochs, ``loop.batches``
    those of batches, ``with loop.validation()`` those of validation, and ``loop.log`` takes what callbacks get as ``logs``. A
    stop ends the epoch in hand: ``batches`` hands out nothing more, validation and ``on_epoch_end`` still run.

    However the loop is left, by its end, ``break``, ``return``, an exception or Ctrl-C, everything is closed. After ``break``
    and ``return`` the epoch in hand ends as by a stop. Written as ``with jalon.Loop(…) as loop:``, ``on_exception`` gets the
    exception itself; without, Python 3.11 shows it to nobody before it is caught, and a :class:`~jalon.errors.LoopLeft` that
    names the place may stand for it.

    Args:
        callbacks: One callback, or a list.
        model: What is trained and saved: a module of PyTorch or Flax NNX, a :class:`jalon.Tree` of arrays, a scikit-learn
            estimator with ``partial_fit``; several modules as a dict by name.
        optimizer: The optimizer, or several in a dict by name; callbacks know and set its learning rate, and it is saved with
            the model.
        epochs: The number of the epoch before which training ends. Defaults to 1.
        state: What else an interrupted training needs: objects with ``state_dict`` and ``load_state_dict``, as a scheduler, and
            generators of random numbers, by name.
        run_dir: The run's folder: the training is backed up there, and goes on from there when the program is started again.
        resume: As in ``jalon.Model.fit``: ``"auto"``, True or False.
        live: As in ``jalon.Model.fit``: whether to start the page that shows the run.
        initial_epoch: The number of the first epoch.
        steps: Training batches in an epoch, for the progress bar, where the data cannot tell.
        verbose: 0 shows nothing, 1 a progress bar, 2 a line per epoch. ``"auto"`` is 1.

    Raises:
        ArgumentError: An argument that cannot be what it is.

    Example:
        >>> weights = [0.0]
        >>> loop = Loop(epochs=2, verbose=0)
        >>> for epoch in loop:
        ...     for x in loop.batches([1.0, 3.0]):
        ...         weights[0] += 0.5 * (x - weights[0])
        ...         loop.log(loss=(x - weights[0]) ** 2)
        >>> loop.history.history
        {'loss': [0.90625, 0.400390625]}

    After a resume: the epoch in hand is gone on with after the batch of the last backup. The body runs from its top; what it had
    done of ``batches`` and ``validation`` is passed over.
    """

    def __init__(
        self,
        callbacks: Any = None,
        *,
        model: Any = None,
        optimizer: Any = None,
        epochs: int = 1,
        state: Mapping[str, Any] | None = None,
        run_dir: str | os.PathLike[str] | None = None,
        resume: Resume = "auto",
        live: bool = False,
        initial_epoch: int = 0,
        steps: int | None = None,
        verbose: Verbose = "auto",
    ) -> None:
        self._callbacks = CallbackList(callbacks)
        if not all(isinstance(number, int) and number >= 0 for number in (epochs, initial_epoch)) or epochs < initial_epoch:
            raise ArgumentError(
                "Loop: epochs and initial_epoch must be whole numbers from 0, and epochs not less than initial_epoch. "
                f"Received: epochs={epochs!r}, initial_epoch={initial_epoch!r}."
            )
        self._host = hosts.host_of(model, optimizer)
        self._named = dict(state or {})
        refuse_stateless(self._named)
        self._epochs, self._initial_epoch, self._steps = epochs, initial_epoch, steps
        self._run_dir, self._resume, self._live = run_dir, resume, live
        self._verbose = 1 if verbose == "auto" else verbose
        self._trained = model
        self._face: KerasFace | None = None
        self._training: Training | None = None
        self._place = LoopPlace(self._named)
        self._is_guarded = False

    def __repr__(self) -> str:
        return f"<jalon.Loop {self._training.run if self._training else 'not begun'}>"

    # ---- the loop --------------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[int]:
        """Return the epochs of a training that begins with the first of them."""
        return self._conducted(self._epochs)

    def steps(self, total: int, *, per_epoch: int) -> Iterator[int]:
        """Yield the numbers of steps in a loop that has no epochs; a number of them counts as one for callbacks.

        Args:
            total: The number of the step before which training ends.
            per_epoch: Steps between two moments at which callbacks see an epoch's end, with the means of what was logged since.

        Raises:
            ArgumentError: Not positive whole numbers.

        Example:
            >>> loop = Loop(verbose=0)
            >>> for step in loop.steps(4, per_epoch=2):
            ...     loop.log(reward=step)
            >>> loop.history.history
            {'reward': [0.5, 2.5]}
        """
        if not all(isinstance(number, int) and number > 0 for number in (total, per_epoch)):
            raise ArgumentError(
                f"Loop.steps: total and per_epoch must be positive whole numbers. Received: {total=}, {per_epoch=}."
            )
        return self._stepped(total, per_epoch)

    def _stepped(self, total: int, per_epoch: int) -> Iterator[int]:
        for epoch in self._conducted(math.ceil(total / per_epoch)):
            yield from self.batches(range(epoch * per_epoch, min((epoch + 1) * per_epoch, total)))

    def _conducted(self, epochs: int) -> Iterator[int]:
        training = self._begin(epochs)
        try:
            yield from training.epochs()
        except GeneratorExit:
            if not self._is_guarded:
                self._left(training, sys._getframe(1))
        except BaseException as exc:
            training.fail(exc)
            raise

    @staticmethod
    def _left(training: Training, frame: Any) -> None:
        fault = training.raised or fault_of(frame)
        if fault is not None:
            training.fail(fault)
            return
        try:
            training.leave()
        finally:
            if training.run.leave_now:
                send_again(training.run.left())

    def __enter__(self) -> Self:
        self._is_guarded = True
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None) -> None:
        self._is_guarded = False
        training = self._training
        if training is None or training.ended:
            return
        if exc is None:
            training.leave()
        else:
            training.fail(exc)

    def batches(self, data: Any, steps: int | None = None) -> Iterator[Any]:
        """Yield batches, with the hooks of batches around each: those of training, or in ``validation`` those of that.

        Every ``Transform`` among the callbacks prepares them. A stop ends them.

        Args:
            data: Yields batches: a ``DataLoader``, a list, a generator, any iterable.
            steps: How many to take, going on where the last call ended and starting over at the data's end. Defaults to all of
                them; endless data needs it.

        Raises:
            NotReady: No epoch is under way.
            ArgumentError: ``data`` cannot be iterated over.
        """
        return self._running("batches").batches(data, steps)

    def log(self, *, batch_size: float | None = None, **values: Any) -> None:
        """Take in values; callbacks see their means over the epoch, or over the validation that is under way.

        Nothing is read from a device before somebody asks.

        Args:
            batch_size: How much they count. Defaults to the rows of the batch in hand, 1 where that cannot be told.
            values: Numbers, or arrays and tensors of one element, of any framework.

        Raises:
            NotReady: No epoch is under way.
            ArgumentError: Something is not a single number.
        """
        self._running("log").log(values, batch_size)

    def validation(self) -> AbstractContextManager[dict[str, float]]:
        """Return a block in which batches and values are those of a validation; epochs report them as ``val_…``.

        Modules of PyTorch are in evaluation there, and without gradients. It yields a dict that holds the means at the end.

        Raises:
            NotReady: No epoch is under way.
        """
        training = self._running("validation")
        return training.validating(self._evaluating())

    def evaluate(self, data: Any, step: Step, *, steps: int | None = None) -> dict[str, float]:
        """Measure on every batch of data, and return the means.

        Within an epoch this is a validation. After training callbacks are told of a test.

        Args:
            data: As in ``batches``.
            step: Takes a batch, and returns its values by name.
            steps: As in ``batches``.
        """
        training = self._training
        if training is None or training.ended:
            run, model = self._new_run(1)
            return Evaluation(CallbackList(self._callbacks), run, model, self._verbose)(data, step, steps, self._evaluating())
        with self.validation() as values:
            for batch in self.batches(data, steps):
                self.log(**(step(batch) or {}))
        return dict(values)

    def stop(self, reason: str) -> None:
        """Ask training to end after this batch; validation and ``on_epoch_end`` still run.

        Args:
            reason: Why, in words. The first reason given is kept.
        """
        self._running("stop").run.stop(reason)

    # ---- where it stands ---------------------------------------------------------------------------------------------------

    @property
    def run(self) -> Run:
        """The training that is under way, or the last one: counters, ``stop_reason``, bests.

        Raises:
            NotReady: None has begun.
        """
        return self._known("run").run

    @property
    def history(self) -> History:
        """The history of the training that is under way, or of the last one.

        Raises:
            NotReady: None has begun.
        """
        return self._known("history").history

    def _known(self, what: str) -> Training:
        if self._training is None:
            raise NotReady(f"Loop.{what}: no training has begun. It begins with `for epoch in loop`.")
        return self._training

    def _running(self, what: str) -> Training:
        if self._training is None or self._training.ended:
            raise NotReady(
                f"Loop.{what}: no epoch is under way. Call it within `for epoch in loop` or `for step in loop.steps(…)`."
            )
        return self._training

    # ---- how ---------------------------------------------------------------------------------------------------------------

    def _begin(self, epochs: int) -> Training:
        if self._training is not None and not self._training.ended:
            raise NotReady("Loop: a training is under way. Leave its `for` before another one begins.")
        run, model = self._new_run(epochs)
        kept = callbacks_of(self._run_dir, resume=self._resume, live=self._live)
        bar = [] if not self._verbose or any(isinstance(one, ProgbarLogger) for one in self._callbacks) else [ProgbarLogger()]
        history = [] if any(isinstance(one, History) for one in self._callbacks) else [History()]
        callbacks = CallbackList([self._callbacks, *bar, *kept, *history])
        params = {"verbose": self._verbose, "epochs": epochs, "steps": self._steps}
        training = self._training = Training(callbacks, run, self._place, model, params)
        _open.add(training)
        return training

    def _new_run(self, epochs: int) -> tuple[Run, KerasFace]:
        self._place = LoopPlace(self._named)
        adapter = LoopAdapter(self._host, self._place)
        run_dir = None if self._run_dir is None else Path(self._run_dir)
        run = Run(adapter, epochs=epochs, initial_epoch=min(self._initial_epoch, epochs), run_dir=run_dir)
        adapter.run = self._place.run = run
        if self._face is None:
            self._face = KerasFace(run, self._trained)
        self._face.run = run
        return run, self._face

    def _evaluating(self) -> AbstractContextManager[Any]:
        evaluating = getattr(self._host, "evaluating", no_evaluation)
        made: AbstractContextManager[Any] = evaluating()
        return made


@atexit.register
def _close_what_is_open() -> None:
    for training in list(_open):
        late(training)
