"""When a node's words contradict the books: it counts in full until its caps are read back (I9)."""

from wattline_protocol.ids import Now
from wattline_protocol.messages import Beat, Rehello
from wattline_scheduler.core.foreign import jump_mw
from wattline_scheduler.core.nodes import NodeNow
from wattline_scheduler.core.overruns import note_overruns
from wattline_scheduler.core.problems import begin
from wattline_scheduler.core.state import State

REHELLO_PERIOD_S = 1.0
"""A node is asked to say Hello again at most so often."""


def distrust(state: State, node: NodeNow, text: str, now: Now) -> None:
    """Count the node in full, stop growth beside it, and ask it to read back its caps."""
    if node.id not in state.contradicted:
        state.contradicted[node.id] = None
        state.journal.save(state.books.distrust(node.id))
        node.outdate_offer()
        why = f"{node.id} {text}; it counts in full until its caps are read back"
        begin(state, "books_contradicted", node.id, why, now, node=node.id)
        note_overruns(state, f"{node.id} contradicts the books", now)
    ask_for_hello(state, node, "the books and this node disagree", now)


def ask_for_hello(state: State, node: NodeNow, reason: str, now: Now) -> None:
    """Rehello, at most once a period."""
    if node.rehello_at is not None and now.mono_s - node.rehello_at < REHELLO_PERIOD_S:
        return
    node.rehello_at = now.mono_s
    state.journal.send(node.id, Rehello(state.epoch, reason))


def contradiction(state: State, node: NodeNow, beat: Beat) -> str:
    """What in a beat of the present incarnation the books cannot explain; empty = nothing.

    A beat older than the newest acknowledgement says nothing about the present.
    """
    entry = state.books.entry(node.id)
    if entry.standing != "leased":
        return ""
    if beat.lease_seq > node.lease_seq:
        return f"names lease {beat.lease_seq}, the newest sent to it is {node.lease_seq}"
    committed_mw = state.books.committed_mw(node.id)
    explained_mw = committed_mw + jump_mw(node, beat)
    if beat.lease_seq >= node.acked_seq and beat.holding_mw > explained_mw:
        return (
            f"is held at {beat.holding_mw / 1000:.0f} W, "
            f"the books say at most {committed_mw / 1000:.0f} W"
        )
    return ""
