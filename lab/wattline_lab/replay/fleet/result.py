"""What a replay of a fleet says."""

from collections.abc import Sequence

import msgspec

from wattline_lab.replay.fleet.ask import Ask
from wattline_lab.replay.fleet.machines import Machines
from wattline_lab.replay.fleet.mixing import Mixed
from wattline_lab.replay.fleet.speeds import Ended
from wattline_lab.replay.jobs.result import Jct, jct
from wattline_lab.replay.meter import Meter, ShareError, share_error

KILO = 1e6
"""Milliwatts in a kilowatt."""


class FleetReport(msgspec.Struct, frozen=True):
    """One fleet and its work under one policy. Means are over the days of submission."""

    policy: str
    admission: str
    """tdp: work counts its GPUs' maximum; knee: what it must keep, and the rest is lent."""
    budget: float
    """Share of the sum of TDP."""
    seed: int
    nodes: int
    gpus: int
    budget_kw: float
    """Of the site, at the wall, hosts included."""
    jobs: int
    accounts: int
    days: float
    asked_share: float
    """GPU time that was asked for in those days, over that of the fleet."""
    jct_s: Jct
    wait_s_mean: float
    utilisation: float
    """GPU time held, over that of the fleet."""
    work_share: float
    """The same, where a capped GPU counts for what it gets done."""
    stranded_gpus: float
    """Free although work of their model waits."""
    drawn_kw: float
    stranded_kw: float
    """Within the budget and not drawn although work waits."""
    deadlines: int
    deadline_misses: int
    share_error_pct: ShareError
    makespan_s: float
    left_out: int


def report(
    ask: Ask, machines: Machines, work: Mixed, ended: Sequence[Ended], meter: Meter
) -> FleetReport:
    """Of a run to the end of all work."""
    runs = [one.gang.run for one in ended]
    gpus = sum(len(machine.gpus) for machine in machines.all)
    span_s = max(meter.span_s, 1.0)
    fleet_gpu_s = gpus * span_s
    due = [run for run in runs if run.job.deadline_s is not None]
    return FleetReport(
        policy=ask.policy,
        admission=ask.counted,
        budget=ask.budget,
        seed=ask.seed,
        nodes=len(machines.all),
        gpus=gpus,
        budget_kw=round(machines.budget_mw() / KILO, 1),
        jobs=len(runs),
        accounts=len({run.job.account for run in runs}),
        days=ask.days,
        asked_share=round(sum(r.job.gpus * r.job.duration_s for r in runs) / fleet_gpu_s, 4),
        jct_s=jct(runs),
        wait_s_mean=round(sum(run.waited_s for run in runs) / len(runs), 1),
        utilisation=round(meter.held_gpu_s / fleet_gpu_s, 4),
        work_share=round(meter.work_gpu_s / fleet_gpu_s, 4),
        stranded_gpus=round(meter.stranded_gpu_s / span_s, 1),
        drawn_kw=round(meter.drawn_mw_s / span_s / KILO, 1),
        stranded_kw=round(meter.stranded_mw_s / span_s / KILO, 1),
        deadlines=len(due),
        deadline_misses=sum(run.end_s > (run.job.deadline_s or 0.0) for run in due),
        share_error_pct=share_error([meter]),
        makespan_s=round(max(run.end_s for run in runs), 1),
        left_out=work.left_out,
    )
