"""A dry run of ``Model.fit``: one batch and one epoch end through everything, of which nothing stays."""

from __future__ import annotations

import copy
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jalon.callbacks.history import History
from jalon.core.callback import Callback
from jalon.core.callback_list import CallbackList
from jalon.core.hooks import HOOKS, implementation
from jalon.core.no_writing import writing_only_in
from jalon.engines.torch.randomness import load_own_state, load_random_state, own_state, random_state
from jalon.errors import ArgumentError

if TYPE_CHECKING:
    from jalon.engines.torch.model import Model


def rehearse(model: Model, callbacks: Any, arguments: Mapping[str, Any]) -> History:
    """Train a copy of a model with copies of callbacks for one batch, and return that training's history.

    Args:
        model: The model; it stays as it is.
        callbacks: The callbacks; they stay as they are.
        arguments: What else ``fit`` was given.

    Raises:
        ArgumentError: The data can be read only once, something cannot be copied, or a callback would write elsewhere.
    """
    data = [arguments["x"], arguments["validation_data"]]
    _refuse_what_is_used_up(data)
    with _random_numbers_put_back(data), tempfile.TemporaryDirectory(prefix="jalon-dry-run-") as name:
        folder = Path(name)
        actor, told = _copied(model, CallbackList(callbacks))
        for number, callback in enumerate(told):
            _move(callback, folder / f"{number}-{type(callback).__name__}", folder)
        validation = arguments["validation_data"] is not None or arguments["validation_split"]
        run_dir = None if arguments["run_dir"] is None else folder / "run"
        changed = {
            "epochs": arguments["initial_epoch"] + 1,
            "steps_per_epoch": 1,
            "validation_steps": 1 if validation else None,
            "validation_freq": 1,
            "run_dir": run_dir,
            "resume": "auto",
        }
        with warnings.catch_warnings():
            # torch finds by a mark on the optimizer whether it steps before its schedule does; a copy has none.
            warnings.filterwarnings("ignore", r"Seems like `optimizer\.step\(\)` has been overridden")
            history: History = actor.fit(callbacks=list(told), **{**arguments, **changed})
        if arguments["verbose"] != 0:
            actor._run.say(_told(folder))
        return history


def _refuse_what_is_used_up(data: list[Any]) -> None:
    for one in data:
        if isinstance(one, Iterator):
            raise ArgumentError(
                f"Model.fit(dry_run=True): a {type(one).__name__} can be read once, and a dry run would use up its first batch. "
                "Pass arrays, a Dataset or a DataLoader, or a generator made for the dry run."
            )


def _copied(model: Model, callbacks: CallbackList) -> tuple[Model, CallbackList]:
    try:
        return copy.deepcopy((model, callbacks))
    except Exception as exc:  # whatever the parts of a user's model raise
        raise ArgumentError(
            f"Model.fit(dry_run=True) copies the model and the callbacks, which failed: {type(exc).__name__}: {exc}. "
            "Give the class that cannot be copied a __deepcopy__, or open what it holds in on_train_begin."
        ) from exc


def _move(callback: Any, own: Path, folder: Path) -> None:
    """Let a callback write in a folder of its own; one that does not say how may write nowhere else."""
    own.mkdir()
    if isinstance(callback, Callback):
        callback.rehearse(own)
    kind = type(callback)
    if kind.__module__.partition(".")[0] == "jalon" or getattr(kind, "rehearse", None) is not Callback.rehearse:
        return
    for hook in HOOKS:
        method = implementation(callback, hook)
        if method is not None:
            setattr(callback, hook, _guarded(method, folder, f"{kind.__name__}.{hook}"))
    callback.close = _guarded(callback.close, folder, f"{kind.__name__}.close")


def _guarded(method: Callable[..., Any], folder: Path, who: str) -> Callable[..., Any]:
    def guarded(*arguments: Any, **named: Any) -> Any:
        with writing_only_in(folder, who=who):
            return method(*arguments, **named)

    return guarded


@contextmanager
def _random_numbers_put_back(data: list[Any]) -> Iterator[None]:
    numbers, own = random_state(), [own_state(one) for one in data]
    try:
        yield
    finally:
        load_random_state(numbers)
        for one, state in zip(data, own, strict=True):
            load_own_state(one, state)


def _told(folder: Path) -> str:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    names = ", ".join(f"{path.relative_to(folder)} ({path.stat().st_size:,} bytes)" for path in files)
    return f"Dry run: one batch and one epoch end went through. Written in a temporary place, gone now: {names or 'nothing'}."
