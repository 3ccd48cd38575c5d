"""Verifies the BMCs that may fence: while its agent reports, a host's BMC must say that it is on.

One that says "off" of such a host is broken, or belongs to another one: its word would start a gang
twice (I7). Only sites with `fence_after` are checked.
"""

from hashlib import sha256

import msgspec

from wattline_protocol.ids import Instant, NodeId, Now
from wattline_scheduler.core.emergency.unresponsive import has_automatic_way
from wattline_scheduler.core.model.events import OutOfBandDone
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.problems import begin, end
from wattline_scheduler.core.model.state import State

CHECK_EVERY_S = 3_600.0
CHECK_AGAIN_S = 60.0
"""After a query that did not verify it."""
CHECK_SOON_S = 5.0
"""After the first answer "off"."""

MAX_CHECKS = 8
"""Queries under way at once."""

KIND = "out_of_band_unverified"


def is_verified(node: NodeNow) -> bool:
    """Whether the way that the site file names now is the one that was verified: the BMC of another
    host would be believed, and switch that one off."""
    return bool(node.record.verified_way) and node.record.verified_way == _digest(node)


def _digest(node: NodeNow) -> str:
    return sha256(msgspec.json.encode(node.site.out_of_band)).hexdigest()


def to_check(state: State, now: Now) -> list[NodeNow]:
    """Nodes whose BMC is to be queried now."""
    _end_outdated(state, now)
    if not state.site.timing.fence_after_s:
        return []
    attempts = state.off_attempts
    free = MAX_CHECKS - sum(one.purpose == "check" for one in attempts.under_way.values())
    due = [node for node in state.nodes.values() if _is_due(state, node, now)]
    due.sort(key=is_verified)
    return due[: max(0, free)]


def _end_outdated(state: State, now: Now) -> None:
    """Ends problems of BMCs that may no longer fence by the current site file."""
    for kind, subject in [key for key in state.problems.open if key[0] == KIND]:
        node = NodeId(subject)
        if not (state.site.timing.fence_after_s and has_automatic_way(state.nodes[node])):
            end(state, kind, node, now, f"the BMC of {node} does not fence any more (site file)")


def _is_due(state: State, node: NodeNow, now: Now) -> bool:
    attempts = state.off_attempts
    is_free = node.is_reachable and node.id not in attempts.under_way
    return (
        has_automatic_way(node)
        and is_free
        and now.mono_s >= attempts.next_query_at.get(node.id, 0.0)
    )


def take_check(state: State, node: NodeNow, event: OutOfBandDone, now: Now) -> None:
    """Whether the BMC knew that the host is on.

    A host may have lost its power since its last message: "off" is wrong once it was heard after.
    """
    attempts, seen_off_at = state.off_attempts, event.seen_off_at
    wait_s = CHECK_EVERY_S if event.is_on else CHECK_AGAIN_S
    if event.is_on:
        attempts.answered_off_at.pop(node.id, None)
        _verified(state, node, now)
    elif seen_off_at is None:
        _doubted(state, node, f"is not known: {event.error}", now)
    elif _heard_after(node, attempts.answered_off_at.setdefault(node.id, seen_off_at)):
        if node.record.verified_way:
            state.journal.change(node, verified_way="")
        _doubted(state, node, "is off, but its agent reports", now)
    else:
        wait_s = CHECK_SOON_S
    attempts.next_query_at[node.id] = Instant(now.mono_s + wait_s)


def _heard_after(node: NodeNow, at: Instant) -> bool:
    return node.heard_at is not None and node.heard_at > at


def _verified(state: State, node: NodeNow, now: Now) -> None:
    if not is_verified(node):
        state.journal.change(node, verified_way=_digest(node))
    end(state, KIND, node.id, now, f"the out-of-band status of {node.id} is on")


def _doubted(state: State, node: NodeNow, what: str, now: Now) -> None:
    begin(state, KIND, node.id, f"the out-of-band status of {node.id} {what}", now, node=node.id)
