"""What a run's folder brings: a backup, a journal, commands, and a page where one is asked for."""

from __future__ import annotations

import os

from jalon.callbacks._live_page import LivePage
from jalon.callbacks.backup_and_restore import BackupAndRestore, Resume
from jalon.callbacks.journal import Journal
from jalon.callbacks.steering import Steering
from jalon.core.callback import Callback
from jalon.errors import ArgumentError


def callbacks_of(run_dir: str | os.PathLike[str] | None, *, resume: Resume = "auto", live: bool = False) -> list[Callback]:
    """Return the callbacks that a run's folder brings; none where there is no folder.

    Args:
        run_dir: As given to ``fit`` or ``jalon.Loop``.
        resume: Likewise.
        live: Likewise.

    Raises:
        ArgumentError: A page is asked for, and there is no folder that it could show.
        MissingPackage: What the page takes is not installed.
    """
    if run_dir is None:
        if live:
            raise ArgumentError("live=True shows the run's folder, and there is none. Pass run_dir, as run_dir='runs/a'.")
        return []
    backup = BackupAndRestore.of_run(run_dir, resume=resume)
    page = [LivePage(run_dir, run=backup.run_folder)] if live else []
    # The backup is last, when all the others are done with the epoch.
    return [*page, Journal(backup.run_folder), Steering(backup.run_folder), backup]
