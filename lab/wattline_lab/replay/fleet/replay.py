"""One fleet and the work of a trace under one policy."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from wattline_lab.replay.fleet.ask import Ask
from wattline_lab.replay.fleet.engine import Engine
from wattline_lab.replay.fleet.inventory import Host, read_hosts, site_of
from wattline_lab.replay.fleet.lines import BySubmission, ByTurn, Line
from wattline_lab.replay.fleet.machines import Machines
from wattline_lab.replay.fleet.mixing import Mixed, mixed
from wattline_lab.replay.fleet.result import FleetReport, report
from wattline_lab.replay.jobs.formats import (
    columns_of,
    is_chronus,
    is_philly,
    read_chronus,
    read_philly,
)
from wattline_lab.replay.jobs.trace import TraceJob, TraceUnreadable
from wattline_lab.replay.meter import DAY_S, Meter

_LINES: dict[str, Callable[[], Line]] = {
    "fifo": BySubmission,
    "backfill": BySubmission,
    "wattline": ByTurn,
}


def replay_fleet(ask: Ask, progress: Callable[[float], None]) -> FleetReport:
    """Raises TraceUnreadable."""
    hosts, jobs = read_hosts(ask.nodes), _read_jobs(ask.jobs)
    work = mixed(jobs, hosts, copies=ask.copies, days=ask.days, seed=ask.seed)
    if not work.asked:
        raise TraceUnreadable(f"{ask.jobs}: no job of the first {ask.days:g} days fits a node")
    return run(ask, hosts, work, progress)


def run(
    ask: Ask, hosts: Sequence[Host], work: Mixed, progress: Callable[[float], None]
) -> FleetReport:
    """All jobs to their ends."""
    machines = Machines(site_of(hosts, ask.budget), hosts)
    free: Counter[str] = Counter()
    for host in hosts:
        free[host.model] += host.gpus
    accounts = sorted({one.job.account for one in work.asked})
    meter = Meter(free, accounts, ask.days * DAY_S)
    engine = Engine(
        machines,
        _LINES[ask.policy](),
        meter,
        is_capped=ask.counted == "knee",
        passes_over=ask.policy != "fifo",
    )
    engine.run(work.asked, progress)
    return report(ask, machines, work, engine.ended, meter)


def _read_jobs(path: Path) -> list[TraceJob]:
    columns = columns_of(path)
    if is_philly(columns):
        return read_philly(path).jobs
    if is_chronus(columns):
        return read_chronus(path).jobs
    raise TraceUnreadable(f"{path}: neither Philly's log of 2017 nor a trace of Chronus")
