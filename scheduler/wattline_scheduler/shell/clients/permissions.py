"""Permissions of requests, checked before any lookup. The core checks acts by role."""

from wattline_protocol.site.model import Role
from wattline_protocol.trust.members import USER_ROLES, Authorized
from wattline_protocol.wire.client_messages import Denied, GetPlan, Request
from wattline_protocol.wire.subscriptions import Seen, Unwatch, WatchRoutes

CLIENT_ROLES: frozenset[Role] = USER_ROLES | {"gateway"}
AGENT_ROLES: frozenset[Role] = frozenset({"agent"})


def not_for(role: Role, request: Request) -> Denied | None:
    """Why this role may not send the request; None = it may. All may read; gateways see routes."""
    if isinstance(request, Unwatch | Seen):
        return None
    if isinstance(request, GetPlan) and role not in ("operator", "admin"):
        return Denied("not_allowed", f"only operators may save a planning cycle; you are {role}")
    if role == "gateway" and not isinstance(request, WatchRoutes):
        verb = type(request).__name__
        return Denied("not_allowed", f"a gateway may only watch routes; {verb} is for users")
    if role != "gateway" and isinstance(request, WatchRoutes):
        return Denied("not_allowed", f"only gateways may watch routes; your role is {role}")
    return None


def gateway_keys(members: Authorized) -> dict[str, str]:
    """Public keys of the enrolled gateways, by name."""
    return {one.name: one.public_key for one in members.members() if one.role == "gateway"}
