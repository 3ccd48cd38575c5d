"""Small fleets whose schedule can be worked out by hand."""

from pathlib import Path

import pytest

from wattline_lab.replay.fleet.ask import Ask
from wattline_lab.replay.fleet.engine import NeverFits
from wattline_lab.replay.fleet.inventory import Host
from wattline_lab.replay.fleet.mixing import Asked, Mixed, split
from wattline_lab.replay.fleet.replay import run
from wattline_lab.replay.fleet.result import FleetReport
from wattline_lab.replay.jobs.trace import TraceJob
from wattline_scheduler.power.demand.models import curve

A100 = "A100-SXM4-80GB"
TWO_HOSTS = [Host("a", A100, 8, 128), Host("b", A100, 8, 128)]
HOUR_S = 3600.0


def asked(number: int, gpus: int, submit_s: float, runs_s: float, account: str = "x") -> Asked:
    job = TraceJob(number, gpus, submit_s, runs_s, 1.0, "vgg16", account, submit_s + 2 * runs_s)
    return Asked(job, A100, *split(gpus))


def replayed(
    policy: str, *jobs: Asked, hosts: int = 1, budget: float = 1.0, admission: str = ""
) -> FleetReport:
    ask = Ask(Path(), Path(), policy, budget, admission, copies=1, days=HOUR_S / 86_400)
    return run(ask, TWO_HOSTS[:hosts], Mixed(list(jobs), 0), lambda _: None)


QUEUE = asked(1, 5, 0.0, 1200.0), asked(2, 8, 60.0, 600.0), asked(3, 3, 60.0, 600.0)


@pytest.mark.parametrize(
    ("policy", "waits_s", "misses"), [("fifo", (0, 1140, 1740), 2), ("backfill", (0, 1140, 0), 1)]
)
def test_backfill_passes_over_whom_fifo_waits_for(
    policy: str, waits_s: tuple[int, ...], misses: int
) -> None:
    found = replayed(policy, *QUEUE)
    assert found.wait_s_mean == round(sum(waits_s) / 3, 1)
    assert found.deadline_misses == misses
    assert found.deadlines == 3


def test_work_counted_at_its_tdp_waits_for_watts_and_strands_gpus() -> None:
    found = replayed("fifo", asked(1, 8, 0, 600), asked(2, 8, 0, 600), hosts=2, budget=0.7)
    assert found.jct_s.p99 == 1200.0
    assert found.makespan_s == 1200.0
    assert found.stranded_gpus == 4.0, "half of the GPUs for half of the time"
    assert found.stranded_kw > 0.0
    assert found.utilisation == 0.5


def test_work_counted_at_its_knee_shares_the_watts_and_is_slower() -> None:
    jobs = asked(1, 8, 0, 600), asked(2, 8, 0, 600)
    found = replayed("wattline", *jobs, hosts=2, budget=0.7)
    slowest = curve("NVIDIA A100-SXM4-80GB", "training_hot").performance(0.69 * 400, 340)
    assert found.stranded_gpus == 0.0
    assert 600.0 < found.jct_s.p99 <= 600.0 / slowest
    assert found.work_share < found.utilisation


def test_caps_cost_nothing_where_watts_suffice() -> None:
    jobs = asked(1, 8, 0, 600), asked(2, 8, 0, 600)
    found = replayed("wattline", *jobs, hosts=2, budget=1.0)
    assert found.jct_s.mean == pytest.approx(600.0, abs=60.0)
    assert found.wait_s_mean == pytest.approx(0.0, abs=60.0)


def test_an_account_that_holds_all_while_another_waits_has_half_too_much() -> None:
    jobs = asked(1, 8, 0, 1800, "greedy"), asked(2, 8, 0, 1800, "late")
    found = replayed("fifo", *jobs)
    assert found.share_error_pct.max == pytest.approx(25.0, abs=0.1), "half of half the time"


def test_a_gang_on_two_nodes_takes_both() -> None:
    found = replayed("backfill", asked(1, 16, 0, 600), asked(2, 1, 0, 600), hosts=2)
    assert found.jct_s.p99 == 1200.0


def test_work_that_never_fits_is_said() -> None:
    with pytest.raises(NeverFits, match="1 jobs wait for watts that the budget never has"):
        replayed("backfill", asked(1, 16, 0, 600), hosts=2, budget=0.5)
