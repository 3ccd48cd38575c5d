"""A run on a simulated site is exported to a real MLflow server. `make examples-heavy` runs it."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.node.simnode import wait_until
from support.programs.cli_site import CliSite
from support.programs.ports import free_ports

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(240),
    pytest.mark.skipif(find_spec("mlflow") is None, reason="MLflow is not installed"),
]

SECRET = "hunter2-value-of-a-variable"
PROGRAM = """
import sys, time
from wattline import task

task.parameters(lr=float(sys.argv[2]), seed=3)
for step in range(1, 301):
    task.metric(step=step, loss=1 / step)
time.sleep(2.5)
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A tracking server with a database and artifacts of its own."""
    port = free_ports(1)
    store = ("--backend-store-uri", f"sqlite:///{tmp_path}/mlflow.db")
    files = ("--artifacts-destination", str(tmp_path / "artifacts"))
    at = ("--host", "127.0.0.1", "--port", str(port), "--workers", "1")
    command = [sys.executable, "-m", "mlflow", "server", *store, *files, *at]
    with (tmp_path / "mlflow.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: answers(url), "MLflow answers", 120.0)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # and its workers
        process.wait(30)


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").is_success
    except httpx.TransportError:
        return False


def runs_there(url: str) -> list[dict[str, Any]]:
    found = httpx.get(f"{url}/api/2.0/mlflow/experiments/get-by-name?experiment_name=digits")
    wanted = {"experiment_ids": [found.json()["experiment"]["experiment_id"]]}
    rows: list[dict[str, Any]] = post(url, wanted).get("runs", [])
    return rows


def post(url: str, wanted: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = httpx.post(f"{url}/api/2.0/mlflow/runs/search", json=wanted).json()
    return found


def history(url: str, run: str, name: str) -> list[dict[str, Any]]:
    asked = f"run_id={run}&metric_key={name}"
    found = httpx.get(f"{url}/api/2.0/mlflow/metrics/get-history?{asked}").json()
    return found["metrics"]  # type: ignore[no-any-return]


def test_a_run_is_exported_once_and_no_value_of_a_variable_with_it(
    tmp_path: Path, server: str
) -> None:
    program = tmp_path / "train.py"
    program.write_text(PROGRAM)
    with CliSite(tmp_path) as site:
        site.start_node("n1", gpus=2)
        flags = ("--kind", "training", "--gpus", "1", "--name", "digits", "--env", f"T={SECRET}")
        job = site.submit(*flags, "--", sys.executable, str(program), "--lr", "0.5")
        site.until_state(job, "COMPLETED")
        done = json.loads(site.wattline("runs", "export", job, "--mlflow", server, "--json"))
        (run,) = runs_there(server)
        assert run["info"]["run_id"] == done["mlflow_run"]
        assert (run["info"]["status"], run["info"]["run_name"]) == ("FINISHED", f"digits {job}#1")
        params = {one["key"]: one["value"] for one in run["data"]["params"]}
        assert (params["option --lr"], params["parameter lr"]) == ("0.5", "0.5")
        assert params["env names"] == "T"
        loss = history(server, done["mlflow_run"], "loss")
        assert [(one["step"], one["value"]) for one in loss][::100] == [(1, 1.0)]
        assert loss[-1]["step"] == 300
        again = site.run("runs", "export", job, "--mlflow", server).stderr
        assert re.search(rf"run {job}#1 is there already: experiment digits, run \w+", again)
        logs = [log.read_bytes() for log in tmp_path.glob("*.log")]
        shown = [site.wattline("runs", "show", job, "--json"), site.wattline("runs")]
    database = (tmp_path / "mlflow.db").read_bytes()
    files = [path.read_bytes() for path in (tmp_path / "artifacts").rglob("*") if path.is_file()]
    assert len(files) >= 2
    with sqlite3.connect(next(tmp_path.rglob("wattline.db"))) as db:
        rows = db.execute("SELECT report, inventory FROM runs").fetchall()
    stored = [zlib.decompress(part) for row in rows for part in row]
    assert stored
    for data in (database, *files, *logs, *stored, *(text.encode() for text in shown)):
        assert SECRET.encode() not in data
