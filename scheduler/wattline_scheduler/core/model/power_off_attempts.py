"""Attempts to power hosts off without their agents: those under way, and failures."""

from dataclasses import dataclass, field
from typing import Literal

from wattline_protocol.ids import Instant, NodeId
from wattline_scheduler.core.model.jobs.job import LONG_AGO

BACKOFF_FIRST_S = 5.0
BACKOFF_LONGEST_S = 300.0
"""Bounds of the doubling back-off between attempts on a node: spares a failing BMC."""


Purpose = Literal["budget", "silence", "check", "operator"]
"""budget: a lowered budget is not met otherwise; silence: its gangs are to start elsewhere; check:
whether its BMC knows that it is on; operator: somebody asked for it."""


@dataclass(frozen=True, slots=True)
class OffAttempt:
    """An attempt to power one host off, or to check whether it is off."""

    number: int
    since: Instant
    power_off: bool
    requester: str
    reason: str
    purpose: Purpose
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
    listening_since: Instant = LONG_AGO
    """Since then no stall of the scheduler itself made nodes look silent."""
    next_query_at: dict[NodeId, Instant] = field(default_factory=dict)
    """Time of the next query whether the BMC of a node knows that it is on."""
    answered_off_at: dict[NodeId, Instant] = field(default_factory=dict)
    """Time of the first such query answered "off" since one was answered "on"."""

    def may_begin(self, node: NodeId, now: Instant) -> bool:
        """Whether no attempt is under way on the node and its back-off is over."""
        return not self.is_busy(node) and now >= self.not_before.get(node, LONG_AGO)

    def is_busy(self, node: NodeId) -> bool:
        """Whether an attempt is under way that another may not replace, as it may a check."""
        one = self.under_way.get(node)
        return one is not None and one.purpose != "check"

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
