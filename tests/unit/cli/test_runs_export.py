"""Export to MLflow: all of a run or nothing, once, in names that MLflow takes. What MLflow itself
makes of it is in tests/e2e/test_mlflow_export.py."""

import sys
from collections.abc import Sequence
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import msgspec
import pytest

from wattline.failures import ActFailed
from wattline.runs.export import MAX_VALUE_CHARS, METRICS_AT_ONCE, export_run
from wattline.runs.run import Run
from wattline_protocol.wire.task_reports.run_records import Code, Curve, Packages, Point

POINTS = tuple(Point(step + 0.5, 1 / (step + 1), 1_000.0 + step) for step in range(129))
RUN = Run(
    run="17#1",
    job=17,
    attempt=1,
    index=None,
    name="digits",
    kind="training",
    owner="ada",
    state="TIMEOUT",
    nodes=("n1",),
    started_unix_s=1_000.0,
    ended_unix_s=1_100.0,
    run_s=100.0,
    command=("python", "x" * 9_000),
    options={"--lr": "0.1"},
    env_names=("TOKEN",),
    workdir="/w",
    parameters={"a(b)=c": True},
    seeds={},
    code=Code("c0ffee", diff="+x", diff_bytes=2),
    packages=Packages("/p", "3.12.1", "s", ("torch==2.6",), 1),
    gpu_count=1,
    gpu_models=(),
    gpu_hours=0.1,
    energy_kwh=0.2,
    mean_cap_w=None,
    cap_bound_gpu_s=0.0,
    metrics=tuple(Curve(f"m[{n}]", 129, 0.0, 1.0, POINTS) for n in range(20)),
)


class Row(NamedTuple):
    """A metric or a parameter."""

    key: str
    value: Any
    timestamp: int = 0
    step: int = 0


class Mlflow:
    """The calls of MLflow's client that an export makes."""

    def __init__(self, fails_at: str = "") -> None:
        self.runs: list[dict[str, Any]] = []
        self.batches: list[dict[str, Sequence[Row]]] = []
        self.files: dict[str, str] = {}
        self.ended: list[tuple[str, int]] = []
        self._fails_at = fails_at

    def get_experiment_by_name(self, name: str) -> None:
        self.experiment = name

    def create_experiment(self, name: str) -> str:
        return f"number of {name}"

    def search_runs(self, numbers: list[str], wanted: str, max_results: int) -> list[Any]:
        del numbers, max_results
        known = (one for one in self.runs if f"'{one['tags']['wattline.run']}'" in wanted)
        return [SimpleNamespace(info=SimpleNamespace(run_id="r1")) for _ in known]

    def create_run(self, number: str, **values: Any) -> Any:
        self.runs.append({"number": number, **values})
        return SimpleNamespace(info=SimpleNamespace(run_id="r1"))

    def log_batch(self, run: str, **rows: Sequence[Row]) -> None:
        del run
        self.batches.append(rows)

    def log_text(self, run: str, text: str, name: str) -> None:
        del run
        if name.endswith(self._fails_at or "never"):
            raise ConnectionError("the server has gone away")
        self.files[name] = text

    def delete_run(self, run: str) -> None:
        del run
        self.runs.pop()

    def set_terminated(self, run: str, status: str, at_ms: int) -> None:
        self.ended.append((status, at_ms))
        print(f"View run {run} at …")


def installed(monkeypatch: pytest.MonkeyPatch, client: Mlflow) -> None:
    module, entities = ModuleType("mlflow"), ModuleType("mlflow.entities")
    module.MlflowClient = lambda tracking_uri: client  # type: ignore[attr-defined]
    entities.Metric = entities.Param = Row  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)


def test_a_run_is_written_in_bounded_batches_and_names_and_only_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    there = Mlflow()
    installed(monkeypatch, there)
    done = export_run(RUN, "http://127.0.0.1:1", "digits", "lab")
    rows = [row for batch in there.batches for some in batch.values() for row in some]
    metrics = [row for batch in there.batches for row in batch.get("metrics", ())]
    assert (done.metrics, done.mlflow_run) == (len(metrics), "r1")
    assert len(metrics) == 20 * 129 + 3
    assert max(len(some) for batch in there.batches for some in batch.values()) == METRICS_AT_ONCE
    assert {row.key for row in rows} >= {"m_0_", "parameter a_b__c", "option --lr", "env names"}
    assert max(len(str(row.value)) for row in rows) == MAX_VALUE_CHARS
    assert metrics[128] == Row("m_0_", 1 / 129, 1_128_000, 128)
    assert sorted(there.files) == [
        "wattline/changes.diff",
        "wattline/record.json",
        "wattline/requirements.txt",
    ]
    assert msgspec.json.decode(there.files["wattline/record.json"], type=Run) == RUN
    assert there.ended == [("KILLED", 1_100_000)]
    assert capsys.readouterr().out == "", "--json prints JSON and nothing else"
    with pytest.raises(ActFailed, match="run 17#1 is there already: experiment digits, run r1"):
        export_run(RUN, "http://127.0.0.1:1", "digits", "lab")


def test_an_export_that_fails_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    there = Mlflow(fails_at="requirements.txt")
    installed(monkeypatch, there)
    with pytest.raises(ActFailed, match="MLflow: the server has gone away"):
        export_run(RUN, "http://127.0.0.1:1", "digits", "lab")
    assert (there.runs, there.ended) == ([], [])


def test_without_mlflow_or_with_another_uri_it_says_what_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ActFailed, match=r"pip install 'wattline\[mlflow\]'"):
        export_run(RUN, "http://127.0.0.1:1", "digits", "lab")
    with pytest.raises(ActFailed, match=r"expected a URI as in http://127\.0\.0\.1:5000"):
        export_run(RUN, "localhost:5000", "digits", "lab")
