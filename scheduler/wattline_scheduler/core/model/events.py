"""What can happen to a site: the inputs of `Cluster.handle`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from wattline_protocol.ids import DomainId, Instant, JobId, NodeId, UserName
from wattline_protocol.site.model import Role
from wattline_protocol.views.site_views import JobState
from wattline_protocol.wire.agent_messages import FromAgent
from wattline_protocol.wire.client_messages import Request
from wattline_scheduler.records import MemberRecord


@dataclass(frozen=True, slots=True)
class AgentSaid:
    """A message of a node, whose key was checked to be that node's."""

    node: NodeId
    message: FromAgent


@dataclass(frozen=True, slots=True)
class ClientAsked:
    """A request that changes state, from a user whose key was checked."""

    client: bytes
    """Routing id of the connection: where the answer goes."""
    ask: int
    user: UserName
    role: Role
    request: Request
    ended: Mapping[JobId, JobState] = field(default_factory=dict)
    """Jobs that the request names and that only the disk remembers: how they ended."""
    users: Sequence[str] | None = None
    """Who may submit, where the request names users; None = nobody looked it up."""
    names: frozenset[str] | None = None
    """Names of jobs that the request's patterns match; None = not looked up, or there are none."""


@dataclass(frozen=True, slots=True)
class TimePassed:
    """Every `TICK_PERIOD_S`: resends, time-outs, and once a beat period the rebalancing."""


@dataclass(frozen=True, slots=True)
class PlanDue:
    """Plan now: the shell sends it at most once per interval while `Cluster.wants_plan`."""


@dataclass(frozen=True, slots=True)
class DomainMetered:
    """A reading of the meter of a power domain or cooling zone, or why there is none."""

    domain: DomainId
    wall_mw: int | None
    """What flows through the domain's breaker; None = the meter gave no value."""
    error: str = ""
    """Why there is no value, in words for the operator."""


@dataclass(frozen=True, slots=True)
class ZoneSensed:
    """What is known of a cooling zone's plant. None = this reading says nothing about it."""

    zone: DomainId
    units_in_service: int | None
    outside_c: float | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class OutOfBandDone:
    """What came of an `ActOutOfBand`."""

    node: NodeId
    number: int
    seen_off_at: Instant | None
    """When its power was asked for with the answer "off"; None: it is not confirmed off."""
    error: str = ""
    """Why it is not, in words for the operator."""


@dataclass(frozen=True, slots=True)
class FaultSeen:
    """A fault of Wattline's own code that a message met, for an alarm."""

    kind: Literal["check_failed", "request_refused", "message_refused"]
    """Of the problem."""
    subject: str
    text: str
    node: NodeId | None = None
    """Whose messages are not taken any more."""


@dataclass(frozen=True, slots=True)
class DiskMeasured:
    """How much room the file system of the store has, about once a second."""

    free_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class ActRefused:
    """The edge refused somebody's act: a role that may not even ask, a wrong token, too many."""

    who: str
    what: str
    reason: str


@dataclass(frozen=True, slots=True)
class MembersSeen:
    """The allow-list as it is now; told when it has changed, and at the start."""

    members: tuple[MemberRecord, ...]


Event = (
    AgentSaid
    | ClientAsked
    | TimePassed
    | PlanDue
    | DomainMetered
    | ZoneSensed
    | OutOfBandDone
    | FaultSeen
    | DiskMeasured
    | ActRefused
    | MembersSeen
)

TICK_PERIOD_S = 0.15
"""Unacknowledged commands are resent at this period (DESIGN 2)."""
