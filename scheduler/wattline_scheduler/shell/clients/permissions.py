"""Permissions of requests, checked before any lookup. The core checks acts by role."""

from wattline_protocol.ids import NodeId
from wattline_protocol.site.model import Role
from wattline_protocol.trust.members import USER_ROLES, Authorized
from wattline_protocol.views.request_logs import ReportLogPage, WatchLogQueries
from wattline_protocol.wire.api_keys import ReportAbuse, ReportApiKeyUse
from wattline_protocol.wire.client_messages import Denied, GetPlan, Request
from wattline_protocol.wire.rollouts import ReportRises, ReportTraffic
from wattline_protocol.wire.subscriptions import Seen, Unwatch, WatchRoutes

CLIENT_ROLES: frozenset[Role] = USER_ROLES | {"gateway"}
AGENT_ROLES: frozenset[Role] = frozenset({"agent"})


def not_for(role: Role, request: Request) -> Denied | None:
    """Why this role may not send the request; None = it may. All may read; gateways see routes and
    report traffic."""
    if isinstance(request, Unwatch | Seen):
        return None
    if isinstance(request, GetPlan) and role not in ("operator", "admin"):
        return Denied("not_allowed", f"only operators may save a planning cycle; you are {role}")
    is_watch = isinstance(request, WatchRoutes | WatchLogQueries)
    is_report = isinstance(
        request, ReportTraffic | ReportRises | ReportApiKeyUse | ReportAbuse | ReportLogPage
    )
    is_of_gateways = is_watch or is_report
    if role == "gateway" and not is_of_gateways:
        verb, may = type(request).__name__, "watch routes and report traffic"
        return Denied("not_allowed", f"a gateway may only {may}; {verb} is for users")
    if role != "gateway" and is_of_gateways:
        what = "watch routes" if is_watch else "report traffic"
        return Denied("not_allowed", f"only gateways may {what}; your role is {role}")
    return None


def agent_keys(members: Authorized) -> dict[NodeId, str]:
    """Public keys of the enrolled agents, by node."""
    return {NodeId(one.name): one.public_key for one in members.members() if one.role == "agent"}


def gateway_keys(members: Authorized) -> dict[str, str]:
    """Public keys of the enrolled gateways, by name."""
    return {one.name: one.public_key for one in members.members() if one.role == "gateway"}
