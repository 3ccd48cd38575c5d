"""Accounts view: shares, usage, running and queued jobs, and quotas."""

from collections import Counter
from collections.abc import Iterator

import msgspec

from wattline_protocol.ids import Now
from wattline_protocol.job.spec import WHOLE_GPU
from wattline_protocol.views.account_views import AccountView, QuotaView
from wattline_protocol.wire.client_messages import MAX_LISTED, Accounts
from wattline_scheduler.core.admission.quota_checks import QuotaWaiters, waiters
from wattline_scheduler.core.model.jobs.job import Job
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.model.usage.quota_book import QuotaState
from wattline_scheduler.plan.learning.fairshare import Level, Standing


def account_views(state: State, now: Now) -> Accounts:
    """Accounts named in the site file, with recent usage, or with jobs, in fair-share order."""
    order, milli = state.work.queue.order, Counter[str]()
    queued, running = Counter[str](), dict[str, set[Job]]()
    for job_class in state.work.queue.classes.values():
        for name in _with_those_above(state, job_class.key.account):
            queued[name] += len(job_class.entries)
    for attempt in state.work.live.values():
        job = attempt.gang.job
        for name in _with_those_above(state, job.account):
            milli[name] += len(attempt.record.gpus) * attempt.gpu_milli
            running.setdefault(name, set()).add(job)
    known = order.standings()
    known |= {name: order.standing(name) for name in (*queued, *running) if name not in known}
    parents = {account.name: account.parent for account in state.site.accounts}
    ranked = sorted(known.items(), key=lambda one: _turn(state, one[0], one[1].level))
    views = tuple(
        _view(name, parents.get(name), standing, milli[name] / WHOLE_GPU, queued[name], len(jobs))
        for name, standing in ranked[:MAX_LISTED]
        for jobs in [running.get(name, set())]
    )
    return Accounts(views, state.site.fair_share.half_life_s, tuple(_quotas(state, now)))


def _with_those_above(state: State, account: str) -> list[str]:
    """The account and its ancestors; an account missing from the site file has no ancestors."""
    return state.work.quotas.accounts_above(account) or [account]


def _quotas(state: State, now: Now) -> Iterator[QuotaView]:
    """One view per limit, with the jobs that wait for it."""
    waiting, none = waiters(state, now), QuotaWaiters()
    for one in state.work.quotas.all:
        for view in _limits(state, one, now):
            jobs = waiting.get((one.key, view.what), none)
            yield msgspec.structs.replace(view, waiting=jobs.count, first_waiting=tuple(jobs.first))


def _limits(state: State, one: QuotaState, now: Now) -> Iterator[QuotaView]:
    quota, (kind, name) = one.quota, one.key
    if quota.gpus:
        yield QuotaView(kind, name, "gpus", quota.gpus, one.held_milli / WHOLE_GPU)
    if quota.power_mw:
        yield QuotaView(kind, name, "power_w", quota.power_mw / 1000, one.held_mw / 1000)
    if quota.open_jobs:
        yield QuotaView(kind, name, "open_jobs", quota.open_jobs, one.open_jobs)
    if quota.energy_per_day_wh:
        limit, used = quota.energy_per_day_wh / 1000, one.used_wh / 1000
        resets = state.calendar.day(now.unix_s).end_unix_s
        yield QuotaView(kind, name, "kwh_per_day", limit, used, resets)
    if quota.cost_per_month_usd:
        limit, resets = quota.cost_per_month_usd, state.calendar.month(now.unix_s).end_unix_s
        yield QuotaView(kind, name, "usd_per_month", limit, one.used_usd, resets)


def _turn(state: State, name: str, level: Level) -> tuple[tuple[int, str], ...]:
    """Sort key: an account precedes its descendants, whatever the level of its own jobs; one step
    per account from the root down."""
    path = _with_those_above(state, name)[::-1]
    return tuple(zip(level, path, strict=False))  # ends with the account's own jobs


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
