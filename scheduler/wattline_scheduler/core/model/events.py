"""Events of a site: the inputs of `Cluster.handle`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from wattline_protocol.ids import DomainId, Instant, JobId, NodeId, UserName
from wattline_protocol.site.model import Role
from wattline_protocol.views.site_views import JobState
from wattline_protocol.wire.agent_messages import FromAgent
from wattline_protocol.wire.client_messages import Request
from wattline_scheduler.records import MemberRecord
from wattline_scheduler.service_rollup import ServiceHour, ServiceRollup


@dataclass(frozen=True, slots=True)
class AgentMessage:
    """A message of a node whose key was verified."""

    node: NodeId
    message: FromAgent


@dataclass(frozen=True, slots=True)
class MeetingJobs:
    """Jobs that meet a condition now, and those with larger numbers that are not examined yet."""

    jobs: frozenset[JobId]
    checked_to: JobId
    """The largest number that was examined: larger ones are left for the next request."""


@dataclass(frozen=True, slots=True)
class ClientRequest:
    """A state-changing request of a user whose key was verified."""

    client: bytes
    """Routing id of the connection, for the answer."""
    ask: int
    user: UserName
    role: Role
    request: Request
    ended: Mapping[JobId, JobState] = field(default_factory=dict)
    """Final states of jobs that the request names and that are only on disk."""
    users: Sequence[str] | None = None
    """Users that may submit, if the request names users; None = not looked up."""
    names: frozenset[str] | None = None
    """Names of jobs that the request's patterns match; None = not looked up, or there are none."""
    meeting: MeetingJobs | None = None
    """Jobs that meet the condition of the request; None = not looked up, or it has none."""


@dataclass(frozen=True, slots=True)
class TimePassed:
    """Every `TICK_PERIOD_S`: resends, time-outs, and once a heartbeat period the rebalancing."""


@dataclass(frozen=True, slots=True)
class PlanDue:
    """Plan now: the shell sends it at most once per interval while `Cluster.wants_plan`."""


@dataclass(frozen=True, slots=True)
class DomainMetered:
    """A meter reading of a power domain or cooling zone, or the reason why there is none."""

    domain: DomainId
    wall_mw: int | None
    """Power through the domain's breaker; None = the meter gave no value."""
    error: str = ""
    """Error text for the operator if there is no value."""


@dataclass(frozen=True, slots=True)
class ZoneSensed:
    """Sensor readings of a cooling zone's plant. None = not part of this reading."""

    zone: DomainId
    units_in_service: int | None
    outside_c: float | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class OutOfBandDone:
    """Result of an `ActOutOfBand`."""

    node: NodeId
    number: int
    seen_off_at: Instant | None
    """Time of the power query that was answered "off"; None: it is not confirmed off."""
    error: str = ""
    """Error text for the operator if it is not confirmed off."""
    is_on: bool = False
    """A query without power-off was answered "on"."""


@dataclass(frozen=True, slots=True)
class FaultSeen:
    """A fault of Wattline's own code while it processed a message, for an alarm."""

    kind: Literal["check_failed", "request_refused", "message_refused"]
    """Kind of the problem."""
    subject: str
    text: str
    node: NodeId | None = None
    """The node whose messages are no longer processed."""


@dataclass(frozen=True, slots=True)
class DiskMeasured:
    """Free space in the file system of the store, about once a second."""

    free_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class ActRefused:
    """A request refused at the edge: insufficient role, invalid token, or too many requests."""

    actor: str
    what: str
    reason: str


@dataclass(frozen=True, slots=True)
class BodiesRead:
    """A page of logged bodies that a user is about to get."""

    user: str
    service: str
    since_unix_s: float
    rows: int


@dataclass(frozen=True, slots=True)
class SecretSent:
    """An entry that nodes are about to store or to remove, for a user. Nothing of its value."""

    actor: str
    user: str
    entry: str
    nodes: tuple[NodeId, ...]
    is_removed: bool


@dataclass(frozen=True, slots=True)
class TerminalUsed:
    """A user has attached to the terminal of a job, or has been detached."""

    actor: str
    owner: str
    job: JobId
    node: NodeId
    ended: str
    """Why the attachment has ended; empty = it has begun."""


@dataclass(frozen=True, slots=True)
class MembersSeen:
    """The current allow-list; sent when it has changed, and at the start."""

    members: tuple[MemberRecord, ...]


@dataclass(frozen=True, slots=True)
class ServiceHistoryRead:
    """What is on record of the load of a service in `State.histories_wanted`."""

    service: str
    owner: UserName
    hours: Sequence[ServiceHour]
    minutes: Sequence[ServiceRollup]
    """In order of time."""


@dataclass(frozen=True, slots=True)
class NotificationSettled:
    """A notification was delivered, or is given up."""

    job: JobId
    number: int
    error: str = ""
    """Why it is given up; empty = it was delivered."""


Event = (
    AgentMessage
    | ClientRequest
    | TimePassed
    | PlanDue
    | DomainMetered
    | ZoneSensed
    | OutOfBandDone
    | FaultSeen
    | DiskMeasured
    | ActRefused
    | BodiesRead
    | SecretSent
    | TerminalUsed
    | MembersSeen
    | ServiceHistoryRead
    | NotificationSettled
)

TICK_PERIOD_S = 0.15
"""Unacknowledged commands are resent at this period (DESIGN 2)."""
