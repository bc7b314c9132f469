"""Rules of the seventh family: what is left after an interruption."""

from __future__ import annotations

from collections.abc import Iterator

from jalon.check.rule import Said, rule, said
from jalon.check.setup import Setup

_QUEUES = {"SLURM_JOB_ID": "Slurm", "PBS_JOBID": "PBS", "LSB_JOBID": "LSF", "JOB_ID": "Grid Engine"}


@rule("JAL701", "error", "A training is left on purpose, and nothing keeps it")
def left_and_lost(setup: Setup) -> Iterator[Said]:
    for leaver in setup.of("TimeLimit") if not setup.is_kept else []:
        yield said(
            leaver,
            f"{setup.label(leaver)} leaves a training that is gone on with later, and nothing keeps this one.",
            "Pass run_dir to fit, or add BackupAndRestore to the callbacks.",
        )


@rule("JAL702", "warning", "A machine that is taken back, and nothing keeps the training")
def taken_back_and_lost(setup: Setup) -> Iterator[Said]:
    for notice in setup.of("SpotNotice") if not setup.is_kept else []:
        yield said(
            notice,
            f"{setup.label(notice)} hears that the machine is taken back, and there is no backup to be brought up to date.",
            "Pass run_dir to fit, or add BackupAndRestore to the callbacks.",
        )


@rule("JAL703", "warning", "A job of a queue without a backup")
def ended_by_the_queue(setup: Setup) -> Iterator[Said]:
    queue = next((name for variable, name in _QUEUES.items() if setup.environ.get(variable)), None)
    if queue is not None and not setup.is_kept:
        yield said(
            "fit",
            f"This job of {queue} ends at its time limit, and the training with it: nothing keeps it.",
            "Pass run_dir to fit, or add BackupAndRestore to the callbacks.",
            queue=queue,
        )


@rule("JAL704", "error", "A training that is backed up in two places")
def kept_twice(setup: Setup) -> Iterator[Said]:
    for other in setup.of("BackupAndRestore")[1:]:
        yield said(
            other,
            f"{setup.label(other)} is the second backup of this training, which is gone on with from one place.",
            "Leave one of them out; run_dir is one.",
        )


@rule("JAL705", "warning", "A backup that nothing ever writes")
def never_backed_up(setup: Setup) -> Iterator[Said]:
    for backup in setup.of("BackupAndRestore"):
        if backup.save_freq is False and not getattr(backup, "every_seconds", None):
            yield said(
                backup,
                f"{setup.label(backup)}(save_freq=False) backs up nothing of its own accord: a kill costs the whole training.",
                "Pass save_freq='epoch', or every_seconds=600.",
                save_freq=False,
            )
