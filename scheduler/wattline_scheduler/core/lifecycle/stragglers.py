"""Ranks that slow their gang: found from the steps that its ranks report, named in an event.

A synchronous gang ends each step on all ranks at once, so only the time in which a rank does not
wait for others (`RankSteps.busy_s`) shows which one is slow.
"""

from collections.abc import Iterable, Mapping

from wattline_protocol.ids import Now
from wattline_protocol.job.ranks import gpus_of_rank, procs_per_node, rank_count, ranks_of
from wattline_protocol.views.training_views import CAUSE_TEXT
from wattline_protocol.wire.agent_messages import GpuSample
from wattline_scheduler.core.leases.gang_shares import balance_gang
from wattline_scheduler.core.lifecycle.straggler_rule import (
    SUSPECTED_S,
    cause_of,
    judged,
    slow_ranks,
    usual_of,
)
from wattline_scheduler.core.model.jobs.job import Attempt, Gang, Running
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.model.usage.rank_watch import (
    RankWatch,
    Straggler,
    signals_of,
    smoothed,
)

MAX_NAMED = 8
"""Ranks named in one event."""

AGAIN_AFTER_S = 300.0
"""A rank that was named is not named again for so long."""


def watch_ranks(state: State, node: NodeNow, samples: Iterable[GpuSample], now: Now) -> None:
    """Takes the steps of ranks on the node, after a heartbeat."""
    by_index: Mapping[int, GpuSample] | None = None
    for attempt in node.attempts.values():
        report, gang = attempt.report, attempt.gang
        if report is None or not report.ranks or not isinstance(gang.phase, Running):
            continue
        if rank_count(gang.job.spec) < 2 or gang.job.spec.kind == "service":
            continue
        by_index = by_index or {sample.index: sample for sample in samples}
        watch = _watch_of(gang)
        _take(watch, attempt, by_index)
        if gang.live[0] is attempt:
            _judge(state, gang, watch, now)


def _watch_of(gang: Gang) -> RankWatch:
    if gang.ranks is None or gang.ranks.attempt != gang.attempt:
        gang.ranks = RankWatch(gang.attempt)
    return gang.ranks


def _take(watch: RankWatch, attempt: Attempt, samples: Mapping[int, GpuSample]) -> None:
    """Ranks that its task does not have are ignored: a program may report any number."""
    spec, report = attempt.gang.job.spec, attempt.report
    for steps in report.ranks if report is not None else ():
        ranks = ranks_of(spec, attempt.record.task)
        if steps.rank not in ranks:
            continue
        watch.steps[steps.rank] = steps
        gpus = gpus_of_rank(spec, attempt.record.gpus, ranks.index(steps.rank))
        signals = signals_of([samples[index] for index in gpus if index in samples])
        if signals is not None:
            watch.signals[steps.rank] = smoothed(watch.signals.get(steps.rank), signals)


def _judge(state: State, gang: Gang, watch: RankWatch, now: Now) -> None:
    busy_s = judged(watch.steps, len(gang.live) * procs_per_node(gang.job.spec))
    factors = _lasting(watch, slow_ranks(busy_s, watch.slow), now)
    usual = usual_of([one for rank, one in watch.signals.items() if rank not in factors])
    found = {
        rank: Straggler(factor, cause_of(watch.signals.get(rank), usual))
        for rank, factor in factors.items()
    }
    new = {rank: one for rank, one in found.items() if rank not in watch.slow}
    watch.slow = found
    _note_new(state, gang, watch, new, now)
    balance_gang(state, gang, watch, busy_s, now)
    if over := [rank for rank in watch.named if rank not in found]:
        watch.named.difference_update(over)
        text = f"{gang.name}: {_ranks(over)} no longer slower than the others"
        state.journal.note("straggler_over", text, now, job=gang.job.id)


def _lasting(watch: RankWatch, factors: Mapping[int, float], now: Now) -> dict[int, float]:
    """Those that have been slower for some time."""
    watch.slow_since = {rank: watch.slow_since.get(rank, now.mono_s) for rank in factors}
    return {r: f for r, f in factors.items() if now.mono_s - watch.slow_since[r] >= SUSPECTED_S}


def _note_new(
    state: State, gang: Gang, watch: RankWatch, new: Mapping[int, Straggler], now: Now
) -> None:
    since = now.mono_s - AGAIN_AFTER_S
    due = {r: one for r, one in new.items() if watch.noted_at.get(r, since) <= since}
    if not due:
        return
    watch.noted_at |= dict.fromkeys(due, now.mono_s)
    watch.named.update(due)
    named = [slow_text(gang, rank, one) for rank, one in sorted(due.items())[:MAX_NAMED]]
    more = f"; and {len(due) - MAX_NAMED} more" if len(due) > MAX_NAMED else ""
    text = f"{gang.name}: {'; '.join(named)}{more}"
    state.journal.note("straggler", text, now, job=gang.job.id, level="warning")


def slow_text(gang: Gang, rank: int, straggler: Straggler) -> str:
    """Which rank it is, by how much it is slower, and why."""
    spec = gang.job.spec
    places = (attempt for attempt in gang.live if rank in ranks_of(spec, attempt.record.task))
    node = next((f" on {attempt.node}" for attempt in places), "")
    slower = f"is {(straggler.factor - 1) * 100:.3g} % slower than the median of its gang"
    return f"rank {rank}{node} {slower}: {CAUSE_TEXT[straggler.cause]}"


def _ranks(ranks: list[int]) -> str:
    more = f" and {len(ranks) - MAX_NAMED} more" if len(ranks) > MAX_NAMED else ""
    named = ", ".join(map(str, sorted(ranks)[:MAX_NAMED])) + more
    return f"rank {named} is" if len(ranks) == 1 else f"ranks {named} are"
