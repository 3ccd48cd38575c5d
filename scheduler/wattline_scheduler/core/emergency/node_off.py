"""Nodes confirmed to be without power: they count zero, and their tasks are lost (I3)."""

import msgspec

from wattline_protocol.ids import Now
from wattline_protocol.text.wording import counted
from wattline_scheduler.core.leases.overruns import note_recovery
from wattline_scheduler.core.lifecycle.ending import attempt_over, close
from wattline_scheduler.core.lifecycle.restore_guard import drop_strays, mark_known
from wattline_scheduler.core.model import command_outbox
from wattline_scheduler.core.model.jobs.job import Attempt
from wattline_scheduler.core.model.node import NodeNow, Unheard
from wattline_scheduler.core.model.problems import end_of_node
from wattline_scheduler.core.model.state import State


def count_off(state: State, node: NodeNow, actor: str, source: str, why: str, now: Now) -> str:
    """Counts a node off on confirmation: frees its watts, ends its tasks as lost. Returns text."""
    node.record = msgspec.structs.replace(
        node.record,
        is_off=True,
        off_reason=why,
        is_spared=False,
        fence="off" if node.record.fence else "",
    )
    node.link = Unheard()
    node.idle.clear()
    node.outdate()
    command_outbox.drop_all(node)
    state.journal.save(node.record)
    state.journal.save(state.books.declare_off(node.id))
    text = f"{node.id} is off, confirmed by {source}: {why}"
    state.journal.act("node_off", text, now, actor=actor, node=node.id, level="warning")
    end_of_node(state, node.id, now, f"{node.id} is off")
    state.contradicted.pop(node.id, None)
    state.off_attempts.forget(node.id)
    lost = list(node.attempts.values())
    for attempt in lost:
        _lose(state, attempt, f"{node.id} is off", now)
    drop_strays(state, node.id, set(), now)
    mark_known(state, node.id, now)
    note_recovery(state, now)
    state.wants_rebalance = state.wants_plan = True
    return f"{node.id} is off, and {counted(len(lost), 'task')} with it"


def _lose(state: State, attempt: Attempt, reason: str, now: Now) -> None:
    if attempt.is_live:
        close(state, attempt, "NODE_FAIL", now)
        attempt_over(state, attempt.gang, "lost", reason, now)
