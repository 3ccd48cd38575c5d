"""Writes a run to an MLflow tracking server, by MLflow's own client (extra `mlflow`)."""

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from typing import Any

import msgspec

from wattline.failures import ActFailed
from wattline.runs.compare import settings
from wattline.runs.run import Run
from wattline_protocol.wire.bounds import MAX_SERIAL

RUN_TAG, SITE_TAG = "wattline.run", "wattline.site"
MAX_VALUE_CHARS = 500
"""Of a parameter: the least of all versions of MLflow."""
PARAMS_AT_ONCE = 100
METRICS_AT_ONCE = 1000

_ODD = re.compile(r"[^\w./: -]")
"""What MLflow refuses in a name."""
_SCHEMES = ("http://", "https://", "file:", "sqlite:", "/", "./")


class Exported(msgspec.Struct, frozen=True):
    """Where a run was written."""

    run: str
    experiment: str
    mlflow_run: str
    metrics: int
    """Values."""
    params: int


def export_run(run: Run, uri: str, experiment: str, site: str) -> Exported:
    """Create a run there; one that is there already is left as it is. Raises ActFailed."""
    client = _client(uri)
    try:
        with redirect_stdout(sys.stderr):  # MLflow prints addresses there
            return _Export(client, run, experiment, site).write()
    except ActFailed:
        raise
    except Exception as error:  # of MLflow, of its HTTP client, of a database driver
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ActFailed(f"MLflow: {lines[-1][:MAX_VALUE_CHARS]}") from error


def _client(uri: str) -> Any:
    if not uri.startswith(_SCHEMES):
        raise ActFailed(f"--mlflow {uri}: expected a URI as in http://127.0.0.1:5000")
    try:
        from mlflow import MlflowClient
    except ImportError:
        text = "MLflow is not installed here: pip install 'wattline[mlflow]', or mlflow-skinny"
        raise ActFailed(text) from None
    return MlflowClient(tracking_uri=uri)


class _Export:
    def __init__(self, client: Any, run: Run, experiment: str, site: str) -> None:
        self._client, self._run = client, run
        self._experiment, self._site = _plain(experiment), site

    def write(self) -> Exported:
        client, run = self._client, self._run
        found = client.get_experiment_by_name(self._experiment)
        number = found.experiment_id if found else client.create_experiment(self._experiment)
        self._refuse_twice(number)
        made = client.create_run(
            number, start_time=_ms(run.started_unix_s), tags=self._tags(), run_name=self._name()
        )
        mlflow_run = made.info.run_id
        try:
            metrics, params = self._fill(mlflow_run)
        except BaseException:
            client.delete_run(mlflow_run)  # all of it, or nothing
            raise
        status = "FINISHED" if run.state == "COMPLETED" else _STATUS.get(run.state, "FAILED")
        client.set_terminated(mlflow_run, status, _ms(run.ended_unix_s))
        return Exported(run.run, self._experiment, mlflow_run, metrics, params)

    def _refuse_twice(self, experiment: str) -> None:
        wanted = f"tags.`{RUN_TAG}` = '{self._run.run}' AND tags.`{SITE_TAG}` = '{self._site}'"
        for known in self._client.search_runs([experiment], wanted, max_results=1):
            where = f"experiment {self._experiment}, run {known.info.run_id}"
            raise ActFailed(f"run {self._run.run} is there already: {where}; delete that one first")

    def _name(self) -> str:
        return f"{self._run.name} {self._run.run}"

    def _tags(self) -> dict[str, str]:
        run = self._run
        tags = {RUN_TAG: run.run, SITE_TAG: self._site, "mlflow.user": run.owner}
        tags |= {"wattline.nodes": " ".join(run.nodes), "wattline.state": run.state}
        if run.code is not None:
            tags |= {"mlflow.source.git.commit": run.code.commit}
        return tags

    def _fill(self, mlflow_run: str) -> tuple[int, int]:
        from mlflow.entities import Metric, Param

        values = {_plain(key): str(value)[:MAX_VALUE_CHARS] for key, value in self._params()}
        params = [Param(key, value) for key, value in values.items()]
        metrics = [Metric(*row) for row in self._metrics()]
        for some in _parts(params, PARAMS_AT_ONCE):
            self._client.log_batch(mlflow_run, params=some)
        for some in _parts(metrics, METRICS_AT_ONCE):
            self._client.log_batch(mlflow_run, metrics=some)
        for name, text in self._files():
            self._client.log_text(mlflow_run, text, name)
        return len(metrics), len(params)

    def _params(self) -> Iterator[tuple[str, object]]:
        """All settings but the packages, which are a file."""
        for key, value in settings(self._run).items():
            if not key.startswith("package "):
                yield key, value

    def _metrics(self) -> Iterator[tuple[str, float, int, int]]:
        run, end_ms = self._run, _ms(self._run.ended_unix_s)
        for curve in run.metrics:
            for point in curve.points:
                at_ms = int(point.unix_s * 1000) or end_ms
                step = min(max(round(point.step), -MAX_SERIAL), MAX_SERIAL)
                yield _plain(curve.name), point.value, at_ms, step
        of_all = {"energy_kwh": run.energy_kwh, "gpu_hours": run.gpu_hours, "run_s": run.run_s}
        for name, value in of_all.items():
            yield f"wattline.{name}", value, end_ms, 0

    def _files(self) -> Iterator[tuple[str, str]]:
        run = self._run
        yield "wattline/record.json", msgspec.json.format(msgspec.json.encode(run)).decode()
        if run.packages is not None:
            yield "wattline/requirements.txt", "".join(f"{line}\n" for line in run.packages.names)
        if run.code is not None and run.code.diff:
            yield "wattline/changes.diff", run.code.diff


_STATUS = {"CANCELLED": "KILLED", "PREEMPTED": "KILLED", "TIMEOUT": "KILLED"}


def _plain(name: str) -> str:
    """A name as MLflow takes it."""
    return _ODD.sub("_", name)[:250].strip() or "_"


def _ms(unix_s: float | None) -> int:
    return int((unix_s or 0.0) * 1000)


def _parts(rows: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
