"""SpotNotice: leave the training when the cloud announces that it takes the machine back."""

from __future__ import annotations

import threading
import warnings
from typing import get_args

from jalon.callbacks._arguments import finite_number
from jalon.callbacks._cloud import ADDRESS, Ask, NoAnswer, Provider, asks
from jalon.callbacks._leaving import refuse_to_lose
from jalon.core.callback import Callback, Logs
from jalon.core.run import Run
from jalon.errors import ArgumentError, CallbackDegraded, Preempted

ATTEMPTS = 3
"""So many times an answer is asked for before it is settled that there is none."""


class SpotNotice(Callback):
    """Leave the training when the cloud announces that it takes the machine back.

    Asks the machine's metadata service while training goes on. On a notice the batch ends, the training is backed up and
    left with :class:`~jalon.errors.Preempted`, which ends the program with code 143; the same command goes on from there on
    another machine, if the backup is on a disk that outlives this one. The notice comes two minutes ahead in AWS, half a
    minute in GCP and Azure.

    It needs something that keeps the training: ``run_dir``, or ``BackupAndRestore``. Where there is none, and where nothing
    answers, as on a machine that is not in that cloud, a warning says so, nothing is asked any more, and training goes on.

    Args:
        provider: ``"aws"``, ``"gcp"`` or ``"azure"``.
        every_seconds: How often to ask. Defaults to 5 in AWS, as it recommends, and to 1 in the others.
        address: Where to ask. Defaults to ``"http://169.254.169.254"``, the same in every one of these clouds.

    Raises:
        ArgumentError: An argument cannot be what it is.

    Example:
        >>> notice = SpotNotice("gcp")
        >>> notice.every_seconds
        1.0

    Source: ``spot/instance-action`` of AWS, asked for with a token of IMDSv2; ``instance/preempted`` of GCP; ``Preempt`` and
    ``Terminate`` among Azure's scheduled events, where they name this machine.
    """

    critical = False
    adds_metrics = False

    def __init__(self, provider: Provider, *, every_seconds: float | None = None, address: str = ADDRESS) -> None:
        who = type(self).__name__
        if provider not in get_args(Provider):
            raise ArgumentError(f"{who}: provider must be 'aws', 'gcp' or 'azure'. Received: provider={provider!r}.")
        if not isinstance(address, str) or not address.startswith(("http://", "https://")):
            raise ArgumentError(f"{who}: address must begin with http:// or https://. Received: address={address!r}.")
        default = 5.0 if provider == "aws" else 1.0
        self.every_seconds = default if every_seconds is None else finite_number(every_seconds, name="every_seconds", who=who)
        if self.every_seconds <= 0:
            raise ArgumentError(f"{who}: every_seconds must be above 0. Received: every_seconds={every_seconds!r}.")
        self.provider = provider
        self.address = address.rstrip("/")
        self._watch: _Watch | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Begin to ask, in a thread of its own."""
        refuse_to_lose(self.run, who=type(self).__name__)
        self.close()
        self._watch = _Watch(asks(self.provider, self.address), self.run, every_seconds=self.every_seconds)
        self._watch.start()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._look_back()

    def close(self) -> None:
        """Ask no more. A question under way is not waited for."""
        if self._watch is not None:
            self._watch.over.set()
            self._look_back()
            self._watch = None

    def _look_back(self) -> None:
        """Say, in the thread that trains, that there is no answer."""
        watch = self._watch
        if watch is None or watch.fault is None:
            return
        fault, watch.fault = watch.fault, None
        message = (
            f"{type(self).__name__}: nothing at {self.address} answers as in {self.provider}: {fault}. It is not asked any more; "
            "training goes on. Take the callback out on other machines; in a container, let it reach the metadata service."
        )
        self.run.record("warning", who=type(self).__name__, text=message)
        warnings.warn(message, CallbackDegraded, stacklevel=3)


class _Watch(threading.Thread):
    """Asks again and again whether the machine is taken back, in a thread that does not keep the process from ending.

    Args:
        ask: Returns what the cloud says of it.
        run: What is left then.
        every_seconds: How long to wait between two questions.
    """

    def __init__(self, ask: Ask, run: Run, *, every_seconds: float) -> None:
        super().__init__(name="jalon-spot-notice", daemon=True)
        self._ask = ask
        self._run_to_leave = run
        self._every = every_seconds
        self.over = threading.Event()
        self.fault: str | None = None

    def run(self) -> None:
        in_vain: float = 0
        while not self.over.is_set():
            notice = None
            try:
                notice, in_vain = self._ask(), float("-inf")  # what has answered once is asked for good
            except NoAnswer as exc:
                in_vain += 1
                if in_vain == ATTEMPTS:
                    self.fault = str(exc)
                    return
            if notice is not None and not self.over.is_set():
                self._run_to_leave.leave(Preempted(f"the cloud takes this machine back{notice}"))
                return
            self.over.wait(self._every)
