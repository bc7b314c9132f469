"""CallbackList: who is told, in what order, and what happens when one raises."""

from __future__ import annotations

import importlib
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from jalon.core.callback import Callback, Logs
from jalon.core.costs import costs_in_demand
from jalon.core.hooks import HOOKS, BoundHook, implementation
from jalon.core.logs import BatchLogs
from jalon.core.loop_support import LoopSupport
from jalon.core.run import Run
from jalon.errors import ArgumentError, CallbackDegraded, StateMismatch

BATCH_HOOKS = tuple(name for name, hook in HOOKS.items() if "batch" in hook.arguments)


@dataclass(frozen=True, slots=True)
class _Entry:
    label: str
    callback: Any
    method: BoundHook
    critical: bool


class CallbackList:
    """Tell a list of callbacks what happens in a run.

    Who takes part in which hook is resolved once, by :meth:`begin`. A driver holds the tuple of a batch hook and tests
    it, so that a hook that nobody overrides costs one ``if``.

    Order is by each callback's ``order``, then as listed. An exception in a critical callback goes up, with a note that
    names the callback and the hook; one in an observing callback (``critical = False``) is warned of once, and the
    callback is asked again at the next hook.

    Args:
        callbacks: One callback, or a list that may hold lists.

    Raises:
        ArgumentError: Something in the list is not a callback.
    """

    def __init__(self, callbacks: Any = None) -> None:
        self.callbacks: list[Any] = sorted(_flatten(callbacks), key=lambda callback: getattr(callback, "order", 0))
        self._labels = labels_of(self.callbacks)
        self._entries: dict[str, tuple[_Entry, ...]] = dict.fromkeys(HOOKS, ())
        self.run: Run | None = None
        self.batch_hooks: dict[str, tuple[BoundHook, ...]] = dict.fromkeys(BATCH_HOOKS, ())
        self.plain_logs: dict[str, bool] = dict.fromkeys(BATCH_HOOKS, False)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.callbacks)

    def __len__(self) -> int:
        return len(self.callbacks)

    def __str__(self) -> str:
        """Return who is told in each hook, in order."""
        rows = [(name, ", ".join(entry.label for entry in self._resolve(name))) for name in HOOKS]
        told = [(name, labels) for name, labels in rows if labels]
        closed = ", ".join(self._labels[id(callback)] for callback in reversed(self.callbacks) if hasattr(callback, "close"))
        return "\n".join(f"{name:<24}  {labels}" for name, labels in [*told, ("close", closed or "nobody")])

    def labelled(self) -> dict[str, Any]:
        """Return the callbacks by the name by which each is known: its ``name``, else its class and ordinal in that."""
        return {self._labels[id(callback)]: callback for callback in self.callbacks}

    # ---- a run, from begin to close ----------------------------------------------------------------------------------

    def begin(self, run: Run, model: Any, params: Mapping[str, Any]) -> None:
        """Hand every callback the run, the model and the parameters, and resolve who takes part in which hook."""
        self.run = run
        run.callbacks, run.params = self, params
        for callback in self.callbacks:
            if isinstance(callback, Callback):
                callback.set_run(run)
            callback.set_model(model)
            callback.set_params(dict(params))
        costs = costs_in_demand()
        for name in HOOKS:
            self._entries[name] = tuple(self._resolve(name))
            if costs is not None:
                self._entries[name] = tuple(
                    replace(one, method=costs.timed(name, one.label, one.method)) for one in self._entries[name]
                )
        for name in BATCH_HOOKS:
            entries = self._entries[name] = tuple(map(partial(self._guarded, name), self._entries[name]))
            self.batch_hooks[name] = tuple(entry.method for entry in entries)
            self.plain_logs[name] = any(not getattr(entry.callback, "lazy_logs", False) for entry in entries)

    @contextmanager
    def session(self) -> Iterator[None]:
        """Guarantee that what began is closed, whatever ends it.

        On an exception, Ctrl-C and ``SystemExit`` included, every callback gets ``on_exception``; then, and after a
        normal end, every callback is closed, the last one first. The first exception wins; later ones are notes on it.
        """
        fault: BaseException | None = None
        try:
            yield
        except BaseException as exc:
            fault = exc
            for entry in self._entries["on_exception"]:
                fault = _attempt(entry.label, "on_exception", partial(entry.method, exc), fault)
        for callback in reversed(self.callbacks):
            fault = _attempt(self._labels[id(callback)], "close", partial(self._close, callback), fault)
        if self.run is not None:
            self.run.callbacks = self.run.keeper = None
        if fault is not None:
            try:
                raise fault
            finally:
                del fault

    def validate(self, support: LoopSupport | None = None) -> None:
        """Refuse what cannot work before anything is touched: monitors that nothing reports, files that cannot be written.

        What can have no effect is warned of. A callback that may add metrics at an epoch's end leaves those after it to be
        checked at the first epoch's end.

        Args:
            support: What the loop gives to callbacks, where it does not give all.

        Raises:
            JalonError: What a callback refuses.
        """
        validate(self.callbacks, self._running(), support)

    def state_dict(self, *, without: type | tuple[type, ...] = ()) -> dict[str, Any]:
        """Return the state of every callback that has one, under its key: its ``name``, else its class and ordinal in that.

        Args:
            without: Classes whose state is kept in another way.
        """
        return {key: callback.state_dict() for key, callback in self._stateful(without).items()}

    def load_state_dict(self, state: Mapping[str, Any], *, without: type | tuple[type, ...] = ()) -> None:
        """Give every callback its state back.

        Args:
            state: What ``state_dict`` returned.
            without: As in ``state_dict``.

        Raises:
            StateMismatch: The states do not belong to these callbacks, one to one.
        """
        ours = self._stateful(without)
        if state.keys() != ours.keys():
            missing, extra = sorted(ours.keys() - state.keys()), sorted(state.keys() - ours.keys())
            raise StateMismatch(
                "The saved state belongs to other callbacks. "
                f"Without a saved state: {', '.join(missing) or 'none'}. "
                f"Saved, but not in the list: {', '.join(extra) or 'none'}. "
                "Resume with the callbacks of the first start, or give the changed ones a name of their own."
            )
        for key, callback in ours.items():
            callback.load_state_dict(state[key])

    def _stateful(self, without: type | tuple[type, ...]) -> dict[str, Any]:
        stateful = (callback for callback in self.callbacks if _has_state(callback) and not isinstance(callback, without))
        return {self._labels[id(callback)]: callback for callback in stateful}

    # ---- the hooks ---------------------------------------------------------------------------------------------------

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Tell that training begins."""
        self._tell("on_train_begin", logs)

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Tell that training ended, as planned or by a stop."""
        self._tell("on_train_end", logs)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Tell that an epoch begins."""
        self._tell("on_epoch_begin", epoch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Tell that an epoch ended. What a callback adds to ``logs``, those after it see."""
        self._tell("on_epoch_end", epoch, logs)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Tell that validation or ``evaluate`` begins."""
        self._tell("on_test_begin", logs)

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Tell that validation or ``evaluate`` ended."""
        self._tell("on_test_end", logs)

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Tell that ``predict`` begins."""
        self._tell("on_predict_begin", logs)

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """Tell that ``predict`` ended."""
        self._tell("on_predict_end", logs)

    def tell_batch(self, name: str, batch: int, logs: BatchLogs | Logs) -> None:
        """Tell those who override a batch hook.

        Args:
            name: The hook.
            batch: The batch's number in its epoch, from 0.
            logs: The metrics so far. A lazy view reaches only callbacks that declare to take one; where somebody else
                listens too, it is read once for all.
        """
        if self.plain_logs[name] and isinstance(logs, BatchLogs):
            logs = logs.snapshot()
        run = self._running()
        asked_before = run.stop_requested
        method: BoundHook | None = None
        try:
            for method in self.batch_hooks[name]:
                method(batch, logs)
                if run.stop_requested and not asked_before:
                    run.credit_stop(self._label_of(name, method))
        except BaseException as exc:
            _note(exc, self._label_of(name, method), name)
            raise

    def before_optimizer_step(self, step: int) -> None:
        """Tell that gradients are ready and weights not yet changed."""
        self._tell("on_before_optimizer_step", step)

    def listens(self, name: str) -> bool:
        """Return whether anybody takes part in a hook."""
        return bool(self._entries[name])

    # ---- how -----------------------------------------------------------------------------------------------------------

    def _resolve(self, name: str) -> Iterator[_Entry]:
        for callback in self.callbacks:
            method = implementation(callback, name)
            if method is not None:
                yield _Entry(self._labels[id(callback)], callback, method, getattr(callback, "critical", True))

    def _label_of(self, name: str, method: BoundHook | None) -> str:
        return next((entry.label for entry in self._entries[name] if entry.method is method), "callbacks")

    def _tell(self, name: str, *args: Any) -> None:
        run = self._running()
        run.credit_stop("the training loop")
        if args and args[-1] is None:
            args = (*args[:-1], {})
        for entry in self._entries[name]:
            if entry.critical:
                try:
                    entry.method(*args)
                except BaseException as exc:
                    _note(exc, entry.label, name)
                    raise
            else:
                try:
                    entry.method(*map(_own, args))
                except Exception as exc:
                    self._degrade(entry.label, name, exc)
            run.credit_stop(entry.label)

    def _guarded(self, name: str, entry: _Entry) -> _Entry:
        """Return an observer's entry so that it takes a copy of the logs, and its exceptions end nothing."""
        if entry.critical:
            return entry
        method = entry.method

        def guarded(batch: int, logs: Any) -> None:
            try:
                method(batch, dict(logs) if isinstance(logs, dict) else logs)  # _own, without a call per step
            except Exception as exc:
                self._degrade(entry.label, name, exc)

        return replace(entry, method=guarded)

    def _close(self, callback: Any) -> None:
        close = getattr(callback, "close", None)
        if close is None:
            return
        try:
            close()
        except Exception as exc:
            if getattr(callback, "critical", True) or self.run is None:
                raise
            self._degrade(self._labels[id(callback)], "close", exc)

    def _degrade(self, label: str, hook: str, exc: Exception) -> None:
        run = self._running()
        told = label in run.degraded
        run.degraded[label] = f"{type(exc).__name__}: {exc}"
        if not told:
            remedy = _remedy(exc, run.files.get(label))
            message = (
                f"{label}.{hook} failed: {run.degraded[label]}. {label} only observes: training goes on, and it is asked again."
                f"{remedy}"
            )
            run.record("warning", who=label, text=message)
            warnings.warn(message, CallbackDegraded, stacklevel=3)

    def _running(self) -> Run:
        if self.run is None:
            raise RuntimeError("CallbackList.begin(run, model, params) comes first.")
        return self.run


def validate(callbacks: Sequence[Any], run: Run, support: LoopSupport | None = None) -> None:
    """Look for mistakes, and let callbacks refuse what cannot work, in the order in which they will run."""
    if support is not None:
        support.refuse(callbacks)
    # The rules know every layer below them; by name, since this is the lowest.
    importlib.import_module("jalon.check.begin").look_at(callbacks, run, support)
    metrics_are_known = True
    for callback in callbacks:
        if isinstance(callback, Callback):
            if metrics_are_known:
                for monitor in callback.awaited_metrics():
                    monitor.prepare(run.trainer)
            callback.check_setup()
        if getattr(callback, "adds_metrics", True) and implementation(callback, "on_epoch_end") is not None:
            metrics_are_known = False


def _flatten(callbacks: Any) -> Iterator[Any]:
    if callbacks is None:
        return
    if isinstance(callbacks, (list, tuple, CallbackList)):
        for callback in callbacks:
            yield from _flatten(callback)
        return
    if isinstance(callbacks, type):
        raise ArgumentError(
            f"callbacks: {callbacks.__name__} is a class. Received the class itself; pass an instance, as {callbacks.__name__}()."
        )
    lacking = [name for name in ("set_model", "set_params") if not callable(getattr(callbacks, name, None))]
    if lacking:
        raise ArgumentError(
            f"callbacks: {callbacks!r} is not a callback; it has no {' and no '.join(lacking)}. "
            "Derive its class from jalon.callbacks.Callback, or wrap a function in LambdaCallback(on_epoch_end=...)."
        )
    yield callbacks


def _has_state(callback: Any) -> bool:
    kind = type(callback)
    return getattr(kind, "state_dict", Callback.state_dict) is not Callback.state_dict and hasattr(kind, "load_state_dict")


def labels_of(callbacks: Iterable[Any]) -> dict[int, str]:
    """Return each callback's key by identity: its name, else its class, numbered from the second on."""
    labels: dict[int, str] = {}
    seen: Counter[str] = Counter()
    for callback in callbacks:
        label = getattr(callback, "name", None) or type(callback).__name__
        seen[label] += 1
        labels[id(callback)] = label if seen[label] == 1 else f"{label}#{seen[label]}"
    return labels


def _attempt(label: str, hook: str, action: Callable[[], object], fault: BaseException | None) -> BaseException | None:
    """Do something that must not keep the rest from being done; return the exception that now stands."""
    try:
        action()
    except BaseException as exc:
        if fault is None:
            _note(exc, label, hook)
            return exc
        fault.add_note(f"then {label}.{hook} raised {type(exc).__name__}: {exc}")
    return fault


def _remedy(exc: Exception, written: object) -> str:
    """Return what to do about a file or a folder that could not be written, if it is that."""
    place = written or exc.filename if isinstance(exc, OSError) else None
    return "" if place is None else f" Check that {place} can be written to and has space."


def _own(argument: Any) -> Any:
    return dict(argument) if isinstance(argument, dict) else argument


def _note(exc: BaseException, label: str, hook: str) -> None:
    exc.add_note(f"raised in {label}.{hook}")
