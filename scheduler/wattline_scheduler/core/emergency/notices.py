"""Notices: what will interrupt a running gang, and when, by all that the scheduler knows.

A function of state and time, evaluated for each report of an attempt and compared with the notice
that the report carries. So a lost command, and a restart of either side, need no special treatment.
"""

from collections.abc import Iterator

from wattline_protocol.ids import Now, UnixTime
from wattline_protocol.wire.task_order import Notice
from wattline_scheduler.core.emergency.pause_forecast import HORIZON_S, OVERDUE_S
from wattline_scheduler.core.lifecycle.usage_limits import used_up_in_s
from wattline_scheduler.core.model.jobs.job import Gang, Running
from wattline_scheduler.core.model.queue.remaining_time import began_at
from wattline_scheduler.core.model.state import State

TOLERANCE_S = 1.0
TOLERANCE = 0.1
"""Share of the time left by which an estimate may change until it is sent again."""


def notice_of(state: State, gang: Gang, now: Now) -> Notice | None:
    """The next interruption within the horizon, or one that is overdue; None = none is known."""
    ahead = [
        one
        for one in (*_pauses(state, gang, now), *_limits(state, gang, now), *_reserved(state, gang))
        if -OVERDUE_S < one.at_unix_s - now.unix_s <= HORIZON_S
    ]
    return min(ahead, key=lambda one: (one.at_unix_s, one.what), default=None)


def differs(sent: Notice | None, wanted: Notice | None, now: Now) -> bool:
    """Whether a task needs another notice than the one it has."""
    if sent is None or wanted is None:
        return sent is not wanted
    left_s = wanted.at_unix_s - now.unix_s
    is_moved = abs(sent.at_unix_s - wanted.at_unix_s) > max(TOLERANCE_S, TOLERANCE * left_s)
    return is_moved or (sent.what, sent.grace_s) != (wanted.what, wanted.grace_s)


def _pauses(state: State, gang: Gang, now: Now) -> Iterator[Notice]:
    pause = state.pauses_ahead.get(gang.key)
    if pause is not None:
        at_unix_s = UnixTime(now.unix_s + pause.at - now.mono_s)
        yield Notice("window" if pause.is_scheduled else "pause", at_unix_s, pause.why)


def _limits(state: State, gang: Gang, now: Now) -> Iterator[Notice]:
    """Its time limit, and those of energy and cost at its mean rate so far."""
    limits, grace_s = gang.job.spec.limits, gang.job.grace_s
    began = began_at(gang.phase) if isinstance(gang.phase, Running) else None
    if limits.runtime_s and began is not None:
        at_unix_s = UnixTime(now.unix_s + began + limits.runtime_s - now.mono_s)
        yield Notice("limit", at_unix_s, "its time limit (limits.runtime)", grace_s)
    left_s = used_up_in_s(gang.job, state.site.tariff)
    if left_s is not None:
        why = "its limit of energy or cost, at its mean rate so far"
        yield Notice("limit", UnixTime(now.unix_s + left_s), why, grace_s)


def _reserved(state: State, gang: Gang) -> Iterator[Notice]:
    """A reservation of others that begins on its nodes, and the end of its own.

    Neither stops it; from then on others have a right to its nodes, or may preempt it there.
    """
    if not state.reservations:
        return
    nodes, own = {attempt.node for attempt in gang.live}, gang.job.spec.reservation
    for record in state.reservations.values():
        if record.name == own:
            yield Notice("reservation", record.end_unix_s, f"its reservation {own} ends")
        elif not nodes.isdisjoint(record.nodes):
            why = f"reservation {record.name} begins on its nodes"
            yield Notice("reservation", record.start_unix_s, why)
