"""Scenario tables of packing: a site and a queue → who runs where, and why others wait.

What came of each is stored beside it. `make bless` stores what comes of them now: read the
difference in review, it is what users would see.
"""

import re
import time
from pathlib import Path
from typing import get_args

import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

from support.core.scenario import played, waits_said
from wattline_scheduler.core.explain.job_explanation import STUCK
from wattline_scheduler.plan.model.snapshot import FilterName

HERE = Path(__file__).parent / "packing"
SCENARIOS = sorted(HERE.glob("*.toml"))


class Stories(SingleFileSnapshotExtension):
    """One text file a scenario."""

    _write_mode = WriteMode.TEXT
    _file_extension = "txt"


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clock times do not depend on the machine."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenario(path: Path, snapshot: SnapshotAssertion) -> None:
    assert played(path) == snapshot(extension_class=Stories)


@pytest.fixture(scope="module")
def stories() -> str:
    """As they are stored; that they are true is what `test_scenario` tests."""
    stored = sorted((HERE.parent / "__snapshots__" / "test_packing").glob("*.txt"))
    assert len(stored) == len(SCENARIOS)
    return "\n".join(path.read_text() for path in stored)


def test_every_filter_and_gate_refuses_somebody_in_a_scenario(stories: str) -> None:
    gates = {*STUCK, "window", "quota"} - {"idle"}  # only the scaler of a service closes that
    assert {*get_args(FilterName), *gates} <= waits_said(stories)


REFUSED = """
no GPU is of type | the largest has | no GPU has a MIG device | no GPU is in MIG mode
every GPU is in MIG mode | requests a share of a GPU | GPUs per node; no node has more than
CPUs per node; no node has more than | of memory per node; no node has more than
such nodes; the site has | is not sufficient: requests | no node has | nodes; the site has
even on an empty site at full budgets: | nodes suitable, but no rack has
limits.cost cannot be enforced
deadline has passed | it had to start by | its next start window opens | there is no job
the quota of account green is used up until | and its reservation course ends
name another one, or none | would do (--time)
requires its success (after_ok) | runs until it is cancelled and never succeeds
the quota of queue night is 8 GPUs | for its GPUs, the quota of
has left: 8 GPUs at a time | has left: 4 kW at a time
maps eve to no host account | must name an account (--account)
exceeds the maximum of account course (50, normal) | is 2h, this job has
is 2h; a service | the site's maximum is 2m (max_grace)
requests 9 open jobs, the quota of account lab is | account lab has 7 open jobs
the maximum per user is 12 (open_jobs_per_user)
there is no queue | there is no account | there is no reservation | is for ben; you are
reservation course is for | reservation maint is for maintenance
"""
"""How a submission or an update is refused."""

WAITED = """
held until released | held: 3 attempts in a row | waits for job | waits for its start window
waits for its reservation | has ended or was cancelled | can never start: its next start window
never: | it can never start there | may run until the nodes are reserved
of its indices run
GPUs in use, it requests | booked, it requests | this month; | today; | need more than is left
the site file no longer has queue gone | the site file no longer has account course
account shared is for ben, not for ada | cannot be enforced: the site file has no [tariff]
maps ben to no host account | its keeper cannot start tasks as other accounts
waits for an available node: | waits for gpus: | waits for cpus: | waits for memory:
waits for watts: | waits for cooling: | waits for reservation: | nodes found in one rack; waits for
nodes found; waits for watts | resources are reserved for job
waits for work of lower priority to end | to end in the quota of | reserved for others
is not expected to start before | cannot end by its deadline | not started by its deadline
its deadline (2023-11-14 22:20 UTC) has passed | not in reservation course
never heard | drained | draining | none is free | more free MIG
even with all running jobs removed | it depends on run times of jobs ahead of it | has no time limit
part of it is paused
"""
"""Why a job waits, or nobody can say until when."""


@pytest.mark.parametrize("text", re.split(r" \| |\n", f"{REFUSED.strip()}\n{WAITED.strip()}"))
def test_every_reason_is_told_in_a_scenario(text: str, stories: str) -> None:
    assert text in re.sub(r"\s+", " ", stories)
