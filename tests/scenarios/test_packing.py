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
    assert {*get_args(FilterName), *STUCK, "window", "quota"} <= waits_said(stories)


REFUSED = """
no GPU is of type | the largest has | no GPU has a MIG device | no GPU is in MIG mode
every GPU is in MIG mode | wants a part of a GPU | GPUs per node; no node has more than
CPUs per node; no node has more than | of memory per node; no node has more than
such nodes; the site has | will not do: wants | no node has | nodes; the site has
even on an empty site at full budgets: | nodes would do, but no rack has
limits.cost would never act
deadline has passed | so it had to start by | its next window opens | there is no job
the quota of account green is used up until | and its reservation course ends
name another one, or none | would do (--time)
was to start only after its success | it never succeeds, it runs until it is cancelled
and the quota of queue night is 8 GPUs | for its GPUs, and the quota of
has left: 8 GPUs at a time | has left: 4 kW at a time
names no account of the hosts for eve | name the account that pays
exceeds the maximum of account course (50, normal) | lets jobs run 2h at most, and this has
lets jobs run 2h at most, and a service | jobs of this site have 2m to stop at most
this is 9 jobs, and the quota of account lab is | account lab has 7 jobs open
a user of this site may have 12 open
there is no queue | there is no account | there is no reservation | is for ben; you are
reservation course is for | reservation maint is for maintenance
"""
"""How a submission or an update is refused."""

WAITED = """
held until released | held: 3 tries in a row | waits for job | waits for its window
waits for its reservation | is over or was taken back | never starts as it is: its next window
never: | it never starts there as it is | may run until reservations close them
of its indices run
GPUs in use, it requests | booked, it requests | this month; | today; | need more than the rest
there is no queue gone any more | there is no account course any more
account shared is for ben, and this is a job of ada | the site file has no [tariff], so nothing
names no account of the hosts for ben | its keeper may not start tasks as other accounts
waits for state: | waits for gpus: | waits for cpus: | waits for memory:
waits for watts: | waits for cooling: | waits for reservation: | nodes found in one rack; waits for
nodes found; waits for watts | resources are reserved for job
waits for work of lower priority to end | to end in the quota of | reserved for others
may not start before | cannot be done by its deadline | not started by its deadline
its deadline, 2023-11-14 22:20 UTC, has passed | not in reservation course now
never heard | drained | draining | none is free | more free MIG
even with all running jobs removed | it depends on run times of jobs ahead of it | has no time limit
part of it is paused
"""
"""Why a job waits, or nobody can say until when."""


@pytest.mark.parametrize("text", re.split(r" \| |\n", f"{REFUSED.strip()}\n{WAITED.strip()}"))
def test_every_reason_is_told_in_a_scenario(text: str, stories: str) -> None:
    assert text in re.sub(r"\s+", " ", stories)
