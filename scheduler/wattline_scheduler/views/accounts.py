"""Accounts as they are shown: shares, use, and what runs and waits."""

from collections import Counter

from wattline_protocol.job import WHOLE_GPU
from wattline_protocol.requests import MAX_LISTED, Accounts
from wattline_protocol.views import AccountView
from wattline_scheduler.core.jobs import Job
from wattline_scheduler.core.state import State
from wattline_scheduler.plan.fairshare import Standing


def account_views(state: State) -> Accounts:
    """Those of the site file and all that used anything lately or have jobs, first served first."""
    order, milli = state.work.queue.order, Counter[str]()
    queued, running = Counter[str](), dict[str, set[Job]]()
    for line in state.work.queue.lines.values():
        queued[line.key.account] += len(line.entries)
    for attempt in state.work.live.values():
        job = attempt.gang.job
        milli[job.account] += len(attempt.record.gpus) * attempt.gpu_milli
        running.setdefault(job.account, set()).add(job)
    for account in (*queued, *running):
        order.standing(account)
    parents = {account.name: account.parent for account in state.site.accounts}
    ranked = sorted(order.standings().items(), key=lambda item: (item[1].level, item[0]))
    views = tuple(
        _view(name, parents.get(name), standing, milli[name] / WHOLE_GPU, queued[name], len(jobs))
        for name, standing in ranked[:MAX_LISTED]
        for jobs in [running.get(name, set())]
    )
    return Accounts(views, state.site.fair_share.half_life_s)


def _view(
    name: str, parent: str | None, standing: Standing, gpus: float, queued: int, running: int
) -> AccountView:
    return AccountView(
        name=name,
        parent=parent,
        share=standing.share,
        used=standing.used,
        ratio=standing.ratio,
        gpu_hours=standing.use.gpu_hours,
        energy_kwh=standing.use.energy_kwh,
        gpus_running=gpus,
        jobs_running=running,
        jobs_queued=queued,
    )
