"""The ledger is kept: what tries used goes into it, and from it comes the order of accounts."""

from wattline_protocol.ids import Now, UnixTime
from wattline_protocol.wire.agent_messages import TaskUsage
from wattline_scheduler.core.admission.quota_checks import follow_quotas
from wattline_scheduler.core.model.jobs.job import Attempt
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.model.usage.usage_ledger import Key, Spell

FOLLOW_GAP_S_PER_TRY = 0.000_3
"""Between two times that live tries are added up: it takes about a hundredth of the time."""


def keys_of(attempt: Attempt) -> tuple[Key, ...]:
    """Whose its use is."""
    job = attempt.gang.job
    return ("account", job.account), ("queue", job.spec.queue)


def note_end(state: State, attempt: Attempt, usage: TaskUsage, now: Now) -> None:
    """What it used, or more of it, is all there is; on record with the end of the try itself."""
    if usage.gpu_s <= 0 and usage.node_energy_mj <= 0:
        return
    for record in state.ledger.end(_spell(attempt, usage, now)):
        state.journal.save(record)


def within(told_unix_s: float, since_unix_s: float, now: Now) -> UnixTime:
    """A time that an agent tells, whose clock may be wrong: not in the future, and not before what
    it follows, where the scheduler's own clock was set back."""
    return UnixTime(max(since_unix_s, min(told_unix_s, now.unix_s)))


def _spell(attempt: Attempt, usage: TaskUsage, now: Now) -> Spell:
    """Agents' clocks may be wrong: nothing was used before it was placed, or in the future."""
    record = attempt.record
    end_unix_s = min(now.unix_s, record.ended_unix_s or now.unix_s)
    start_unix_s = min(end_unix_s, max(record.placed_unix_s, record.started_unix_s or 0.0))
    return Spell(keys_of(attempt), usage, start_unix_s, end_unix_s)


def tick_shares(state: State, now: Now) -> None:
    """Once a beat, on large sites less often: add up what was used, and order the accounts."""
    work, ledger = state.work, state.ledger
    gap_s = FOLLOW_GAP_S_PER_TRY * len(work.live)
    if state.shares_at is not None and now.mono_s - state.shares_at < gap_s:
        return
    state.shares_at = now.mono_s
    spells = (_spell(attempt, attempt.usage, now) for attempt in work.live.values())
    ledger.follow(spells, now.unix_s)
    waiting = (line.key.account for line in work.queue.lines.values())
    accounts = dict.fromkeys((*ledger.names("account"), *waiting))
    work.queue.order.note({name: ledger.use(("account", name), now.unix_s) for name in accounts})
    follow_quotas(state, now)
