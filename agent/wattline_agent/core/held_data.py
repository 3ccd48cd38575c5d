"""Versions of data sets on this node: the scheduler's list, and what the cache reports of it.

Both directions carry whole states, so nothing here remembers what was lost on the way: the list is
passed on when it changes, and the report is sent when it changes, and again now and then.
"""

from wattline_agent.core.effects import HoldVersions, Send
from wattline_agent.core.events import CacheSeen
from wattline_agent.core.model import DataNow, NodeState
from wattline_agent.core.tasks.attempts import answer
from wattline_protocol.ids import Now
from wattline_protocol.wire.agents.data_messages import (
    MAX_HELD,
    MAX_IN_USE,
    CacheReport,
    DataHeld,
    DataReport,
    HoldData,
    HoldOrder,
)
from wattline_protocol.wire.task_order import TaskOrder

NOT_LISTED = -1
REPORT_EVERY_S, EMPTY_EVERY_S = 10.0, 60.0
"""A report may be lost; until the next one the scheduler plans by an older one."""


def received(state: NodeState, message: HoldData) -> None:
    """Take a newer list; a late repeat of an older one is only answered."""
    data, number = state.data, (message.epoch, message.seq)
    if data.list_number is None or number > data.list_number:
        data.list_number, data.versions, data.drop = number, message.versions, message.drop
        data.to_store = message.to_store
        data.outputs = message.outputs
    answer(state, message.seq, "done")


def seen(state: NodeState, event: CacheSeen) -> None:
    """Take the whole state of the cache."""
    state.data.report = event.report


def lacks(state: NodeState, order: TaskOrder) -> str:
    """The first version of the order that is not in the cache, and why; empty = all are. What was
    reported of an earlier list counts for nothing: it may have left since."""
    held = {(one.manifest_sha256, one.listing): one for one in _held(state.data)}
    listed = {one.manifest_sha256: one.listing for one in state.data.versions or ()}
    for wanted in order.data:
        name = wanted.manifest_sha256
        one = held.get((name, listed.get(name, NOT_LISTED)))
        if one is None:
            return f"{wanted.reference} is not in the cache of this node"
        if one.state != "ready":
            why = f": {one.detail}" if one.detail else ""
            return f"{wanted.reference} is not in the cache of this node ({one.state}{why})"
    return ""


def step(state: NodeState, now: Now) -> None:
    """After every event: pass the list on, and report."""
    data = state.data
    if data.versions is not None:
        lists = (data.drop, data.to_store, data.outputs)
        order = HoldOrder(data.versions, _in_use(state), *lists)
        if order != data.ordered:
            data.ordered = order
            state.emit(HoldVersions(order))
    _report(state, now)


def _in_use(state: NodeState) -> tuple[str, ...]:
    """Versions of attempts that live or have processes left, on the list or not."""
    attempts = (attempt for attempt in state.attempts.values() if attempt.holds_gpus)
    used = {one.manifest_sha256 for attempt in attempts for one in attempt.order.data}
    return tuple(sorted(used)[:MAX_IN_USE])


def _held(data: DataNow) -> tuple[DataHeld, ...]:
    return () if data.report is None else data.report.held


def _seen(state: NodeState) -> CacheReport | None:
    """The newest report; before the first, an empty cache. None: this node has no cache."""
    limit_bytes = state.facts.cache_bytes
    return state.data.report or (CacheReport((), limit_bytes, 0) if limit_bytes else None)


def _report(state: NodeState, now: Now) -> None:
    member, data, report = state.session.member, state.data, _seen(state)
    if member is None or member.adopted is None or report is None:
        return
    incarnation = member.welcome.incarnation
    is_new = (incarnation, report) != data.reported
    if not is_new and now.mono_s < data.report_due_s:
        return
    every_s = REPORT_EVERY_S if report.held or report.stored else EMPTY_EVERY_S
    data.reported, data.report_due_s = (incarnation, report), now.mono_s + every_s
    state.emit(Send(_message(state, report)))


def _message(state: NodeState, report: CacheReport) -> DataReport:
    member = state.session.member
    assert member is not None, "only members report"  # noqa: S101 - checked by the caller
    welcome = member.welcome
    return DataReport(
        welcome.epoch,
        welcome.incarnation,
        report.held[:MAX_HELD],
        report.limit_bytes,
        report.used_bytes,
        report.error,
        report.stored,
        report.outputs,
    )
