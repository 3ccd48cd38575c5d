"""Bars all starts after a restored backup until all running tasks are known (I7).

The lost tail may have started any job on any node, also one that is pending in the backup. A
recovered run therefore starts nothing until every node that is not off has reported its tasks, and
until all unrecorded tasks have ended. Job and attempt numbers begin above any that the tail issued.
"""

from wattline_protocol.ids import NodeId, Now, TaskRef
from wattline_protocol.text.wording import listed
from wattline_scheduler.core.model.problems import begin, end
from wattline_scheduler.core.model.state import State
from wattline_scheduler.records import RecoveryRecord


def begin_recovery(state: State, now: Now) -> None:
    """Begins recovery from a backup: nothing starts until every node was heard."""
    state.is_recovering = True
    state.unknown = {node.id for node in state.nodes.values() if not node.record.is_off}
    begin(state, "recovering", "site", why_nothing_starts(state), now)


def mark_known(state: State, node: NodeId, now: Now) -> None:
    """Marks a node as known: it has reported its tasks, or it is off and runs none."""
    if node in state.unknown:
        state.unknown.discard(node)
        _check_complete(state, now)


def note_stray(state: State, ref: TaskRef, node: NodeId) -> None:
    """Notes an unrecorded task that runs on a node."""
    if state.is_recovering:
        state.strays[ref] = node


def drop_strays(state: State, node: NodeId, listed: set[TaskRef], now: Now) -> None:
    """Drops the strays of a node that are not in `listed`."""
    dropped = [ref for ref, at in state.strays.items() if at == node and ref not in listed]
    for ref in dropped:
        del state.strays[ref]
    if dropped:
        _check_complete(state, now)


def drop_stray(state: State, node: NodeId, ref: TaskRef, now: Now) -> None:
    """Drops one that has ended."""
    if state.strays.get(ref) == node:
        del state.strays[ref]
        _check_complete(state, now)


def why_nothing_starts(state: State) -> str:
    """Text for waiting jobs; empty = recovery is complete."""
    if not state.is_recovering:
        return ""
    if state.unknown:
        return (
            f"a backup was restored: nothing starts until all nodes reported or are declared off "
            f"(missing: {listed(sorted(state.unknown))})"
        )
    some = listed(sorted(state.strays))
    return f"a backup was restored: tasks that are not on record are being stopped ({some})"


def _check_complete(state: State, now: Now) -> None:
    if state.unknown or state.strays or not state.is_recovering:
        return
    state.is_recovering = False
    state.wants_plan = True
    state.journal.save(RecoveryRecord(is_over=True))
    text = "every node has reported since the backup was restored: jobs start again"
    end(state, "recovering", "site", now, text)
