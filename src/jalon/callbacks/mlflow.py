"""MLflow: report a run to MLflow."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal
from urllib.parse import urlsplit

from jalon._optional import require
from jalon.callbacks._destination import Destination, Outcome, Point
from jalon.errors import ArgumentError
from jalon.sinks.address import Address

_MOST_METRICS = 1000
_MOST_PARAMS = 100
_LONGEST_PARAM = 6000
_STATUSES: dict[Outcome, str] = {"finished": "FINISHED", "failed": "FAILED", "killed": "KILLED", "preempted": "KILLED"}


class MLflow(Destination):
    """Report a run to MLflow.

    Its configuration becomes parameters, what each epoch reports metrics, and how it ended its status. The step of a metric is
    the epoch, from 0; with ``update_freq`` batches are reported too, as ``batch_<metric>`` by training batches. A run that the
    caller has begun by ``mlflow.start_run`` is joined, and left for the caller to end.

    A thread of its own speaks to the server; training does not wait for it, but for its beginning and its end, for at most
    ``timeout`` seconds each. What a server does not take is kept and tried again with the next epoch, and warned of once. Of
    several processes the main one reports.

    Args:
        experiment: The name of the experiment, made where there is none. Defaults to MLflow's choice: what
            ``mlflow.set_experiment`` or its variables name, else its experiment ``"Default"``.
        run_name: The name of the run. Defaults to the date and time.
        tracking_uri: The address of the server or the store. Defaults to MLflow's own.
        params: Further parameters of the run, by name. Defaults to none.
        update_freq: ``"epoch"``; or ``"batch"`` or a number of batches, to report batches that often besides. Defaults to
            ``"epoch"``.
        timeout: How many seconds the beginning and the end of training wait for the server, the latter for none that has
            never answered. Defaults to 10.

    Raises:
        ArgumentError: An argument cannot be what it is.
        MissingPackage: ``mlflow`` is not installed; ``mlflow-skinny`` is enough.

    Example:
        >>> mlflow = MLflow("digits", run_name="wide", tracking_uri="http://localhost:5000")
        >>> mlflow.experiment, mlflow.run_name
        ('digits', 'wide')

    After a resume: the same run of MLflow is gone on with; a point that it has already is not reported twice.
    """

    def __init__(
        self,
        experiment: str | None = None,
        *,
        run_name: str | None = None,
        tracking_uri: str | os.PathLike[str] | None = None,
        params: Mapping[str, Any] | None = None,
        update_freq: int | Literal["epoch", "batch"] = "epoch",
        timeout: float = 10.0,
    ) -> None:
        require("mlflow", extra="mlflow", who="MLflow")
        if experiment is not None and (not isinstance(experiment, str) or not experiment):
            raise ArgumentError(f"MLflow: experiment must be a name, or None. Received: experiment={experiment!r}.")
        super().__init__(update_freq=update_freq, timeout=timeout)
        self.experiment = experiment
        self.run_name = run_name
        self._params = dict(params or {})
        self._uri = None if tracking_uri is None else os.fspath(tracking_uri)
        self._told: dict[str, dict[int, float]] | None = None

    def _joined(self) -> str | None:
        active = _mlflow().active_run()
        return None if active is None else str(active.info.run_id)

    def _begin(self, name: str | None, config: Mapping[str, Any]) -> str:
        # MLflow draws names, and how long it waits for a server, from the random numbers that the training draws from.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")
        client = self._client()
        self._told = None
        if name is None:
            run_name = self.run_name or f"{datetime.fromtimestamp(self.run.clock.wall()):%Y-%m-%d %H:%M:%S}"
            name = self._id = client.create_run(self._experiment_id(client), run_name=run_name).info.run_id
            self._answered = True
        else:
            self._told = {}
            if not self._joins:
                client.update_run(name, status="RUNNING")
        there = client.get_run(name).data.params  # MLflow refuses to change one
        entities: Any = require("mlflow.entities", extra="mlflow", who="MLflow")
        asked = {_allowed(key): str(value)[:_LONGEST_PARAM] for key, value in {**config, **self._params}.items()}
        new = [entities.Param(key, value) for key, value in asked.items() if key not in there]
        for first in range(0, len(new), _MOST_PARAMS):
            client.log_batch(name, params=new[first : first + _MOST_PARAMS])
        return str(name)

    def _report(self, points: Sequence[Point]) -> None:
        client = self._client()
        entities: Any = require("mlflow.entities", extra="mlflow", who="MLflow")
        metrics = [
            entities.Metric(name, value, int(point.time * 1000), point.step)
            for point in points
            for name, value in zip(map(_allowed, point.values), point.values.values(), strict=True)
            if not self._is_there(client, name, point.step, value)
        ]
        for first in range(0, len(metrics), _MOST_METRICS):
            client.log_batch(self._id, metrics=metrics[first : first + _MOST_METRICS])

    def _is_there(self, client: Any, name: str, step: int, value: float) -> bool:
        """Return whether a run that is gone on with has a point already, from before it was interrupted."""
        if self._told is None:
            return False
        if name not in self._told:
            self._told[name] = {point.step: point.value for point in client.get_metric_history(self._id, name)}
        there = self._told[name].get(step)
        return there is not None and (there == value or (math.isnan(there) and math.isnan(value)))

    def _end(self, outcome: Outcome, reason: str | None) -> None:
        client = self._client()
        if reason:
            client.set_tag(self._id, "jalon.reason", reason[:500])
        client.set_terminated(self._id, _STATUSES[outcome])

    def _client(self) -> Any:
        return _mlflow().MlflowClient(tracking_uri=self._uri)

    def _experiment_id(self, client: Any) -> str:
        if self.experiment is None:
            return _chosen_experiment(client)
        found = client.get_experiment_by_name(self.experiment)
        return str(client.create_experiment(self.experiment) if found is None else found.experiment_id)

    def _hidden(self, text: str) -> str:
        """Return a text without the user and the password that an address may hold."""
        for uri in filter(None, (self._uri, os.environ.get("MLFLOW_TRACKING_URI"))):
            who = urlsplit(uri).netloc.rpartition("@")[0]
            text = Address(f"mlflow://{who}").hide(text) if who else text
        return text


def _mlflow() -> Any:
    return require("mlflow", extra="mlflow", who="MLflow")


def _allowed(name: str) -> str:
    """Return a name with nothing in it that MLflow refuses."""
    return re.sub(r"[^\w\-. :/]", "_", name)


def _chosen_experiment(client: Any) -> str:
    """Return the experiment that MLflow's variables name, which ``mlflow.set_experiment`` sets too, else the default one."""
    chosen = os.environ.get("MLFLOW_EXPERIMENT_ID")
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME")
    if chosen is None and name is not None:
        found = client.get_experiment_by_name(name)
        chosen = client.create_experiment(name) if found is None else found.experiment_id
    return str(chosen or "0")
