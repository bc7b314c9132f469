"""Rules of the fourth family: how often - data, validation, batches."""

from __future__ import annotations

import dis
from collections.abc import Collection, Iterator
from typing import Any

from jalon.check.reading import cadence_of, reports_in
from jalon.check.rule import Said, rule, said
from jalon.check.setup import Setup
from jalon.core.hooks import implementation

_SAVERS = ("ModelCheckpoint", "OrbaxCheckpoint")


@rule("JAL401", "warning", "Saves that fall between validations")
def saved_between_validations(setup: Setup) -> Iterator[Said]:
    for who, watch in setup.watches:
        every = cadence_of(who).epochs if who in setup.of(*_SAVERS) else None
        if every is None or not watch.name.startswith("val_"):
            continue
        freq = setup.validation_freq
        if isinstance(freq, int) and every % freq and (setup.epochs is None or reports_in(setup, watch.name)):
            yield said(
                who,
                f"{setup.label(who)} saves by {watch.name!r} every {_epochs(every)}, and it is reported every {_epochs(freq)}: "
                "what falls between is not saved.",
                f"Pass save_freq=every(epochs={freq}), or validate as often.",
                save_every=every,
                validation_freq=freq,
            )


@rule("JAL402", "warning", "The metric is first reported after the last epoch")
def never_validated(setup: Setup) -> Iterator[Said]:
    for who, watch in setup.watches:
        if setup.validates is not False and setup.epochs and reports_in(setup, watch.name) == 0:
            yield said(
                who,
                f"{setup.label(who)} monitors {watch.name!r}, which is first reported after epoch "
                f"{_first(setup.validation_freq)} of {setup.epochs}.",
                "Validate more often, as with validation_freq=1.",
                monitor=watch.name,
                validation_freq=setup.validation_freq,
                epochs=setup.epochs,
            )


@rule("JAL403", "warning", "Metrics are read from the device after each batch")
def reads_each_batch(setup: Setup) -> Iterator[Said]:
    for callback in setup.own:
        hook = implementation(callback, "on_train_batch_end")
        if hook is None or getattr(callback, "lazy_logs", False) or not _uses_logs(hook):
            continue
        often = "each batch" if setup.steps is None else f"each of {setup.steps:,} batches an epoch"
        yield said(
            callback,
            f"{setup.label(callback)}.on_train_batch_end takes logs, so that training waits for the device after {often}.",
            "Set lazy_logs = True in the class and read logs every so many batches, or use on_epoch_end.",
            steps=setup.steps,
        )


@rule("JAL404", "warning", "TensorBoard writes after each batch")
def writes_each_batch(setup: Setup) -> Iterator[Said]:
    for board in setup.of("TensorBoard"):
        if board.update_freq in (1, "batch") and (setup.steps is None or setup.steps > 1):
            points = setup.total_steps
            much = "a point for each batch" if points is None else f"{points:,} points for each metric"
            yield said(
                board,
                f"{setup.label(board)}(update_freq={board.update_freq!r}) reads the metrics and writes {much}.",
                "Pass update_freq=100, or 'epoch'.",
                update_freq=board.update_freq,
                points=points,
            )


@rule("JAL405", "warning", "The training ends before anything is saved")
def ends_before_a_save(setup: Setup) -> Iterator[Said]:
    for saver in setup.of(*_SAVERS, "BackupAndRestore"):
        if not saver.save_freq or saver.save_freq == "epoch" or getattr(saver, "every_seconds", None):
            continue
        cadence = cadence_of(saver)
        for unit, every, there in (("epochs", cadence.epochs, setup.epochs), ("batches", cadence.steps, setup.total_steps)):
            if every is not None and there is not None and every > there:
                yield said(
                    saver,
                    f"{setup.label(saver)} saves every {every:,} {unit}, and the training has {there:,}.",
                    f"Save at least every {there:,} {unit}.",
                    every=every,
                    there_are=there,
                )


@rule("JAL406", "warning", "`save_freq` counts batches where epochs seem to be meant")
def batches_for_epochs(setup: Setup) -> Iterator[Said]:
    for saver in setup.of(*_SAVERS):
        every = cadence_of(saver).steps
        if every is None or setup.epochs is None or setup.steps is None or every > setup.epochs:
            continue
        times = setup.steps // every
        if times >= 10:
            yield said(
                saver,
                f"{setup.label(saver)}(save_freq={every}) counts batches and saves {times} times an epoch.",
                f"If epochs are meant, pass save_freq=every(epochs={every}).",
                save_freq=every,
                saves_an_epoch=times,
            )


@rule("JAL407", "warning", "Validation is never reached")
def validation_too_rare(setup: Setup) -> Iterator[Said]:
    freq = setup.validation_freq
    if setup.validates and setup.epochs and isinstance(freq, int) and freq > setup.epochs and not setup.watches:
        yield said(
            "fit",
            f"fit(validation_freq={freq}) validates after epoch {freq}, and the training has {setup.epochs}.",
            "Validate more often, as with validation_freq=1.",
            validation_freq=freq,
            epochs=setup.epochs,
        )


def _uses_logs(hook: Any) -> bool:
    """Return whether a hook reads its logs, as far as its code says."""
    code = getattr(getattr(hook, "__func__", hook), "__code__", None)
    if code is None:
        return True
    names = code.co_varnames[: code.co_argcount]
    return not names or any(name == names[-1] for name in _read(code))


def _read(code: Any) -> set[Any]:
    steps = dis.get_instructions(code)
    return {name for step in steps for name in (step.argval if isinstance(step.argval, tuple) else (step.argval,))}


def _epochs(number: int) -> str:
    return "epoch" if number == 1 else f"{number} epochs"


def _first(freq: int | Collection[int] | None) -> Any:
    return freq if isinstance(freq, int) or not freq else min(freq)
