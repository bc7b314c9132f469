"""Rules of the sixth family: the order in the list."""

from __future__ import annotations

from collections.abc import Iterator

from jalon.check.reading import adds_after, keys_added
from jalon.check.rule import Said, rule, said
from jalon.check.setup import Setup, may_add_metrics

_LOGGERS = ("CSVLogger", "TensorBoard", "RemoteMonitor", "OrbaxCheckpoint", "ModelCheckpoint")


@rule("JAL601", "warning", "A log that is written before a key is added")
def logged_too_early(setup: Setup) -> Iterator[Said]:
    for logger in setup.of("CSVLogger", "RemoteMonitor"):
        if setup.of("ReduceLROnPlateau", "LearningRateScheduler") and not _rate_is_reported_before(setup, logger):
            adder = setup.of("ReduceLROnPlateau", "LearningRateScheduler")[0]
            yield said(
                logger,
                f"{setup.label(logger)} is told of an epoch before {setup.label(adder)} adds 'learning_rate' to it.",
                f"List {setup.label(adder)} before {setup.label(logger)}.",
                key="learning_rate",
            )


@rule("JAL602", "error", "A metric is added after the callback that waits for it")
def added_too_late(setup: Setup) -> Iterator[Said]:
    for who, watch in setup.watches:
        adder = adds_after(setup, who, watch.name)
        if adder is not None and (setup.metrics is None or watch.name not in setup.metrics):
            yield said(
                who,
                f"{setup.label(who)} monitors {watch.name!r} before {setup.label(adder)} adds it to the logs.",
                f"List {setup.label(adder)} before {setup.label(who)}.",
                monitor=watch.name,
            )


@rule("JAL603", "warning", "A metric of one's own that a log does not get")
def own_metric_not_logged(setup: Setup) -> Iterator[Said]:
    for adder in setup.own:
        keys = sorted(keys_added(type(adder))) if may_add_metrics(adder) else []
        for logger in setup.of(*_LOGGERS[:3]) if keys else []:
            if logger in setup.before(adder):
                yield said(
                    logger,
                    f"{setup.label(logger)} is told before {setup.label(adder)} adds {', '.join(map(repr, keys))} to the logs.",
                    f"List {setup.label(adder)} before {setup.label(logger)}.",
                    keys=keys,
                )


@rule("JAL604", "warning", "The average of the weights comes after what would save it")
def average_too_late(setup: Setup) -> Iterator[Said]:
    for average in setup.of("SwapEMAWeights"):
        for saver in setup.of("ModelCheckpoint", "OrbaxCheckpoint") if average.swap_on_epoch else []:
            if saver in setup.before(average):
                yield said(
                    saver,
                    f"{setup.label(saver)} saves before {setup.label(average)}(swap_on_epoch=True) puts the average in.",
                    f"List {setup.label(average)} before {setup.label(saver)}.",
                )


def _rate_is_reported_before(setup: Setup, logger: object) -> bool:
    adders = setup.of("ReduceLROnPlateau", "LearningRateScheduler")
    return any(adder in setup.before(logger) for adder in adders)
