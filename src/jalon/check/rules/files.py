"""Rules of the third family: what is written, and where."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jalon.check.reading import cadence_of, fields_of, saves_in
from jalon.check.rule import Said, rule, said
from jalon.check.setup import Setup, may_add_metrics
from jalon.check.watch import names_in
from jalon.check.writers import is_below, writers
from jalon.errors import suggestion
from jalon.store.atomic import obstacle

_ALWAYS = {"epoch", "batch", "monitor"}


@rule("JAL301", "error", "A suffix that cannot be written here")
def unknown_suffix(setup: Setup) -> Iterator[Said]:
    trainer = setup.trainer
    for saver in setup.of("ModelCheckpoint"):
        path = os.fspath(saver.filepath)
        fault = trainer and trainer.suffix_fault(path, weights_only=saver.save_weights_only)
        if fault:
            yield said(saver, f"{setup.label(saver)}: filepath {fault}.", f"Received: {path!r}.", filepath=path)


@rule("JAL302", "error", "A place where nothing can be written")
def unwritable(setup: Setup) -> Iterator[Said]:
    for who, place in writers(setup):
        reason = obstacle(place.path, folder=place.is_folder)
        if reason:
            yield said(
                who,
                f"{setup.label(who)} cannot write {place.text}: {reason}.",
                f"Pass {'a folder' if place.is_folder else 'a file'} that can be written.",
                path=place.text,
            )


@rule("JAL303", "error", "Two callbacks write the same file", begins=True)
def written_twice(setup: Setup) -> Iterator[Said]:
    seen: dict[str, Any] = {}
    for who, place in writers(setup):
        if place.is_shared:
            continue
        other = seen.setdefault(place.key, who)
        if other is not who:
            yield said(
                who,
                f"{setup.label(other)} and {setup.label(who)} both write {place.text}.",
                "Give each a path of its own.",
                path=place.text,
            )


@rule("JAL304", "error", "A template with a field that no metric fills")
def unknown_field(setup: Setup) -> Iterator[Said]:
    metrics = setup.metrics
    for saver in setup.of("ModelCheckpoint"):
        if metrics is None or any(map(may_add_metrics, setup.before(saver))):
            continue
        path = os.fspath(saver.filepath)
        for name in sorted(fields_of(path) - _ALWAYS - metrics):
            yield said(
                saver,
                f"{setup.label(saver)}: filepath {path!r} has {{{name}}}, which this training does not report.",
                f"Fields are {{epoch}}, {{batch}} and {', '.join(f'{{{one}}}' for one in sorted(metrics))}."
                f"{suggestion(name, metrics)}",
                filepath=path,
                field=name,
            )


@rule("JAL305", "warning", "Each save overwrites the one before, the best one too")
def overwrites_itself(setup: Setup) -> Iterator[Said]:
    for saver in setup.of("ModelCheckpoint"):
        path = os.fspath(saver.filepath)
        if not saver.save_best_only and not fields_of(path) - {"monitor"}:
            yield said(
                saver,
                f"{setup.label(saver)} saves each time to {path!r}, so that in the end the last model is there and not the best.",
                "Pass save_best_only=True, or put {epoch} into the name.",
                filepath=path,
            )


@rule("JAL306", "warning", "Different models can get the same name")
def names_collide(setup: Setup) -> Iterator[Said]:
    for saver in setup.of("ModelCheckpoint"):
        path = os.fspath(saver.filepath)
        fields = fields_of(path)
        if fields - _ALWAYS and not fields & {"epoch", "batch"}:
            yield said(
                saver,
                f"{setup.label(saver)} names files by rounded metrics alone, {path!r}: of two equal ones the later stays.",
                "Put {epoch} into the name too.",
                filepath=path,
            )


@rule("JAL307", "warning", "The disk has no room for what is going to be kept", begins=True)
def disk_too_small(setup: Setup) -> Iterator[Said]:
    for saver in setup.of("ModelCheckpoint", "OrbaxCheckpoint"):
        files = saves_in(setup, saver)
        if files is None or setup.weight_bytes is None:
            continue
        place = Path(os.fspath(getattr(saver, "filepath", None) or saver.directory))
        folder = next((parent for parent in place.absolute().parents if parent.is_dir()), Path.cwd())
        free, needed = shutil.disk_usage(folder).free, files * setup.weight_bytes
        if needed > free:
            yield said(
                saver,
                f"{setup.label(saver)} is going to keep {files} files of {_size(setup.weight_bytes)} or more in {str(folder)!r}, "
                f"where {_size(free)} are free.",
                "Keep fewer, as with keep_last=3, or save to another disk.",
                files=files,
                bytes_each=setup.weight_bytes,
                free=free,
            )


@rule("JAL308", "warning", "The best model is rotated away")
def best_rotated_away(setup: Setup) -> Iterator[Said]:
    for saver in setup.of("ModelCheckpoint"):
        last = getattr(saver, "keep_last", None)
        if last is not None and not saver.save_best_only and saver.keep_best is None:
            yield said(
                saver,
                f"{setup.label(saver)}(keep_last={last}) deletes the best model once it is {last} saves old.",
                "Pass keep_best=1 too.",
                keep_last=last,
            )


@rule("JAL309", "warning", "Files in a folder that belongs to the backup alone", begins=True)
def within_the_backup(setup: Setup) -> Iterator[Said]:
    backups = [(who, place) for who, place in writers(setup) if who in setup.of("BackupAndRestore")]
    for backup, folder in backups:
        for who, place in writers(setup):
            if who is not backup and is_below(place.path, folder.path):
                yield said(
                    who,
                    f"{setup.label(who)} writes {place.text} in {folder.text}, which {setup.label(backup)} deletes.",
                    "Give each a folder of its own.",
                    path=place.text,
                    backup_dir=folder.text,
                )


@rule("JAL310", "warning", "The log of an earlier training is going to be overwritten")
def log_overwritten(setup: Setup) -> Iterator[Said]:
    for logger in setup.of("CSVLogger"):
        path = Path(logger.filename)
        if not logger.append and not setup.is_kept and path.is_file() and path.stat().st_size > 0:
            yield said(
                logger,
                f"{setup.label(logger)} starts {str(path)!r} anew, with {path.stat().st_size:,} bytes of another training in it.",
                "Pass append=True, or another filename.",
                filename=str(path),
                bytes=path.stat().st_size,
            )


@rule("JAL311", "warning", "The best model of an earlier training is going to be overwritten by any other")
def best_overwritten(setup: Setup) -> Iterator[Said]:
    for saver in setup.of("ModelCheckpoint"):
        path = os.fspath(saver.filepath)
        threshold = getattr(saver, "initial_value_threshold", None)
        fresh = saver.save_best_only and threshold is None and not setup.is_kept
        if fresh and not fields_of(path) and Path(path).is_file():
            yield said(
                saver,
                f"{setup.label(saver)} is going to overwrite {path!r} after the first epoch, however good the model in it is.",
                f"Pass the value to beat, as initial_value_threshold=…, or another filepath; {names_in(saver.monitor)[0]!r} of "
                "the old one is not known here.",
                filepath=path,
            )


@rule("JAL312", "warning", "Curves of several trainings in one folder")
def curves_mixed(setup: Setup) -> Iterator[Said]:
    for board in setup.of("TensorBoard") if not setup.is_kept else []:
        folder = Path(board.log_dir)
        earlier = list(folder.glob("*/*tfevents*")) if folder.is_dir() else []
        if earlier:
            yield said(
                board,
                f"{setup.label(board)}: {str(folder)!r} holds {len(earlier)} event files of earlier trainings, and TensorBoard "
                "draws all of them as one curve.",
                "Pass a log_dir for each training, as one with the time in its name.",
                log_dir=str(folder),
                files=len(earlier),
            )


@rule("JAL313", "warning", "An epoch's number that does not sort")
def unsorted_names(setup: Setup) -> Iterator[Said]:
    for saver in setup.of("ModelCheckpoint"):
        path = os.fspath(saver.filepath)
        cadence = cadence_of(saver)
        if setup.epochs is not None and setup.epochs >= 10 and re.search(r"\{epoch\}", path) and cadence.epochs is not None:
            width = len(str(setup.epochs))
            yield said(
                saver,
                f"{setup.label(saver)}: names like {path!r} put epoch 10 before epoch 2 wherever they are listed.",
                f"Write {{epoch:0{width}d}}.",
                filepath=path,
                epochs=setup.epochs,
            )


def _size(number: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"
