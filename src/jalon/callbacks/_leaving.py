"""What the callbacks that leave a training ask for."""

from __future__ import annotations

from jalon.core.run import Run
from jalon.errors import ArgumentError


def refuse_to_lose(run: Run, *, who: str) -> None:
    """Refuse to leave a training of which nothing would be kept.

    Raises:
        ArgumentError: The loop cannot be left and gone on with, or nothing keeps the run.
    """
    if not run.keeps:
        raise ArgumentError(f"{who}: this loop cannot be left and gone on with. jalon.Model.fit can.")
    if run.keeper is None:
        raise ArgumentError(
            f"{who} leaves a training that is gone on with later, and nothing keeps this one. "
            "Pass run_dir to fit, or add BackupAndRestore to the callbacks."
        )
