"""Ends gangs that make no progress (`recovery.no_progress`), as failures: they are retried.

The limit counts reports of any rank, since usually one rank reports for all. At the limit the
stacks of all ranks are requested, and a few seconds later the gang is stopped. Its event names the
ranks that were in another place than most.
"""

from collections import Counter
from collections.abc import Iterable

from wattline_protocol.ids import Now
from wattline_protocol.job.rank_reports import RankPlace
from wattline_protocol.text.quantities import format_duration
from wattline_protocol.wire.agent_messages import DumpStacks
from wattline_scheduler.core.lifecycle.ending import end_gang
from wattline_scheduler.core.model.jobs.job import Gang, Job, Running
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.model.usage.progress_watch import ProgressWatch

STACKS_S = 15.0
"""From the request for stacks to the stop: py-spy may need 10 s of it."""

MAX_NAMED = 8
"""Ranks named in one event."""


def check_progress(state: State, job: Job, limit_s: float, now: Now) -> None:
    """Checks the running gangs of a job against its limit."""
    for gang in job.tried_gangs:
        reported = bool(gang.live) and all(a.report is not None for a in gang.live)
        if isinstance(gang.phase, Running) and reported:
            _check(state, gang, limit_s, now)


def _check(state: State, gang: Gang, limit_s: float, now: Now) -> None:
    refs = tuple(attempt.record.ref for attempt in gang.live)
    if gang.progress is None or gang.progress.refs != refs:
        gang.progress = ProgressWatch(refs)
    watch, reports = gang.progress, [a.report for a in gang.live if a.report is not None]
    run_s = min(report.usage.run_s for report in reports)
    stalled_s = watch.stalled_s(sum(report.progress_marks for report in reports), run_s)
    if stalled_s < limit_s:
        return
    if watch.dumped_at_s is None:
        watch.dumped_at_s = run_s
        _request_stacks(state, gang)
    elif run_s - watch.dumped_at_s >= STACKS_S:
        watch.hang = f"no progress for {format_duration(limit_s)} of run time (no_progress)"
        end_gang(state, gang, "failed", watch.hang, now)


def _request_stacks(state: State, gang: Gang) -> None:
    for attempt in gang.live:
        node = state.nodes[attempt.node]
        message = DumpStacks(state.epoch, node.incarnation, attempt.record.ref)
        state.journal.send(node.id, message)


def is_hung(gang: Gang) -> bool:
    """Whether it is being ended because it made no progress."""
    return gang.progress is not None and bool(gang.progress.hang)


def note_hang(state: State, gang: Gang, now: Now) -> None:
    """Reports a hang once the last task of the try has ended: their exits have the places."""
    watch = gang.progress
    if watch is None or not watch.hang or gang.live:
        return
    ends = [a.record.exit for a in gang.attempts if a.record.ref in watch.refs]
    places = [place for end in ends if end is not None for place in end.places]
    text = f"{gang.name} hung: {watch.hang}{places_text(places)}"
    gang.progress = None
    state.journal.note("hang", text, now, job=gang.job.id, level="warning")


def places_text(places: Iterable[RankPlace]) -> str:
    """Which ranks were in another place than most, for the event. Events are for all members and
    logs are not, so it does not quote the places, which tasks write."""
    by_place: dict[str, list[int]] = {}
    for one in sorted(places, key=lambda place: place.rank):
        by_place.setdefault(one.place, []).append(one.rank)
    if not by_place:
        return "; no stacks are known"
    sizes = Counter({place: len(ranks) for place, ranks in by_place.items()})
    (_, most), *others = sizes.most_common()
    if not others:
        return "; all ranks were in the same place (stacks are in the log)"
    if most == others[0][1]:  # none is the exception
        return "; the ranks were in different places (stacks are in the log)"
    odd = sorted(rank for place, _ in others for rank in by_place[place])
    return f"; {_ranks(odd)} in another place than the others (stacks are in the log)"


def _ranks(ranks: list[int]) -> str:
    more = len(ranks) - MAX_NAMED
    named = ", ".join(map(str, ranks[:MAX_NAMED])) + (f" and {more} more" if more > 0 else "")
    return f"rank {named} was" if len(ranks) == 1 else f"ranks {named} were"
