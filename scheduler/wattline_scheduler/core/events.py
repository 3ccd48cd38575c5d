"""What can happen to a site: the inputs of `Cluster.handle`."""

from dataclasses import dataclass

from wattline_protocol.ids import NodeId, UserName
from wattline_protocol.messages import FromAgent
from wattline_protocol.requests import Request
from wattline_protocol.site import Role


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


@dataclass(frozen=True, slots=True)
class TimePassed:
    """Every `TICK_PERIOD_S`: resends, time-outs, and once a beat period the rebalancing."""


@dataclass(frozen=True, slots=True)
class PlanDue:
    """Plan now: the shell sends it at most once per interval while `Cluster.wants_plan`."""


Event = AgentSaid | ClientAsked | TimePassed | PlanDue

TICK_PERIOD_S = 0.15
"""Unacknowledged commands are resent at this period (DESIGN 2)."""
