"""Rules of the second family: patience and the learning rate."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np

from jalon.check.reading import reports_in, takes_rate
from jalon.check.rule import Said, rule, said
from jalon.check.setup import Setup


@rule("JAL201", "warning", "The rate can never be reduced: it starts at `min_lr`", begins=True)
def starts_at_the_floor(setup: Setup) -> Iterator[Said]:
    for plateau in setup.of("ReduceLROnPlateau"):
        start = max(setup.learning_rates, default=0.0)
        # Frameworks hold rates in single precision.
        if start > 0 and not np.float32(start) > np.float32(plateau.min_lr):
            yield said(
                plateau,
                f"{setup.label(plateau)}(min_lr={plateau.min_lr:g}) can never reduce the learning rate: it starts at {start:g}.",
                f"Pass a min_lr below it, as min_lr={start / 100:g}.",
                min_lr=plateau.min_lr,
                learning_rate=start,
            )


@rule("JAL202", "warning", "Patience that is longer than the training")
def too_patient_to_stop(setup: Setup) -> Iterator[Said]:
    for stopper in setup.of("EarlyStopping"):
        start = getattr(stopper, "start_from_epoch", 0)
        if setup.epochs is not None and start < setup.epochs <= start + max(stopper.patience, 1) + 1:
            yield said(
                stopper,
                f"{setup.label(stopper)}(patience={stopper.patience}) cannot end a training of {setup.epochs} epochs early.",
                f"Pass a patience well below {setup.epochs - start}, or more epochs.",
                patience=stopper.patience,
                epochs=setup.epochs,
            )


@rule("JAL203", "warning", "Patience for the rate that is longer than the training")
def too_patient_to_reduce(setup: Setup) -> Iterator[Said]:
    for plateau in setup.of("ReduceLROnPlateau"):
        if setup.epochs is not None and setup.epochs <= plateau.patience + 1:
            yield said(
                plateau,
                f"{setup.label(plateau)}(patience={plateau.patience}) cannot reduce the rate within {setup.epochs} epochs.",
                f"Pass a patience well below {setup.epochs}, or more epochs.",
                patience=plateau.patience,
                epochs=setup.epochs,
            )


@rule("JAL204", "warning", "The training is stopped before the rate is reduced")
def stopped_before_reduced(setup: Setup) -> Iterator[Said]:
    for plateau in setup.of("ReduceLROnPlateau"):
        for stopper in setup.of("EarlyStopping"):
            if stopper.monitor == plateau.monitor and stopper.patience <= plateau.patience and stopper.patience > 0:
                yield said(
                    plateau,
                    f"{setup.label(plateau)} waits {plateau.patience} epochs for {plateau.monitor!r}, and {setup.label(stopper)} "
                    f"ends the training after {stopper.patience}.",
                    f"Let the rate have less patience, as patience={max(stopper.patience // 2, 1)}, or the stop have more.",
                    patience=plateau.patience,
                    stopping_patience=stopper.patience,
                )


@rule("JAL205", "warning", "The first epoch that is looked at comes after the last one")
def begins_to_look_too_late(setup: Setup) -> Iterator[Said]:
    for stopper in setup.of("EarlyStopping"):
        start = getattr(stopper, "start_from_epoch", 0)
        if setup.epochs is not None and start >= setup.epochs:
            yield said(
                stopper,
                f"{setup.label(stopper)}(start_from_epoch={start}) never looks: the training has {setup.epochs} epochs.",
                "Pass a smaller start_from_epoch, or more epochs.",
                start_from_epoch=start,
                epochs=setup.epochs,
            )


@rule("JAL206", "warning", "A cooldown that is longer than the patience")
def cools_down_too_long(setup: Setup) -> Iterator[Said]:
    for plateau in setup.of("ReduceLROnPlateau"):
        if plateau.cooldown > plateau.patience:
            yield said(
                plateau,
                f"{setup.label(plateau)} counts no epoch for {plateau.cooldown} after a reduction, longer than the "
                f"{plateau.patience} that it waits for.",
                f"Pass a cooldown of {plateau.patience} or less.",
                cooldown=plateau.cooldown,
                patience=plateau.patience,
            )


@rule("JAL207", "warning", "A schedule sets the rate anew after each reduction")
def undone_by_a_schedule(setup: Setup) -> Iterator[Said]:
    schedules = [one for one in setup.of("LearningRateScheduler") if not takes_rate(one.schedule)]
    for plateau in setup.of("ReduceLROnPlateau") if schedules else []:
        yield said(
            plateau,
            f"{setup.label(plateau)} reduces a rate that {setup.label(schedules[0])} sets anew at each epoch's begin.",
            "Leave one of them out, or give the schedule the rate as its second argument.",
        )


@rule("JAL208", "warning", "Two callbacks of one kind change the rate", begins=True)
def changed_twice(setup: Setup) -> Iterator[Said]:
    for kind in ("ReduceLROnPlateau", "LearningRateScheduler"):
        by_monitor: dict[Any, list[Any]] = defaultdict(list)
        for one in setup.of(kind):
            by_monitor[getattr(one, "monitor", None)].append(one)
        for first, *others in by_monitor.values():
            for other in others:
                yield said(
                    other,
                    f"{setup.label(first)} and {setup.label(other)} both change the learning rate"
                    + (f" by {other.monitor!r}." if kind == "ReduceLROnPlateau" else "."),
                    "Leave one of them out.",
                )


@rule("JAL209", "warning", "The first epoch without an improvement ends the training")
def without_patience(setup: Setup) -> Iterator[Said]:
    for stopper in setup.of("EarlyStopping"):
        if stopper.patience == 0:
            yield said(
                stopper,
                f"{setup.label(stopper)}(patience=0) ends the training at the first epoch that is no better than the best.",
                "Pass the number of such epochs to wait for, as patience=5.",
                patience=0,
            )


@rule("JAL210", "warning", "The model that is left is not the best one")
def best_is_lost(setup: Setup) -> Iterator[Said]:
    kept = [watch.name for who, watch in setup.watches if who in setup.of("ModelCheckpoint", "OrbaxCheckpoint")]
    for stopper in setup.of("EarlyStopping"):
        if not stopper.restore_best_weights and stopper.monitor not in kept and stopper.patience > 0:
            yield said(
                stopper,
                f"{setup.label(stopper)} leaves the model of {stopper.patience} epochs after the best one, which nothing saves.",
                "Pass restore_best_weights=True, or add ModelCheckpoint(save_best_only=True) for the same metric.",
                patience=stopper.patience,
                monitor=stopper.monitor,
            )


@rule("JAL211", "warning", "Patience counts validations, and there are fewer of them than epochs")
def patience_by_validations(setup: Setup) -> Iterator[Said]:
    for who in setup.of("EarlyStopping", "ReduceLROnPlateau"):
        reports = reports_in(setup, who.monitor)
        if setup.epochs is None or reports is None or reports == setup.epochs:
            continue
        if reports <= max(who.patience, 1) + 1 < setup.epochs:
            yield said(
                who,
                f"{setup.label(who)}(patience={who.patience}) counts the epochs that report {who.monitor!r}: {reports} of "
                f"{setup.epochs}, too few for it to act.",
                "Validate more often, or pass less patience.",
                patience=who.patience,
                validations=reports,
                epochs=setup.epochs,
            )


@rule("JAL212", "warning", "The first reduction sets the rate to zero")
def reduced_to_nothing(setup: Setup) -> Iterator[Said]:
    for plateau in setup.of("ReduceLROnPlateau"):
        if plateau.factor == 0 and plateau.min_lr == 0:
            yield said(
                plateau,
                f"{setup.label(plateau)}(factor=0) sets the learning rate to 0 at once: nothing is learned after that.",
                "Pass a factor between 0 and 1, as factor=0.2, or a min_lr.",
                factor=plateau.factor,
                min_lr=plateau.min_lr,
            )
