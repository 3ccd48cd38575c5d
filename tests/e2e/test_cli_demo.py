"""The demo itself: the main job of the whole system, with its faults, in three minutes."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

KEYS = {
    "ok": None,
    "jobs": "name kind state attempts gpu_hours energy_kwh cost_usd verdict",
    "training": "accuracy world_size",
    "inference": "requests errors p50_ms p95_ms",
    "domains": "name kind budget_w peak_committed_w peak_measured_w seconds_over_budget",
    "cap_bound_gpu_s": None,
    "shed": "requested_fraction acknowledged_s seconds_over_after",
    "faults": "agent_kill_readopted scheduler_kill_lost_jobs scheduler_kill_double_runs",
    "simulated": None,
}


def test_demo_keeps_every_promise(tmp_path: Path) -> None:
    file, folder = tmp_path / "report.json", tmp_path / "demo"
    command = [sys.executable, "-m", "wattline", "demo", "--headless"]
    done = subprocess.run(
        [*command, "--json", str(file), "--keep", str(folder)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    report = json.loads(file.read_text())
    assert report["ok"]
    assert report["simulated"]
    _check_keys(report)
    _check_values(report)
    assert not _processes_of(folder)


SHORT_BURST = """
import sys
from pathlib import Path
from wattline.demo.burst.demo import Burst
from wattline.demo.run import run_demo

class Short(Burst):
    steady_s, burst_s = 1.0, 15.0

root = Path(sys.argv[1])
sys.exit(run_demo(Short, with_terminal=False, json_file=root / "report.json", keep=root / "demo"))
"""


def test_a_burst_raises_caps_then_starts_a_replica_on_the_gpus_of_training_that_resumes(
    tmp_path: Path,
) -> None:
    """When each happens is for the demo itself to judge: this machine may be busy."""
    done = subprocess.run(
        [sys.executable, "-c", SHORT_BURST, str(tmp_path)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    report = json.loads((tmp_path / "report.json").read_text())
    output = done.stdout[-6000:] + done.stderr[-3000:]
    assert done.returncode == (0 if report["ok"] else 1), output
    assert report["simulated"]
    caps, replica, training = report["caps"], report["replica"], report["training"]
    assert 200 <= caps["before_w"] < caps["after_w"], output
    assert 0 <= caps["raised_s"] <= replica["started_s"] < replica["ready_s"], output
    assert training["reached_epoch"] <= training["saved_epoch"] == training["resumed_epoch"], output
    assert training["saved_epoch"] < training["later_epoch"], output
    assert [row["what"] for row in report["spans"]] == ["before", "scaling", "after"]
    assert all(row["requests"] > 0 and row["failed"] == 0 for row in report["spans"]), output
    assert not _processes_of(tmp_path / "demo")


def _check_keys(report: dict[str, Any]) -> None:
    assert list(report) == list(KEYS)
    for key, names in KEYS.items():
        rows = report[key] if isinstance(report[key], list) else [report[key]]
        assert names is None or all(list(row) == names.split() for row in rows)


def _check_values(values: dict[str, Any]) -> None:
    assert [job["state"] for job in values["jobs"]] == ["COMPLETED", "COMPLETED", "CANCELLED"]
    assert values["training"]["accuracy"] > 0.9
    assert values["training"]["world_size"] == 2
    assert values["inference"]["requests"] >= 500
    assert values["inference"]["errors"] == 0
    assert values["cap_bound_gpu_s"] > 0
    assert values["shed"]["requested_fraction"] == 0.25
    assert values["shed"]["acknowledged_s"] >= 0
    assert {domain["kind"] for domain in values["domains"]} == {"power", "cooling"}
    for domain in values["domains"]:
        assert domain["seconds_over_budget"] == 0
        assert domain["peak_committed_w"] <= domain["budget_w"]
    assert values["faults"] == {
        "agent_kill_readopted": True,
        "scheduler_kill_lost_jobs": 0,
        "scheduler_kill_double_runs": 0,
    }


def _processes_of(folder: Path) -> list[str]:
    """Command lines of living processes that name the demo's folder."""
    lines = [p.info["cmdline"] or [] for p in psutil.process_iter(["cmdline"])]
    return [" ".join(line) for line in lines if any(str(folder) in word for word in line)]


def test_demo_that_is_stopped_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    command = [sys.executable, "-m", "wattline", "demo", "--headless", "--keep", str(folder)]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as demo:
        assert demo.stderr is not None
        reported = b""
        while b"Submitted sweep" not in reported:
            line = demo.stderr.readline()
            assert line, reported
            reported += line
        assert _processes_of(folder)
        demo.send_signal(signal.SIGTERM)
        demo.stderr.read()
        assert demo.wait(timeout=60) == 130
    assert not _processes_of(folder)
