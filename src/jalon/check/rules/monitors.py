"""Rules of the first family: what is compared."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from jalon.check.reading import adds_after, cadence_of, is_share, meant_direction
from jalon.check.rule import Said, rule, said
from jalon.check.setup import Setup, may_add_metrics
from jalon.errors import MissingMetric

MUCH = 10
"""So many times what a metric usually changes by is a change that hardly ever comes."""


@rule("JAL101", "error", "A monitor that nothing reports")
def nothing_reports_it(setup: Setup) -> Iterator[Said]:
    for who, watch in setup.watches:
        if setup.metrics is None or watch.name in setup.metrics or any(map(may_add_metrics, setup.before(who))):
            continue
        if (setup.validates is False and watch.name.startswith("val_")) or adds_after(setup, who, watch.name):
            continue  # JAL102 and JAL602 say why
        missing = MissingMetric(setup.label(who), watch.name, setup.metrics, when="this training")
        yield said(who, str(missing), "Monitor one of them.", monitor=watch.name, metrics=sorted(setup.metrics))


@rule("JAL102", "error", "A metric of the validation is monitored, and there is no validation")
def nothing_validates(setup: Setup) -> Iterator[Said]:
    for who, watch in setup.watches:
        if setup.validates is False and watch.name.startswith("val_") and not any(map(may_add_metrics, setup.before(who))):
            yield said(
                who,
                f"{setup.label(who)} monitors {watch.name!r}, and there is no validation.",
                f"Pass validation_data or validation_split, or monitor {watch.name.removeprefix('val_')!r}.",
                monitor=watch.name,
            )


@rule("JAL103", "error", "Nobody knows whether less or more of the metric is better")
def no_direction(setup: Setup) -> Iterator[Said]:
    for who, watch in setup.watches:
        known = setup.trainer is not None and setup.metrics is not None and watch.name in setup.metrics
        if known and watch.mode is None and setup.direction(watch.name) is None:
            yield said(
                who,
                f"{setup.label(who)} has mode='auto', and whether less or more of {watch.name!r} is better is not known.",
                "Pass mode='min' or mode='max'.",
                monitor=watch.name,
            )


@rule("JAL104", "warning", "`mode` says the opposite of the metric's name", begins=True)
def wrong_direction(setup: Setup) -> Iterator[Said]:
    for who, watch in setup.watches:
        meant = meant_direction(watch.name)
        if watch.mode is not None and meant is not None and watch.mode != meant:
            better = "less" if watch.mode == "min" else "more"
            yield said(
                who,
                f"{setup.label(who)}(mode={watch.mode!r}) takes {better} of {watch.name!r} for better.",
                f"Pass mode={meant!r}, or leave it out.",
                monitor=watch.name,
                mode=watch.mode,
            )


@rule("JAL105", "warning", "The training's own metric decides, although there is validation")
def training_decides(setup: Setup) -> Iterator[Said]:
    for who, watch in setup.watches:
        validated = f"val_{watch.name}"
        if who in setup.of("ReduceLROnPlateau") or not setup.validates or setup.metrics is None:
            continue
        if watch.name in setup.metrics and validated in setup.metrics:
            yield said(
                who,
                f"{setup.label(who)} monitors {watch.name!r}, which gets better while the model learns its data by heart.",
                f"Monitor {validated!r}, which the validation reports.",
                monitor=watch.name,
            )


@rule("JAL106", "warning", "Values from the middle of an epoch are compared")
def compared_within_epochs(setup: Setup) -> Iterator[Said]:
    for who, watch in setup.watches:
        cadence = cadence_of(who) if who in setup.of("ModelCheckpoint", "OrbaxCheckpoint") else None
        if cadence is None or not cadence.by_batch:
            continue
        by_validation = watch.name.startswith("val_")
        what = (
            "is from the validation of an epoch before" if by_validation else "is the mean since the epoch began, of few batches"
        )
        yield said(
            who,
            f"{setup.label(who)} compares {watch.name!r} in the middle of epochs, where it {what}.",
            "Save by epochs, as with save_freq='epoch', or without save_best_only.",
            monitor=watch.name,
            save_freq=who.save_freq,
        )


@rule("JAL107", "warning", "`min_delta` is more than the metric can change by")
def beyond_its_range(setup: Setup) -> Iterator[Said]:
    for who, watch in setup.watches:
        if watch.min_delta >= 1 and is_share(watch.name):
            yield said(
                who,
                f"{setup.label(who)}(min_delta={watch.min_delta:g}) never sees an improvement: {watch.name!r} is from 0 to 1.",
                f"Pass it as a share, as min_delta={watch.min_delta / 100:g}.",
                min_delta=watch.min_delta,
            )


@rule("JAL108", "warning", "`min_delta` is far above what the metric usually changes by")
def beyond_its_noise(setup: Setup) -> Iterator[Said]:
    for who, watch in setup.watches:
        values = [value for value in setup.history.get(watch.name, ()) if value == value]
        changes = [abs(later - earlier) for earlier, later in pairwise(values)]
        usual = statistics.median(changes) if changes else 0.0
        if 0 < MUCH * usual < watch.min_delta:
            yield said(
                who,
                f"{setup.label(who)}(min_delta={watch.min_delta:g}) takes for no improvement what {watch.name!r} changes by "
                f"from epoch to epoch, {usual:.3g} in the recorded training.",
                f"Pass a min_delta near {usual:.1g}, or none.",
                min_delta=watch.min_delta,
                usual_change=usual,
            )


@rule("JAL109", "warning", "A value to beat that the metric cannot reach")
def beyond_its_reach(setup: Setup) -> Iterator[Said]:
    for who, watch in setup.watches:
        if watch.baseline is not None and watch.baseline >= 1 and is_share(watch.name) and watch.mode != "min":
            yield said(
                who,
                f"{setup.label(who)} asks for more than {watch.baseline:g} of {watch.name!r}, which is from 0 to 1.",
                f"Pass a share, as {min(watch.baseline / 100, 0.99):g}.",
                baseline=watch.baseline,
            )


@rule("JAL110", "warning", "One metric is to be less for one callback and more for another", begins=True)
def at_odds(setup: Setup) -> Iterator[Said]:
    asked: dict[str, dict[str, Any]] = defaultdict(dict)
    for who, watch in setup.watches:
        if watch.mode is not None:
            asked[watch.name].setdefault(watch.mode, who)
    for name, by_mode in asked.items():
        if len(by_mode) == 2:
            less, more = setup.label(by_mode["min"]), setup.label(by_mode["max"])
            yield said(
                by_mode["max"],
                f"{less} takes less of {name!r} for better, and {more} takes more.",
                "Pass the same mode to both.",
                monitor=name,
            )
