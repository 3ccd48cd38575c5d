"""Feeds the usage ledger with the use of tries, and orders the accounts by it."""

from wattline_protocol.ids import Now, UnixTime
from wattline_protocol.wire.agent_messages import TaskUsage
from wattline_scheduler.core.admission.quota_checks import tick_quotas
from wattline_scheduler.core.model.jobs.job import Attempt
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.model.usage.usage_ledger import Key, UsageSpan

FOLLOW_GAP_S_PER_TRY = 0.000_3
"""Time between two sums over live tries, per try: about one percent of the time is spent on it."""


def keys_of(attempt: Attempt) -> tuple[Key, ...]:
    """Ledger keys of its account and queue."""
    job = attempt.gang.job
    return ("account", job.account), ("queue", job.spec.queue)


def note_end(state: State, attempt: Attempt, usage: TaskUsage, now: Now) -> None:
    """Records its final use, or more of it; saved together with the end of the try."""
    if usage.gpu_s <= 0 and usage.node_energy_mj <= 0:
        return
    for record in state.ledger.end(_interval(attempt, usage, now), now.unix_s):
        state.journal.save(record)


def within(reported_unix_s: float, since_unix_s: float, now: Now) -> UnixTime:
    """Clamps a time reported by an agent, since clocks may be wrong: not in the future, and not
    before the preceding event, where the scheduler's own clock was set back."""
    return UnixTime(max(since_unix_s, min(reported_unix_s, now.unix_s)))


def _interval(attempt: Attempt, usage: TaskUsage, now: Now) -> UsageSpan:
    """Clamped, since agents' clocks may be wrong: no use before its placement, or in the future."""
    record = attempt.record
    end_unix_s = min(now.unix_s, record.ended_unix_s or now.unix_s)
    start_unix_s = min(end_unix_s, max(record.placed_unix_s, record.started_unix_s or 0.0))
    return UsageSpan(keys_of(attempt), usage, start_unix_s, end_unix_s)


def tick_shares(state: State, now: Now) -> None:
    """Sums up use and orders the accounts: once a heartbeat, on large sites less often."""
    work, ledger = state.work, state.ledger
    gap_s = FOLLOW_GAP_S_PER_TRY * len(work.live)
    if state.shares_at is not None and now.mono_s - state.shares_at < gap_s:
        return
    state.shares_at = now.mono_s
    intervals = (_interval(attempt, attempt.usage, now) for attempt in work.live.values())
    ledger.update_live(intervals, now.unix_s)
    waiting = (job_class.key.account for job_class in work.queue.classes.values())
    accounts = dict.fromkeys((*ledger.names("account"), *waiting))
    work.queue.order.note({name: ledger.use(("account", name), now.unix_s) for name in accounts})
    tick_quotas(state, now)
