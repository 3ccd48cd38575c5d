"""Quota checks at submission, at update and while a job waits; daily and monthly use."""

from functools import partial

from wattline_protocol.ids import JobId, Now, UnixTime
from wattline_protocol.job.spec import WHOLE_GPU
from wattline_protocol.site.model import Quota
from wattline_protocol.text.wording import digits, usd
from wattline_protocol.views.account_views import MAX_NAMED, QuotaLimit
from wattline_scheduler.core.admission.planner_view import snapshot
from wattline_scheduler.core.admission.satisfiability import whole_site
from wattline_scheduler.core.model.devices import held_infos
from wattline_scheduler.core.model.jobs.job import Attempt, Job
from wattline_scheduler.core.model.queue.job_class import ClassKey, JobClass
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.model.usage.quota_book import QuotaState
from wattline_scheduler.core.model.usage.usage_ledger import Key, QuotaReport
from wattline_scheduler.plan.model.columns import Columns
from wattline_scheduler.plan.model.shape import Shape
from wattline_scheduler.plan.model.snapshot import QuotaHeadroom
from wattline_scheduler.plan.model.task_request import ask_of
from wattline_scheduler.plan.search.quota_headroom import (
    Held,
    LeastHeld,
    exceeded,
    lacks,
    quota_gpus,
    quota_watts,
    task_held,
)

# --- concurrent use -----------------------------------------------------------------------


def count(state: State, attempt: Attempt) -> None:
    """Counts the GPUs of an attempt in the quotas of its job."""
    job = attempt.gang.job
    attempt.quotas = state.work.quotas.of(job.account, job.spec.queue)
    if attempt.quotas:
        attempt.quota_milli, attempt.quota_mw = _held(state, attempt)
        held = attempt.quota_milli, attempt.quota_mw
        state.work.quotas.count(attempt.quotas, attempt.gang.key, *held)


def count_elsewhere(state: State, attempt: Attempt) -> None:
    """Moves the count after an update of its job's account or queue."""
    job = attempt.gang.job
    if attempt.quotas != state.work.quotas.of(job.account, job.spec.queue):
        discount(state, attempt)
        count(state, attempt)


def discount(state: State, attempt: Attempt) -> None:
    """Ends the count; its amounts stay in the attempt, for a query in progress (`frozen_view`)."""
    held = attempt.quota_milli, attempt.quota_mw
    state.work.quotas.discount(attempt.quotas, attempt.gang.key, *held)


# --- use per day and month ----------------------------------------------------------------


def tick_quotas(state: State, now: Now) -> None:
    """Updates daily energy and monthly cost from the ledger."""
    for number, one in enumerate(state.work.quotas.all):
        if not one.quota.energy_per_day_wh and not one.quota.cost_per_month_usd:
            continue
        was_closed, before = bool(one.closed), one.resets_unix_s
        _evaluate(state, one, now)
        if was_closed and not one.closed:
            state.wants_plan = True
        if one.resets_unix_s != before:
            _wake_jobs(state, number, now)
        _report(state, one, now)


def _wake_jobs(state: State, number: int, now: Now) -> None:
    """Wakes jobs with a deadline or a reservation when their quota is used up, or resets."""
    for job in state.work.jobs.values():
        is_dated = bool(job.spec.windows.deadline or job.spec.reservation)
        if (
            is_dated
            and not job.is_ended
            and number in state.work.quotas.of(job.account, job.spec.queue)
        ):
            state.work.timers.set(job.id, now.unix_s)


def _report(state: State, one: QuotaState, now: Now) -> None:
    """Reports once per day or month that it is used up, and then its reset; also across restarts.

    After a restart the use of live tries is briefly unknown: a quota is not reported open then.
    """
    ledger, periods = state.ledger, _periods(state, one.quota, now)
    before = ledger.last_report(one.key)
    valid = before if before in periods.values() else None
    current = periods[one.closed_by] if one.closed_by is not None else None
    if current is not None and (valid is None or current.until_unix_s > valid.until_unix_s):
        state.journal.save(ledger.record_report(one.key, current, now.unix_s))
        state.journal.note("quota_used_up", one.closed, now, level="warning")
    elif before is not None and valid is None:
        state.journal.save(ledger.record_report(one.key, None, now.unix_s))
        state.journal.note("quota_open", f"the quota of {one.name} was reset", now)


def _periods(state: State, quota: Quota, now: Now) -> dict[QuotaLimit, QuotaReport]:
    """Valid reports for this day and month; those of another period or quota are void."""
    day, month = state.calendar.day(now.unix_s), state.calendar.month(now.unix_s)
    return {
        "usd_per_month": QuotaReport(month.end_unix_s, quota.cost_per_month_usd),
        "kwh_per_day": QuotaReport(day.end_unix_s, quota.energy_per_day_wh),
    }


def _evaluate(state: State, one: QuotaState, now: Now) -> None:
    ledger, tariff, calendar = state.ledger, state.site.tariff, state.calendar
    quota, unix_s = one.quota, now.unix_s
    one.used_wh = 1000 * sum(ledger.kwh_today(key, unix_s) for key in one.names)
    one.used_usd = sum(ledger.usd_this_month(key, tariff, unix_s) for key in one.names)
    one.closed, one.closed_by, one.resets_unix_s = "", None, None
    if quota.cost_per_month_usd and one.used_usd >= quota.cost_per_month_usd:
        used = f"used {usd(one.used_usd)} of {usd(quota.cost_per_month_usd)} this month"
        one.closed_by = "usd_per_month"
        _close(state, one, used, calendar.month(unix_s).end_unix_s)
    elif quota.energy_per_day_wh and one.used_wh >= quota.energy_per_day_wh:
        most_kwh = quota.energy_per_day_wh / 1000
        used = f"used {digits(one.used_wh / 1000)} of {digits(most_kwh)} kWh today"
        one.closed_by = "kwh_per_day"
        _close(state, one, used, calendar.day(unix_s).end_unix_s)


def _close(state: State, one: QuotaState, used: str, until: UnixTime) -> None:
    one.resets_unix_s = until
    one.closed = f"quota exceeded: {one.name} {used}; resets {state.calendar.text(until)}"


# --- jobs that wait for quotas ------------------------------------------------------------


def waits_for(state: State, key: ClassKey, now: Now) -> tuple[str, UnixTime | None]:
    """Text about the first quota that blocks such a job ("" = none), and the time when its used-up
    quotas reset (None = none is used up)."""
    refusing = _refusing(state, key, _least(snapshot(state, now).columns))
    if refusing is None:
        return "", None
    one, _, wants = refusing
    used_up = state.work.quotas.used_up(key.account, key.queue)
    until = None if used_up is None else used_up.until_unix_s
    return one.closed or lacks(one.headroom(), wants), until


class QuotaWaiters:
    """Jobs blocked by one limit of a quota."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[JobId] = []
        """The oldest of them."""

    def add(self, job_class: JobClass) -> None:
        """Adds all jobs of a class."""
        self.count += len(job_class.entries)
        oldest = (job for _, job in job_class.entries[:MAX_NAMED])
        self.first = sorted([*self.first, *oldest])[:MAX_NAMED]


def waiters(state: State, now: Now) -> dict[tuple[Key, QuotaLimit], QuotaWaiters]:
    """Blocked jobs per quota limit; each counts at the quota named in its wait reason."""
    found: dict[tuple[Key, QuotaLimit], QuotaWaiters] = {}
    if not state.work.quotas.all:
        return found
    least = _least(snapshot(state, now).columns)
    for job_class in state.work.queue.classes.values():
        refusing = _refusing(state, job_class.key, least)
        if refusing is not None:
            one, limit, _ = refusing
            found.setdefault((one.key, limit), QuotaWaiters()).add(job_class)
    return found


def _refusing(
    state: State, key: ClassKey, least: LeastHeld
) -> tuple[QuotaState, QuotaLimit, Held] | None:
    """The first quota that such a job exceeds, the limit it exceeds, and its demand."""
    numbers = state.work.quotas.of(key.account, key.queue)
    wants = least.of(key.shape) if numbers else Held(0, 0)
    for number in numbers:
        one = state.work.quotas.all[number]
        limit = one.closed_by or exceeded(one.headroom(), wants)
        if limit is not None:
            return one, limit, wants
    return None


def _least(columns: Columns) -> LeastHeld:
    """Demands of gangs in quotas, over all known GPUs."""
    return LeastHeld(columns, partial(ask_of, classes=columns.classes))


def never_fits(state: State, account: str, queue: str, shape: Shape, now: Now) -> str:
    """Reason why no gang of it fits its quotas, even unused; empty = one fits."""
    numbers = state.work.quotas.of(account, queue)
    if not numbers:
        return ""
    least = _least(whole_site(state, now).columns).of(shape)
    for number in numbers:
        one = state.work.quotas.all[number]
        quota, most_milli = one.quota, one.quota.gpus * WHOLE_GPU
        if most_milli and least.milli > most_milli:
            most = f"{quota_gpus(most_milli)} at a time"
            return f"requests {quota_gpus(least.milli)}, the quota of {one.name} is {most}"
        if quota.power_mw and least.mw > quota.power_mw:
            most = f"{quota_watts(quota.power_mw)} at a time"
            wants = f"requests {quota_watts(least.mw)} for its GPUs"
            return f"{wants}, the quota of {one.name} is {most}"
    return ""


# --- running work moved to other quotas ---------------------------------------------------


def would_break(state: State, job: Job, account: str, queue: str) -> str:
    """Reason why running gangs would exceed the quotas there; empty = they would not."""
    live = [attempt for gang in job.gangs for attempt in gang.live]
    held = [_held(state, attempt) for attempt in live]
    all_held = Held(sum(one.milli for one in held), sum(one.mw for one in held))
    before = state.work.quotas.of(job.account, job.spec.queue)
    for number in state.work.quotas.of(account, queue):
        left = state.work.quotas.all[number].headroom()
        limit = exceeded(left, all_held) if number not in before else None
        if limit is not None:
            return f"job {job.id} uses {_overuse_text(left, limit, all_held)}"
    return ""


def _overuse_text(left: QuotaHeadroom, limit: QuotaLimit, held: Held) -> str:
    if limit == "gpus":
        has, most, used = map(quota_gpus, (held.milli, left.most_milli, left.used_milli))
        most = f"{most} at a time, {used} in use"
    else:
        has, most, used = map(quota_watts, (held.mw, left.most_mw, left.used_mw))
        most = f"{most} at a time, {used} booked"
    return f"{has}, more than the quota of {left.name} has left: {most}"


def _held(state: State, attempt: Attempt) -> Held:
    """Demand of an attempt in quotas; GPUs count even when their node has lost them."""
    node, shape = state.nodes[attempt.node], attempt.gang.job.shape
    mw = task_held(held_infos(node, attempt), shape, node.site.psu_efficiency_permille).mw
    return Held(len(attempt.record.gpus) * attempt.gpu_milli, mw)
