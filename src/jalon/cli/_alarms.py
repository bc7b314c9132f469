"""Alarms: messages of runs that cannot tell themselves that they were killed or hang."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from jalon.callbacks._report import Report
from jalon.cli.plot import png_of
from jalon.core.clock import SYSTEM_CLOCK, Clock
from jalon.core.run import Best
from jalon.live import api
from jalon.live.record import RunRecord
from jalon.live.runs import Runs
from jalon.sinks.messages import Messenger
from jalon.sinks.progress import duration
from jalon.store import atomic

Event = Literal["killed", "stalled"]

NOTIFIED = "notified.json"
"""The file in a run's folder that says of what was told already, so that another start of the watch does not tell it again."""
_LOOK_SECONDS = 2.0
_SETTLE_SECONDS = 10.0
_OLD_SECONDS = 3600.0
"""What was written last so long before the watch began is not told of: it is no news."""


class Alarms(threading.Thread):
    """Send a message when the process of a run is gone without an end, or when a run does not get on, once for each start of it.

    Args:
        folder: Where the runs are.
        messenger: Sends.
        stalled_after: Seconds without a step after which a run has stalled.
        clock: Tells the time.
        warn: Is told, once for each service, that a message did not arrive.
    """

    def __init__(
        self,
        folder: Path,
        messenger: Messenger,
        *,
        stalled_after: float,
        clock: Clock = SYSTEM_CLOCK,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(name="jalon-alarms", daemon=True)
        self._runs = Runs(folder)
        self._messenger = messenger
        self._stalled_after = stalled_after
        self._clock = clock
        self._warn = warn or _print
        self._warned: set[str] = set()
        self._began = clock.wall()
        self._seen: dict[str, tuple[Any, float]] = {}
        self._told: dict[str, set[str]] = {}
        self.over = threading.Event()

    def __enter__(self) -> None:
        self.start()

    def __exit__(self, *exception: object) -> None:
        """Look no more, and wait for messages on their way, but not long."""
        self.over.set()
        self._messenger.settle(_SETTLE_SECONDS)

    def run(self) -> None:
        while not self.over.wait(_LOOK_SECONDS):
            try:
                self.look()
            except Exception as exc:  # noqa: BLE001  # the next look may find the folder as it should be
                self._warn_once("look", f"The runs could not be looked at: {type(exc).__name__}: {exc}. It is tried again.")

    def look(self) -> None:
        """Look at every run, and tell what there is to tell."""
        for run in self._runs.find().values():
            if run.kind == "journal" and run.updated() > self._began - _OLD_SECONDS:
                self._look_at(run)
        for fault in self._messenger.faults():
            self._warn_once(fault.partition(" ")[0], f"A message did not arrive by {fault}. It is lost; the watch goes on.")

    def _warn_once(self, about: str, warning: str) -> None:
        if about not in self._warned:
            self._warned.add(about)
            self._warn(warning)

    def _look_at(self, run: RunRecord) -> None:
        state = _state(run, self._clock.wall())
        if state == "dead":
            self._tell(run, "killed", "Its process is gone, and has said nothing of an end.")
        elif state in ("running", "silent"):
            seconds = self._standing_still(run)
            if seconds >= self._stalled_after:
                whose = " It runs on another machine, and nothing is heard from there." if state == "silent" else ""
                self._tell(run, "stalled", f"It has not got on for {duration(seconds)}.{whose}")
        else:
            self._seen.pop(run.id, None)

    def _standing_still(self, run: RunRecord) -> float:
        """Return for how many seconds a run has stood where it stands."""
        place = {name: value for name, value in run.standing().items() if name != "written"}
        now, where = self._clock.monotonic(), (run.version, place)
        seen = self._seen.get(run.id)
        if seen is None or seen[0] != where:
            seen = self._seen[run.id] = (where, now)
        return now - seen[1]

    def _tell(self, run: RunRecord, event: Event, reason: str) -> None:
        start = repr(run.begin.get("time"))
        told = self._told.setdefault(f"{run.id} {start}", _told_before(run.path, start))
        if event in told:
            return
        told.add(event)
        with suppress(OSError):  # a folder that can be read alone is watched as well
            atomic.write_bytes(run.path / NOTIFIED, [json.dumps({"start": start, "events": sorted(told)}).encode()])
        message = _report(run, self._clock.wall()).message(event, reason, kind="failure")
        self._messenger.send(replace(message, picture=_picture_of(run) if self._messenger.takes_pictures else None))


def _picture_of(run: RunRecord) -> bytes | None:
    with suppress(Exception):  # a message is worth more than its picture
        return png_of(run.path)
    return None


def _state(run: RunRecord, now: float) -> str:
    """Return how a run is. It is read again after its process is seen to be gone, since that may have been its end."""
    _read_whole(run)
    if run.state(now) == "dead":
        _read_whole(run)
    return run.state(now)


def _read_whole(run: RunRecord) -> None:
    run.refresh()
    while not run.complete:
        run.refresh()


def _told_before(folder: Path, start: str) -> set[str]:
    """Return of which events of a start an earlier watch has told."""
    try:
        said = json.loads((folder / NOTIFIED).read_bytes())
        return set(said["events"]) if said["start"] == start else set()
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return set()


def _report(run: RunRecord, now: float) -> Report:
    told = api.summary(run, now=now)
    best, begun = told["best"], told["begun"]
    return Report(
        run.path.name,
        int(run.epochs.places[-1]) + 1 if run.epochs.places else 0,
        told["epochs"],
        {name: value for name, value in told["last"].items() if value is not None},
        None if best is None or best["value"] is None else Best(best["monitor"], best["value"], int(best["epoch"])),
        None if begun is None else max(0.0, told["updated"] - begun),
        str((run.begin.get("process") or {}).get("host") or ""),
    )


def _print(warning: str) -> None:
    Console(stderr=True, soft_wrap=True).print(warning, style="yellow", markup=False, highlight=False)
