"""Acts to be confirmed: the object, the effect, and the request that a yes sends."""

from dataclasses import dataclass

from wattline_protocol.ids import JobId, NodeId
from wattline_protocol.job.selection import only
from wattline_protocol.text.quantities import format_duration
from wattline_protocol.text.wording import counted
from wattline_protocol.views.site_views import DomainView, NodeView
from wattline_protocol.wire.client_messages import (
    Cancel,
    Drain,
    Hold,
    Release,
    Request,
    Requeue,
    Restore,
    Shed,
    Undrain,
)
from wattline_tui.model import View
from wattline_tui.units import watts

ACTIVE = ("STARTING", "RUNNING", "PAUSED")


@dataclass(frozen=True, slots=True)
class Proposal:
    """A question, and the request that a yes sends."""

    question: str
    requests: tuple[Request, ...]


def drain_or_undrain(view: View, node_id: NodeId) -> Proposal:
    """Depending on the state of the node."""
    node = view.node(node_id)
    if node is not None and node.state in {"draining", "drained"}:
        return Proposal(
            f"Undrain node {node_id}?\nTasks may start there again.", (Undrain(node_id),)
        )
    return Proposal(f"Drain node {node_id}?\n{_drained(node)}", (Drain(node_id, "from top"),))


def _drained(node: NodeView | None) -> str:
    count = 0 if node is None else len(node.tasks)
    continues = "continues" if count == 1 else "continue"
    running = f"{counted(count, 'running task')} {continues}." if count else "It runs no tasks."
    return f"No new tasks start there. {running}"


def job_name(view: View, job_id: JobId) -> str:
    """Number, name and owner, as far as the snapshot has them."""
    job = view.job(job_id)
    return f"job {job_id}" + (f" ({job.name}, {job.owner})" if job is not None else "")


def hold_or_release(view: View, job_id: JobId) -> Proposal:
    """Depending on the state of the job."""
    job, of = view.job(job_id), job_name(view, job_id)
    if job is not None and job.state == "HELD":
        return Proposal(f"Release {of}?\nIt may start.", (Release(only(job_id)),))
    effect = "Running tasks continue; no others start."
    return Proposal(f"Hold {of}?\n{effect}", (Hold(only(job_id)),))


def cancel(view: View, job_id: JobId) -> Proposal:
    """Running tasks end by stop notice."""
    job = view.job(job_id)
    runs = job is not None and job.state in ACTIVE
    effect = (
        "It gets its stop notice now and is killed after its grace period."
        if runs
        else "It will not start."
    )
    return Proposal(f"Cancel {job_name(view, job_id)}?\n{effect}", (Cancel(only(job_id)),))


def requeue(view: View, job_id: JobId, token: str) -> Proposal:
    """Running tasks are stopped and run again."""
    effect = (
        "Its tasks are stopped and start again from their newest checkpoints. No retry is used."
    )
    return Proposal(f"Requeue {job_name(view, job_id)}?\n{effect}", (Requeue(only(job_id), token),))


def shed(view: View, request: Shed) -> Proposal:
    """The budget before and after, the ramp and the duration."""
    domain = _domain(view, request)
    if domain is None:
        return Proposal("Lower the budget?", (request,))
    full_w = domain.full_budget_w
    to_w = full_w * (1 - request.fraction) - request.by_mw / 1000
    over = f" over {format_duration(request.ramp_s)}" if request.ramp_s else " at once"
    until = f"for {format_duration(request.for_s)}" if request.for_s else "until it is restored"
    return Proposal(
        f"Lower the budget of {domain.id} from {watts(domain.budget_w)} to "
        f"{watts(min(domain.budget_w, to_w))}{over}, {until}?\n"
        f"It draws {watts(domain.measured_w)} now. Jobs of low priority are slowed first.",
        (request,),
    )


def restore(view: View) -> Proposal | None:
    """Every budget lowered by an operator; None where there is none."""
    domains = view.site.domains if view.site else ()
    lowered = [d for d in domains if any(limit.source == "operator" for limit in d.limits)]
    if not lowered:
        return None
    names = ", ".join(f"{d.id} ({watts(d.budget_w)})" for d in lowered)
    return Proposal(
        f"Restore the budget of {names}?\nLimits of schedules, the grid and cooling stay in force.",
        tuple(Restore(d.id, "from top") for d in lowered),
    )


def _domain(view: View, request: Shed) -> DomainView | None:
    domains = view.site.domains if view.site else ()
    if request.domain is None:
        return next((d for d in domains if d.parent is None and d.kind == "power"), None)
    return next((d for d in domains if d.id == request.domain), None)
