"""Tries to switch hosts off without their agents: what is under way, and what has failed."""

from dataclasses import dataclass, field

from wattline_protocol.ids import Instant, NodeId
from wattline_scheduler.core.model.jobs.job import LONG_AGO

BACKOFF_FIRST_S = 5.0
BACKOFF_LONGEST_S = 300.0
"""Between tries on one node, doubling: a BMC that fails is not asked in a frenzy."""


@dataclass(frozen=True, slots=True)
class OffTry:
    """One host is being switched off, or asked whether it is off."""

    number: int
    since: Instant
    power_off: bool
    who: str
    reason: str
    client: bytes = b""
    """Whose ask is answered with what comes of it; empty: nobody waits."""
    ask: int = 0


@dataclass(slots=True)
class OffTries:
    """At most one try a node; a node that failed is left alone for a while."""

    under_way: dict[NodeId, OffTry] = field(default_factory=dict)
    failures: dict[NodeId, int] = field(default_factory=dict)
    """In a row; forgotten once the node is off or says Hello."""
    not_before: dict[NodeId, Instant] = field(default_factory=dict)
    newest: int = 0
    """Number of the newest try of this run."""
    looked_at: Instant = LONG_AGO
    """When it was last considered whether some host must be switched off."""

    def may_begin(self, node: NodeId, now: Instant) -> bool:
        """Whether none is under way on the node, and the last failure is long ago."""
        return node not in self.under_way and now >= self.not_before.get(node, LONG_AGO)

    def next_number(self) -> int:
        """A number that no other try of this run has."""
        self.newest += 1
        return self.newest

    def end(self, node: NodeId, number: int) -> OffTry | None:
        """The try of that number, which is over now; None if it was given up or void."""
        found = self.under_way.get(node)
        if found is None or found.number != number:
            return None
        return self.under_way.pop(node)

    def failed(self, node: NodeId, now: Instant) -> float:
        """Count a failure; for how many seconds the node is left alone."""
        count = self.failures[node] = self.failures.get(node, 0) + 1
        wait_s = min(BACKOFF_FIRST_S * 2.0 ** min(count - 1, 16), BACKOFF_LONGEST_S)
        self.not_before[node] = Instant(now + wait_s)
        return wait_s

    def forget(self, node: NodeId) -> None:
        """Its failures say nothing any more."""
        self.failures.pop(node, None)
        self.not_before.pop(node, None)
