"""Callback: the base of every callback, with no-op hooks."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from jalon.core.hooks import default
from jalon.core.run import Run, run_of
from jalon.core.trainer import bridge_of
from jalon.errors import UnexpectedArgument

if TYPE_CHECKING:
    from jalon.core.monitor import Monitor
    from jalon.core.trainer import TrainerAdapter

Logs = dict[str, Any]

if TYPE_CHECKING:
    _shadowable = property
else:

    class _shadowable:
        """Is a property that an instance may shadow: callbacks written elsewhere keep a ``run`` or a ``model`` of their own."""

        def __init__(self, get: Callable[[Any], Any]) -> None:
            self._get = get
            self.__doc__ = get.__doc__

        def __get__(self, instance: Any, owner: type) -> Any:
            return self if instance is None else self._get(instance)


class Callback:
    """Do something at given moments of a run.

    Derive from it and override the hooks you need; :mod:`jalon.core.hooks` draws the loop with the hooks at their
    places. A subclass need not call ``super().__init__()``.

    Example:
        >>> class CustomCallback(Callback):
        ...     def on_epoch_end(self, epoch, logs=None):
        ...         print(f"End of epoch {epoch}, loss: {logs['loss']}")

    Attributes:
        params: ``{"verbose", "epochs", "steps"}`` of the running ``fit``.
        model: What the user trains.
        run: The running :class:`~jalon.core.run.Run`: counters, history, ``stop(reason)``.
        name: The key under which the state is saved; by default the class and its ordinal in the list.

    After a resume: what ``state_dict`` returned is given to ``load_state_dict``.
    """

    order: ClassVar[int] = 0
    """Place in the list: callbacks run by ``order``, then as listed."""
    critical: ClassVar[bool] = True
    """Whether an exception raised here ends training. What only observes sets it to False."""
    lazy_logs: ClassVar[bool] = False
    """Whether batch hooks take a view that reads a value from the device only when asked."""
    adds_metrics: ClassVar[bool] = True
    """Whether ``on_epoch_end`` may add keys to ``logs`` that later callbacks monitor."""
    decides_alike: ClassVar[bool] = False
    """Whether, of several processes, each decides the same at the same batch, so that they need not ask one another."""
    optional_hooks: ClassVar[frozenset[str]] = frozenset()
    """The hooks of this class that it can do without, where a loop never reaches them."""
    steerable: ClassVar[Mapping[str, tuple[float, float]]] = {}
    """The attributes, numbers all, that may be set while training goes on, each with its least and its greatest value."""

    params: Mapping[str, Any] = {}
    name: str | None = None
    _model: Any = None
    _bring_up_to_date: Callable[[], Any] | None = None
    _run: Run | None = None

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:  # noqa: ARG004  # the values are __init__'s
        """Refuse an argument that there is not, with the nearest one."""
        if kwargs:
            _refuse_unknown(cls, kwargs)
        return super().__new__(cls)

    @_shadowable
    def model(self) -> Any:
        """What the user trains, with Keras's names (``stop_training``, ``optimizer.learning_rate``, ``save`` …)."""
        if self._bring_up_to_date is not None:
            self._bring_up_to_date()
        return self._model

    @_shadowable
    def run(self) -> Run:
        """The running training, shared by all callbacks of one model."""
        if self._run is None:
            self._run = run_of(self._model)
        return self._run

    @_shadowable
    def trainer(self) -> TrainerAdapter:
        """What a callback may ask of what is being trained, in any framework."""
        return self.run.trainer

    def set_model(self, model: Any) -> None:
        """Take the model about to be trained."""
        if type(model).__name__ == "DistributedDataParallel":
            model = model.module
        self._model = model
        # Keras on JAX keeps the weights elsewhere while an epoch runs; this brings them back to the model.
        self._bring_up_to_date = getattr(model, "jax_state_sync", None)
        bridge = bridge_of(model)
        if bridge is not None:
            bridge.join(self, model)

    def set_params(self, params: Mapping[str, Any]) -> None:
        """Take the parameters of the running ``fit``."""
        self.params = params

    def set_run(self, run: Run | None) -> None:
        """Take the run that a driver of jalon's conducts."""
        self._run = run

    def skips_hook(self, hook: str) -> bool:
        """Return whether this instance has nothing to do in a hook that its class overrides."""
        return False

    def awaited_metrics(self) -> Iterable[Monitor]:
        """Return the metrics that this callback waits for, so that they can be checked before the first step."""
        return ()

    def check_setup(self) -> None:
        """Refuse a setup that cannot work. Called with run and model in place, before anything is opened or written."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain data: JSON values and arrays, which do not change afterwards."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what ``state_dict`` returned. Called after ``on_train_begin``, with ``run.resumed`` set."""

    def growing_files(self) -> Iterable[Path]:
        """Return the files that grow and whose length ``state_dict`` tells: they are on the disk before a backup counts on it."""
        return ()

    def rehearse(self, folder: Path) -> None:
        """Take part in a dry run: write below a folder what you write elsewhere, and at the first occasion.

        Called on a copy, before training begins. A callback that does not override it may write nothing in a dry run.

        Args:
            folder: The folder, of this callback alone and empty.
        """

    def write_growing_files(self) -> None:
        """Write what waits to be written to these files. Called by the thread that writes a backup, before it looks at them."""

    def close(self) -> None:
        """Release what was opened. Runs after success, exception and Ctrl-C; may run twice."""

    @default
    def on_train_begin(self, logs: Logs | None = None) -> None: ...

    @default
    def on_train_end(self, logs: Logs | None = None) -> None: ...

    @default
    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None: ...

    @default
    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None: ...

    @default
    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None: ...

    @default
    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None: ...

    @default
    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self.on_batch_begin(batch, logs)

    @default
    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self.on_batch_end(batch, logs)

    @default
    def on_before_optimizer_step(self, step: int) -> None: ...

    @default
    def on_test_begin(self, logs: Logs | None = None) -> None: ...

    @default
    def on_test_end(self, logs: Logs | None = None) -> None: ...

    @default
    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None: ...

    @default
    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None: ...

    @default
    def on_predict_begin(self, logs: Logs | None = None) -> None: ...

    @default
    def on_predict_end(self, logs: Logs | None = None) -> None: ...

    @default
    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None: ...

    @default
    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None: ...

    @default
    def on_exception(self, exc: BaseException) -> None: ...


def _refuse_unknown(kind: type, given: Iterable[str]) -> None:
    parameters = list(inspect.signature(kind).parameters.values())
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    known = [parameter.name for parameter in parameters if parameter.kind is not parameter.POSITIONAL_ONLY]
    for name in given:
        if name not in known:
            raise UnexpectedArgument(name, known, where=kind.__name__)
