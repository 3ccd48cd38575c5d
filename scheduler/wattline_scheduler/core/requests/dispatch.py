"""Dispatches requests that change state to their handlers, after the check of the role."""

from wattline_protocol.data.requests import (
    AddData,
    ApproveData,
    ChangeData,
    RebuildData,
    RemoveData,
    ReportDeletion,
)
from wattline_protocol.ids import NodeId, Now
from wattline_protocol.routing.requests import DeclareRoutes, RemoveRoute
from wattline_protocol.site.model import Role
from wattline_protocol.wire.api_keys import (
    AddApiKey,
    ReportAbuse,
    ReportApiKeyUse,
    RevokeApiKey,
    UnblockApiKey,
)
from wattline_protocol.wire.client_messages import (
    ROLE_RANK,
    AckProblem,
    Answer,
    Cancel,
    CancelGridEvent,
    DeclareOff,
    DeclareOn,
    Denied,
    Drain,
    GridEvent,
    Hold,
    Release,
    Request,
    Requeue,
    Restore,
    SetUnits,
    Shed,
    Submit,
    Undrain,
    Update,
)
from wattline_protocol.wire.nodes.acts import Cordon, Readmit, Uncordon
from wattline_protocol.wire.reservations import Reserve, Unreserve
from wattline_protocol.wire.rollouts import ReportRises, ReportTraffic, SteerRollout
from wattline_scheduler.core.admission.disk_reserve import deny_new_work
from wattline_scheduler.core.leases import cooling_control
from wattline_scheduler.core.leases.quarantine import readmit
from wattline_scheduler.core.model.events import ClientRequest
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.not_found import not_there
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.requests import (
    abuse,
    api_keys,
    bulk_actions,
    gpu_cordons,
    grid_events,
    node_operations,
    problem_acts,
    reserve,
    rollout_requests,
    routes,
    shed,
    submit,
)
from wattline_scheduler.core.requests.api_key_use import report_use
from wattline_scheduler.core.requests.audit.refused_acts import note_refused
from wattline_scheduler.core.requests.data_sets import (
    add_version,
    approve_version,
    change_set,
    rebuild_version,
    remove_version,
)
from wattline_scheduler.core.rollout.gateway_reports import take_report as take_traffic
from wattline_scheduler.core.scaling.service_scaling import take_rises

ON_JOBS = (Submit, Cancel, Hold, Release, Requeue, Update, SteerRollout)
"""Requests of submitters on their own jobs, of operators on all."""

ON_API_KEYS = (AddApiKey, RevokeApiKey, UnblockApiKey)
"""Likewise, on keys for their own services."""

ON_ROUTES = (DeclareRoutes, RemoveRoute)
"""Likewise, on routes to their own services."""

ON_DATA = (AddData, ApproveData, ChangeData, RemoveData, RebuildData, ReportDeletion)
"""Likewise, on their own data sets, or as reviewers."""

ON_NODES = (Drain, Undrain, Cordon, Uncordon, DeclareOff, DeclareOn, Readmit)
ON_BUDGETS = (Shed, Restore, GridEvent, CancelGridEvent, SetUnits)
ON_SITE = (*ON_NODES, *ON_BUDGETS, Reserve, Unreserve, AckProblem)
"""Requests that require the operator role."""


def asked(state: State, event: ClientRequest, now: Now) -> None:
    """Handles a request; some are answered later. Changes are saved before the answer."""
    denied = _not_allowed(event.role, event.request)
    answer = denied if denied is not None else _do(state, event, now)
    if answer is not None:
        note_refused(state, event, answer, ON_SITE, now)
        state.journal.reply(event.client, event.ask, answer)


def _not_allowed(role: Role, request: Request) -> Denied | None:
    if isinstance(request, ON_SITE) and ROLE_RANK[role] < ROLE_RANK["operator"]:
        return Denied("not_allowed", f"requires the role operator or admin; yours is {role}")
    is_user = ROLE_RANK[role] >= ROLE_RANK["submitter"] and role != "gateway"
    if isinstance(request, (*ON_JOBS, *ON_API_KEYS, *ON_ROUTES, *ON_DATA)) and not is_user:
        return Denied("not_allowed", f"requires the role submitter or higher; yours is {role}")
    return None


def _do(state: State, event: ClientRequest, now: Now) -> Answer | None:
    request = event.request
    match request:
        case Submit():
            return submit.submit(state, event, request, now)
        case Shed():
            return shed.shed(state, event.user, request, now)
        case Restore():
            return shed.restore(state, event.user, request, now)
        case GridEvent():
            return grid_events.add(state, event.user, request, now)
        case CancelGridEvent():
            return grid_events.cancel(state, event.user, request, now)
        case Reserve():
            return deny_new_work(state) or reserve.reserve(state, event, request, now)
        case Unreserve():
            return reserve.unreserve(state, event.user, request, now)
        case AddApiKey():
            return deny_new_work(state) or api_keys.add(state, event, request, now)
        case RevokeApiKey():
            return api_keys.revoke(state, event, request, now)
        case DeclareRoutes():
            return deny_new_work(state) or routes.declare(state, event, request, now)
        case RemoveRoute():
            return routes.remove(state, event, request, now)
        case AddData():
            return deny_new_work(state) or add_version.add_requested(state, event, request, now)
        case ChangeData():
            return change_set.change(state, event, request, now)
        case ApproveData():
            return approve_version.approve(state, event, request, now)
        case RebuildData():
            return rebuild_version.rebuild(state, event, request, now)
        case RemoveData():
            return remove_version.remove(state, event, request, now)
        case ReportDeletion():
            return remove_version.take_receipt(state, event, request, now)
        case UnblockApiKey():
            return abuse.unblock(state, event, request, now)
        case ReportAbuse():
            return abuse.take_abuse(state, event.user, request, now)
        case ReportApiKeyUse():
            return report_use(state, event.user, request, now)
        case SetUnits():
            return cooling_control.set_units(state, event.user, request, now)
        case Cancel() | Hold() | Release() | Requeue() | Update():
            return bulk_actions.act(state, event, request, now)
        case SteerRollout():
            return rollout_requests.steer(state, event, request, now)
        case ReportTraffic():
            return take_traffic(state, event.user, request, now)
        case ReportRises():
            return take_rises(state, event.user, request, now)
        case AckProblem():
            return problem_acts.acknowledge(state, event.user, request, now)
        case _ if isinstance(request, ON_NODES):
            return _do_to_node(state, event, request, now)
        case _:
            verb = type(request).__name__
            return Denied("bad_request", f"{verb} changes nothing and is answered by the shell")


def _do_to_node(
    state: State,
    event: ClientRequest,
    request: Drain | Undrain | Cordon | Uncordon | DeclareOff | DeclareOn | Readmit,
    now: Now,
) -> Answer | None:
    node = _node(state, request.node)
    if isinstance(node, Denied):
        return node
    match request:
        case Drain():
            return node_operations.drain(state, node, event.user, request, now)
        case Undrain():
            return node_operations.undrain(state, node, event.user, request, now)
        case Cordon():
            return gpu_cordons.cordon(state, node, event.user, request, now)
        case Uncordon():
            return gpu_cordons.uncordon(state, node, event.user, request, now)
        case DeclareOff():
            return node_operations.declare_off(state, node, event, request, now)
        case DeclareOn():
            return node_operations.declare_on(state, node, event.user, request, now)
        case Readmit():
            return readmit(state, node, event.user, request, now)


def _node(state: State, name: NodeId) -> NodeNow | Denied:
    node = state.nodes.get(name)
    return no_node(state, name) if node is None else node


def no_node(state: State, name: NodeId) -> Denied:
    """Denies a request that names an unknown node."""
    return not_there("node", name, state.nodes)
