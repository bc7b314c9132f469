"""check_callback: what every callback owes, as a suite for authors."""

from __future__ import annotations

import contextlib
import difflib
import inspect
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jalon.callbacks.backup_and_restore import BackupAndRestore
from jalon.core.callback import Callback
from jalon.core.hooks import HOOKS, is_default
from jalon.core.run import Run
from jalon.errors import UnknownName
from jalon.store.plain import decode, encode
from jalon.testing.crash import Crash, CrashPoint
from jalon.testing.scripted_run import play
from jalon.testing.trainer import FakeTrainer

Logs = Mapping[str, Any]

SCRIPT: tuple[Logs, ...] = tuple(
    {"loss": loss, "accuracy": 1 - loss / 4, "val_loss": loss + 0.25, "val_accuracy": 1 - loss / 3}
    for loss in (2.0, 1.5, 1.75, 1.25, 1.5, 1.5, 1.0)
)
"""What the epochs of a contract's trainings report: the metrics get better, and worse, and better."""

BATCHES = 2
CRASHES = (("on_epoch_begin", 1, 0), ("on_train_batch_end", 2, 0), ("on_epoch_end", 3, 0), ("on_test_begin", 4, 0))
_ALIASES = {hook.alias for hook in HOOKS.values() if hook.alias}


class BrokenContract(AssertionError):
    """Says what of the contract a callback does not keep.

    Args:
        who: The callback's class.
        faults: What is wrong, by clause.

    Attributes:
        faults: What is wrong, by clause.
    """

    def __init__(self, who: str, faults: Mapping[str, str]) -> None:
        self.faults = dict(faults)
        super().__init__(f"{who} breaks the contract:" + "".join(f"\n  {name}: {fault}" for name, fault in faults.items()))


@dataclass(frozen=True)
class Subject:
    """Is a callback under test.

    Args:
        make: Returns a new callback, with the same arguments each time.
        epochs: What each epoch of a training reports.
        trainer: Returns what is trained.
    """

    make: Callable[[], Callback]
    epochs: tuple[Logs, ...]
    trainer: Callable[[], FakeTrainer]

    def train(self, callbacks: Any) -> tuple[Run, FakeTrainer]:
        """Train with callbacks; return the run, and what was trained."""
        trainer = self.trainer()
        return play(callbacks, self.epochs, batches=BATCHES, trainer=trainer, verbose=0), trainer

    def outcome(self, callbacks: Any) -> dict[str, Any]:
        """Train with callbacks; return what came of it."""
        run, trainer = self.train(callbacks)
        return {
            "history": run.history,
            "stop": run.stop_reason,
            "rates": trainer.learning_rates(),
            "weights": {name: value.tolist() for name, value in trainer.weights.items()},
        }


def check_callback(
    callback: type[Callback] | Callable[[], Callback],
    *,
    epochs: Iterable[Logs] = SCRIPT,
    trainer: Callable[[], FakeTrainer] | None = None,
    without: Collection[str] = (),
) -> None:
    """Check that a callback keeps the contract.

    It is taken through short trainings by script, in an empty folder that is the current one meanwhile: once as it is, twice
    with the same object, broken off at several points and gone on with, beside a callback that raises.

    Args:
        callback: The class, where it needs no arguments, or a function that returns a new object each time. Its paths are
            best relative ones.
        epochs: What each epoch of these trainings reports.
        trainer: Returns what is trained; by default a :class:`FakeTrainer` that reports the metrics of ``epochs``.
        without: Clauses to leave out, by name; ``CLAUSES`` has them all.

    Raises:
        BrokenContract: It names each clause that is broken, and how.
        UnknownName: ``without`` names no clause.

    Example:
        >>> from jalon.callbacks import EarlyStopping
        >>> check_callback(lambda: EarlyStopping("val_loss", patience=2))
        >>> class Counts(Callback):
        ...     epochs = 0
        ...     def on_epoch_end(self, epoch, logs=None):
        ...         self.epochs += 1
        ...         if self.epochs == 5:
        ...             self.run.stop("five epochs")
        >>> check_callback(Counts)
        Traceback (most recent call last):
            ...
        jalon.testing.contract.BrokenContract: Counts breaks the contract:
          serves two trainings: in a second training, history differs from that of a new object
          goes on after a crash: broken off in on_train_batch_end of epoch 2, batch 0, history differs in the end
    """
    script = tuple(epochs)
    for name in without:
        if name not in CLAUSES:
            raise UnknownName("clause", name, CLAUSES, where="check_callback")
    subject = Subject(callback, script, trainer or (lambda: _trainer(script)))
    faults = {name: fault for name in CLAUSES if name not in without and (fault := fault_of(name, subject)) is not None}
    if faults:
        raise BrokenContract(type(callback()).__name__, faults)


def fault_of(clause: str, subject: Subject) -> str | None:
    """Return how a callback breaks a clause, or ``None`` where it keeps it.

    Args:
        clause: The clause's name.
        subject: The callback.
    """
    with tempfile.TemporaryDirectory(prefix="jalon-contract-") as folder, contextlib.chdir(folder):
        try:
            CLAUSES[clause](subject)
        except _Broken as broken:
            return str(broken)
        except Exception as exc:  # noqa: BLE001  # whatever it raises, it breaks the clause
            return f"{type(exc).__name__}: {exc}"
    return None


class _Broken(Exception):
    """Says how a clause is broken."""


def _require(kept: object, fault: str) -> None:
    if not kept:
        raise _Broken(fault)


# ---- the clauses ---------------------------------------------------------------------------------------------------------


def _hooks(subject: Subject) -> None:
    """Its hooks have names that are reached, take what they are given, and can do without logs."""
    kind = type(subject.make())
    known = [*HOOKS, *_ALIASES]
    for name in (name for name in dir(kind) if name.startswith("on_") and name not in known):
        near = difflib.get_close_matches(name, known, n=1)
        raise _Broken(f"there is no hook {name}" + (f"; {near[0]} is meant" if near else ""))
    for name, hook in HOOKS.items():
        method = getattr(kind, name)
        if is_default(method) or not inspect.isfunction(method):
            continue
        signature = inspect.signature(method)
        for given in (hook.arguments, [argument for argument in hook.arguments if argument != "logs"]):
            try:
                signature.bind(None, *given)
            except TypeError as exc:
                raise _Broken(f"{name} is called with ({', '.join(given)}): {exc}") from None


def _trains(subject: Subject) -> None:
    """A training with it goes to its end."""
    subject.train(subject.make())


def _closes(subject: Subject) -> None:
    """It can be closed twice, and before a training."""
    callback = subject.make()
    callback.close()
    subject.train(callback)
    callback.close()
    callback.close()


def _two_fits(subject: Subject) -> None:
    """One object serves two trainings, the second as if it were new."""
    with _folder("first"):
        callback = subject.make()
        subject.train(callback)
        fresh = subject.outcome([subject.make()])
    again = subject.outcome([callback])
    _same(again, fresh, "in a second training, {0} differs from that of a new object")


def _plain_state(subject: Subject) -> None:
    """Its state is plain data, which does not change afterwards, and which a new object takes back."""
    callback = subject.make()
    states: list[tuple[dict[str, Any], bytes]] = []

    class Looks(Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            state = callback.state_dict()
            states.append((state, encode(state)))

    subject.train([callback, Looks()])
    for state, then in states:
        _require(encode(state) == then, "what state_dict returned has changed afterwards: return a copy")
    final = callback.state_dict()
    _require(isinstance(decode(encode(final)), dict), "state_dict returns no dict")


def _after_crash(subject: Subject) -> None:
    """Broken off anywhere and gone on with, a training ends as if nothing had happened."""
    with _folder("unbroken"):
        whole = subject.outcome([subject.make()])
    for number, (hook, epoch, batch) in enumerate(CRASHES):
        with _folder(f"broken-{number}"):
            crash = CrashPoint(hook, epoch=epoch, batch=batch)
            try:
                subject.train([subject.make(), crash, _backup()])
            except Crash:
                gone_on = subject.outcome([subject.make(), _backup()])
                at = f", batch {batch}" if "batch" in HOOKS[hook].arguments else ""
                _same(gone_on, whole, f"broken off in {hook} of epoch {epoch}{at}, {{0}} differs in the end")


def _observes(subject: Subject) -> None:
    """One that only observes (``critical = False``) changes nothing of the training."""
    callback = subject.make()
    if not callback.critical:
        with _folder("alone"):
            alone = subject.outcome([])
        _same(subject.outcome([callback]), alone, "critical is False, and with it {0} differs")


def _neighbour(subject: Subject) -> None:
    """An exception in another callback goes out as it is, and this one is closed and can be used again."""
    callback = subject.make()
    try:
        subject.train([callback, CrashPoint("on_epoch_end", epoch=1)])
    except Crash as exc:
        notes = [note for note in getattr(exc, "__notes__", ()) if note.startswith("then ")]
        _require(not notes, f"after another's exception, {' '.join(notes).removeprefix('then ')}")
    with _folder("again"):
        subject.train(callback)


def _names_metrics(subject: Subject) -> None:
    """What it waits for is known before the first step."""
    callback = subject.make()
    for monitor in callback.awaited_metrics():
        _require(isinstance(monitor.name, str), f"awaited_metrics names {monitor!r}")


CLAUSES: dict[str, Callable[[Subject], None]] = {
    "has hooks that are reached": _hooks,
    "trains": _trains,
    "closes": _closes,
    "serves two trainings": _two_fits,
    "keeps plain state": _plain_state,
    "goes on after a crash": _after_crash,
    "changes nothing as an observer": _observes,
    "survives its neighbours": _neighbour,
    "names its metrics": _names_metrics,
}
"""The clauses of the contract, by name."""


@contextlib.contextmanager
def _folder(name: str) -> Iterator[None]:
    """Let the block be in a folder of its own, so that trainings do not find each other's files."""
    Path(name).mkdir()
    with contextlib.chdir(name):
        yield


def _backup() -> BackupAndRestore:
    backup = BackupAndRestore("contract-backup", save_freq=1, background=False)
    backup.name = "contract-backup"
    return backup


def _trainer(script: Iterable[Logs]) -> FakeTrainer:
    names = dict.fromkeys(name for logs in script for name in logs)
    return FakeTrainer(metrics={name: "max" if "acc" in name else None for name in names})


def _same(found: Mapping[str, Any], expected: Mapping[str, Any], fault: str) -> None:
    for name, value in expected.items():
        if name == "history":
            _require(_equal_histories(found[name], value), fault.format(name))
        else:
            _require(found[name] == value, fault.format(name))


def _equal_histories(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(np.asarray(one[name], dtype=float), np.asarray(other[name], dtype=float), equal_nan=True) for name in one
    )
