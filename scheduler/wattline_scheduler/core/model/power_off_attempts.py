"""Attempts to power hosts off without their agents: those under way, and failures."""

from dataclasses import dataclass, field

from wattline_protocol.ids import Instant, NodeId
from wattline_scheduler.core.model.jobs.job import LONG_AGO

BACKOFF_FIRST_S = 5.0
BACKOFF_LONGEST_S = 300.0
"""Bounds of the doubling back-off between attempts on a node: spares a failing BMC."""


@dataclass(frozen=True, slots=True)
class OffAttempt:
    """An attempt to power one host off, or to check whether it is off."""

    number: int
    since: Instant
    power_off: bool
    requester: str
    reason: str
    client: bytes = b""
    """Client that waits for the result; empty: none."""
    ask: int = 0


@dataclass(slots=True)
class OffAttempts:
    """Attempts under way, at most one per node, and back-offs of nodes that failed."""

    under_way: dict[NodeId, OffAttempt] = field(default_factory=dict)
    failures: dict[NodeId, int] = field(default_factory=dict)
    """Failures in a row; cleared once the node is off or sends a Hello."""
    not_before: dict[NodeId, Instant] = field(default_factory=dict)
    newest: int = 0
    """Number of the newest attempt of this run."""
    checked_at: Instant = LONG_AGO
    """Time of the last check whether some host must be powered off."""

    def may_begin(self, node: NodeId, now: Instant) -> bool:
        """Whether no attempt is under way on the node and its back-off is over."""
        return node not in self.under_way and now >= self.not_before.get(node, LONG_AGO)

    def next_number(self) -> int:
        """A number that no other attempt of this run has."""
        self.newest += 1
        return self.newest

    def end(self, node: NodeId, number: int) -> OffAttempt | None:
        """Removes the attempt of that number; None if it was given up or void."""
        found = self.under_way.get(node)
        if found is None or found.number != number:
            return None
        return self.under_way.pop(node)

    def failed(self, node: NodeId, now: Instant) -> float:
        """Counts a failure; returns the back-off in seconds."""
        count = self.failures[node] = self.failures.get(node, 0) + 1
        wait_s = min(BACKOFF_FIRST_S * 2.0 ** min(count - 1, 16), BACKOFF_LONGEST_S)
        self.not_before[node] = Instant(now + wait_s)
        return wait_s

    def forget(self, node: NodeId) -> None:
        """Clears its failures."""
        self.failures.pop(node, None)
        self.not_before.pop(node, None)
