"""Quarantine of agents whose messages repeatedly contradict the books (I9).

A contradiction stops growth in the domains of its node, because the books themselves may be wrong.
Repeated contradictions of one key have another explanation: its agent lies, or cannot enforce its
caps. Its messages are then ignored: the node counts in full (its nameplate), gets no task and no
lease, and the domains around it grow again. Running tasks are tracked as before. The quarantine is
recorded, and only an operator ends it (`wattline node readmit`).
"""

from wattline_protocol.ids import NodeId, Now, UserName
from wattline_protocol.wire.client_messages import Answer, Denied, Done
from wattline_protocol.wire.nodes.acts import Readmit
from wattline_scheduler.core.leases.overruns import note_overruns
from wattline_scheduler.core.model.node import CONTRADICTIONS_MANY, NodeNow
from wattline_scheduler.core.model.problems import begin, end
from wattline_scheduler.core.model.state import Contradiction, State

MANY_WITHIN_S = 600.0
"""An agent with a driver fault contradicts once and recovers by its Hello. One that sent a Hello
after each of CONTRADICTIONS_MANY contradictions within this time will not recover by another."""

UNRESOLVED_S = 30.0
"""A correct agent, asked for its Hello every second, has adopted its caps by then."""


def contradicts(
    state: State, node: NodeNow, text: str, now: Now, *, claims_epoch: bool = False
) -> None:
    """Counts another contradiction of the node, as `text`; its entry counts in full already."""
    state.contradicted[node.id] = Contradiction(now.mono_s, text, claims_epoch)
    node.contradicted_at.append(now.mono_s)
    within_s = now.mono_s - node.contradicted_at[0]
    is_many = len(node.contradicted_at) == CONTRADICTIONS_MANY and within_s <= MANY_WITHIN_S
    if is_many and not (claims_epoch and not _are_others_known(state, node.id)):
        why = f"contradicted the books {CONTRADICTIONS_MANY} times within {within_s:.0f} s"
        _quarantine(state, node, why, now)


def tick_contradictions(state: State, now: Now) -> None:
    """Quarantines nodes that contradict the books and send no Hello; runs at each tick."""
    for name, one in list(state.contradicted.items()):
        age_s = now.mono_s - one.since
        if age_s < UNRESOLVED_S or (one.claims_epoch and not _are_others_known(state, name)):
            continue
        why = f"{one.text}; no Hello has resolved this within {age_s:.0f} s"
        if one.claims_epoch:
            why = "claims a later epoch than any other node, and all others are known"
        _quarantine(state, state.nodes[name], why, now)


def _are_others_known(state: State, name: NodeId) -> bool:
    """Whether all nodes in its domains have read back their caps in this run, or count in full.

    An agent that has seen a later epoch may be right: then this store is an old copy, and its
    entries of nodes not heard yet are wrong too.
    """
    above = state.domains.of
    others = (
        node
        for node in state.nodes.values()
        if node.id != name and not set(above[node.id]).isdisjoint(above[name])
    )
    return all(n.is_adopted or state.books.entry(n.id).standing != "leased" for n in others)


def _quarantine(state: State, node: NodeNow, why: str, now: Now) -> None:
    state.contradicted.pop(node.id, None)
    state.journal.change(node, is_quarantined=True, quarantine_reason=why)
    state.journal.save(state.books.distrust(node.id))
    node.outdate()
    text = (
        f"{node.id} {why}: its key is quarantined. It counts in full and gets no task until "
        f"`wattline node readmit {node.id}`; running tasks continue"
    )
    end(state, "books_contradicted", node.id, now, f"{node.id} is quarantined")
    begin(state, "node_quarantined", node.id, text, now, node=node.id)
    note_overruns(state, f"{node.id} is quarantined and counts in full", now)
    state.wants_plan = state.wants_rebalance = True


def readmit(state: State, node: NodeNow, user: UserName, request: Readmit, now: Now) -> Answer:
    """Ends the quarantine at an operator's request; the node counts in full until its Hello."""
    if not node.record.is_quarantined:
        return Denied("conflict", f"{node.id} is not quarantined (state: {node.state})")
    state.journal.change(node, is_quarantined=False, quarantine_reason="")
    node.contradicted_at.clear()
    node.rehello_at = None
    node.outdate()
    why = f": {request.reason}" if request.reason else ""
    text = f"{node.id} is readmitted{why}; it counts in full until its caps are read back"
    end(state, "node_quarantined", node.id, now, text)
    state.journal.act("node_readmitted", text, now, actor=user, node=node.id)
    state.wants_plan = True
    return Done(text)
