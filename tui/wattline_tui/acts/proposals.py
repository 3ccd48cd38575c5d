"""Acts to be confirmed: the objects, the effect, and the requests that a yes sends."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import msgspec

from wattline_protocol.ids import DomainId, JobId, NodeId
from wattline_protocol.job.selection import Selection, Span
from wattline_protocol.text.quantities import format_duration
from wattline_protocol.text.wording import counted, listed
from wattline_protocol.views.site_views import DomainView, JobView
from wattline_protocol.wire.client_messages import (
    AckProblem,
    Cancel,
    DeclareOff,
    DeclareOn,
    Drain,
    GridEvent,
    Hold,
    OnJobs,
    Release,
    Request,
    Requeue,
    Restore,
    Shed,
    Undrain,
    Update,
)
from wattline_protocol.wire.nodes.acts import Cordon, Uncordon
from wattline_protocol.wire.problems import ProblemView
from wattline_protocol.wire.reservations import Reserve
from wattline_tui.limits import when
from wattline_tui.model import View
from wattline_tui.units import watts

ACTIVE = ("STARTING", "RUNNING", "PAUSED")
NO_REASON = "from top"
"""Recorded where none is typed."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A question, and the requests that a yes sends."""

    question: str
    requests: tuple[Request, ...]

    @property
    def has_reason(self) -> bool:
        """Whether its requests record one."""
        return any("reason" in one.__struct_fields__ for one in self.requests)

    def because(self, reason: str) -> "Proposal":
        """The same with a reason."""
        requests = tuple(
            msgspec.structs.replace(one, reason=reason or NO_REASON)
            if "reason" in one.__struct_fields__
            else one
            for one in self.requests
        )
        return replace(self, requests=requests)


# --- nodes ------------------------------------------------------------------------------------


def drain_or_undrain(view: View, nodes: Sequence[NodeId]) -> Proposal:
    """Undrains if all of them are drained or draining; otherwise drains the others."""
    others = [name for name in nodes if _state(view, name) not in {"draining", "drained"}]
    if not others:
        names = _nodes(nodes)
        return Proposal(
            f"Undrain {names}?\nTasks may start there again.",
            tuple(Undrain(name) for name in nodes),
        )
    return Proposal(
        f"Drain {_nodes(others)}?\n{_remaining(view, others)}, nothing new starts.",
        tuple(Drain(name) for name in others),
    )


def off_or_on(view: View, nodes: Sequence[NodeId], typed: str = "") -> Proposal:
    """On if all of them are off; otherwise the others are powered off, or, where that is not
    possible, declared off by `typed`, the name of the one node. Raises ValueError."""
    others = [name for name in nodes if _state(view, name) != "off"]
    if not others:
        effect = "It counts with its nameplate power until its agent is heard."
        return Proposal(
            f"Declare {_nodes(nodes)} on?\n{effect}", tuple(DeclareOn(name) for name in nodes)
        )
    lost = f"{_work(view, others)} lost."
    if all(is_switchable(view, name) for name in others):
        return Proposal(
            f"Power off {_nodes(others)} by its BMC or PDU?\n{lost}",
            tuple(DeclareOff(name, power_off=True) for name in others),
        )
    if others != [typed]:
        raise ValueError("type the name of one node: nothing else shows that it draws no power")
    name = others[0]
    return Proposal(
        f"Declare node {name} off?\nYou vouch that it draws nothing. {lost}",
        (DeclareOff(name, confirmation=typed),),
    )


def cordon_or_uncordon(view: View, nodes: Sequence[NodeId], typed: str) -> Proposal:
    """One GPU of a node by its index: uncordons it if it is cordoned. Raises ValueError."""
    node = view.node(nodes[0]) if len(nodes) == 1 else None
    if node is None:
        raise ValueError("a GPU is of one node: select one node")
    gpus = [gpu for gpu in node.gpus if str(gpu.index) == typed]
    known = [str(gpu.index) for gpu in node.gpus] or [str(at) for at in range(node.gpu_count)]
    if typed not in known:
        raise ValueError(f"{node.id} has no GPU “{typed[:40]}”: its GPUs are {listed(known, 16)}")
    cordoned = {str(one.index) for one in node.cordons if not one.is_absent}
    if typed in cordoned:
        effect = "It is offered to jobs again."
        return Proposal(
            f"Uncordon GPU {typed} of {node.id}?\n{effect}", (Uncordon(node.id, typed),)
        )
    job = gpus[0].jobs if gpus else ""
    work = f"What is on it ({job}) runs on" if job else "Nothing of a job is on it"
    effect = f"{work}; it is offered to no job."
    return Proposal(f"Cordon GPU {typed} of {node.id}?\n{effect}", (Cordon(node.id, typed),))


def is_switchable(view: View, name: str) -> bool:
    """Whether the scheduler can power it off by itself."""
    node = view.node(NodeId(name))
    return node is not None and node.out_of_band in ("off", "automatic")


def reserve(view: View, nodes: Sequence[NodeId], request: Reserve) -> Proposal:
    """These nodes, for the time and users in `request`."""
    at = f"until {request.end}" if request.end else f"for {format_duration(request.for_s)}"
    start = f"from {request.start}" if request.start else "from now"
    for_whom = listed((*request.accounts, *request.users)) or "maintenance"
    return Proposal(
        f"Reserve {_nodes(nodes)} as {request.name} for {for_whom}, {start} {at}?\n"
        f"{_remaining(view, nodes)}, others start nothing there.",
        (msgspec.structs.replace(request, nodes=tuple(nodes)),),
    )


def _state(view: View, name: NodeId) -> str:
    node = view.node(name)
    return "" if node is None else node.state


def _nodes(names: Sequence[str]) -> str:
    return f"node {names[0]}" if len(names) == 1 else f"{len(names)} nodes ({listed(names, 3)})"


def _remaining(view: View, names: Sequence[NodeId]) -> str:
    """`3 tasks of 2 jobs run on`."""
    count, work = _tasks(view, names)
    return f"{work} {'runs' if count == 1 else 'run'} on"


def _work(view: View, names: Sequence[NodeId]) -> str:
    count, work = _tasks(view, names)
    return f"{work} {'is' if count == 1 else 'are'}"


def _tasks(view: View, names: Sequence[NodeId]) -> tuple[int, str]:
    nodes = (view.node(name) for name in names)
    tasks = [task for node in nodes if node is not None for task in node.tasks]
    jobs = {task.partition(".")[0] for task in tasks}
    if not tasks:
        return 0, "No tasks"
    return len(tasks), f"{counted(len(tasks), 'task')} of {counted(len(jobs), 'job')}"


# --- problems ---------------------------------------------------------------------------------


def acknowledge(view: View, numbers: Sequence[str]) -> Proposal:
    """Acknowledges those that are not; where all are, withdraws that. Raises ValueError."""
    problems = view.site.problems if view.site else ()
    chosen = [one for one in problems if str(one.number) in numbers]
    if not chosen:
        raise ValueError("the problem has ended")
    others = [one for one in chosen if one.acknowledged is None]
    if not others:
        question = f"Withdraw your word on {_problems(chosen)}?\nThey ask for attention again."
        return Proposal(question, tuple(AckProblem(one.number, withdraw=True) for one in chosen))
    effect = "It stays open until its condition ends, and asks for attention no longer."
    question = f"Acknowledge {_problems(others)}?\n{effect}"
    return Proposal(question, tuple(AckProblem(one.number) for one in others))


def _problems(some: Sequence[ProblemView]) -> str:
    return listed([f"{one.subject} ({one.kind.replace('_', ' ')})" for one in some])


# --- jobs -------------------------------------------------------------------------------------


def job_name(view: View, job_id: JobId) -> str:
    """Number, name and owner, as far as the snapshot has them."""
    job = view.job(job_id)
    return f"job {job_id}" + (f" ({job.name}, {job.owner})" if job is not None else "")


def these(jobs: Sequence[JobId]) -> Selection:
    """They alone, whatever their states."""
    return Selection(tuple(Span(job, job) for job in jobs))


def hold_or_release(view: View, jobs: Sequence[JobId]) -> Proposal:
    """Releases if all of them are held; otherwise holds the others."""
    known = _known(view, jobs)
    others = [job for job in jobs if job not in known or known[job].state != "HELD"]
    if not others:
        may = "It may" if len(jobs) == 1 else "They may"
        return _on_jobs(view, "Release", jobs, f"{may} start.", Release)
    return _on_jobs(view, "Hold", others, "Running tasks continue; no others start.", Hold)


def cancel(view: View, jobs: Sequence[JobId]) -> Proposal:
    """Running tasks end by stop notice."""
    running = sum(one.state in ACTIVE for one in _known(view, jobs).values())
    ends = "gets its stop notice now and is killed after its grace period."
    if len(jobs) == 1:
        effect = f"It {ends}" if running else "It will not start."
    else:
        effect = f"{running} run: each {ends} {len(jobs) - running} will not start."
    return _on_jobs(view, "Cancel", jobs, effect, Cancel)


def requeue(view: View, jobs: Sequence[JobId], token: str) -> Proposal:
    """Running tasks are stopped and run again."""
    effect = "Tasks are stopped and start again from their newest checkpoints. No retry is used."
    return _on_jobs(view, "Requeue", jobs, effect, lambda which: Requeue(which, token))


def priority(view: View, jobs: Sequence[JobId], typed: str) -> Proposal:
    """Their place in the queue."""
    now = sorted({one.priority for one in _known(view, jobs).values()})
    effect = f"It is {listed(now)} now. Pending jobs of higher priority start first."
    return _on_jobs(
        view,
        f"Set the priority to {typed} of",
        jobs,
        effect,
        lambda which: Update(which, {"priority": typed}),
    )


def _on_jobs(
    view: View, verb: str, jobs: Sequence[JobId], effect: str, of: Callable[[Selection], OnJobs]
) -> Proposal:
    return Proposal(f"{verb} {_jobs(view, jobs)}?\n{effect}", (of(these(jobs)),))


def _jobs(view: View, jobs: Sequence[JobId]) -> str:
    if len(jobs) == 1:
        return job_name(view, jobs[0])
    owners = Counter(one.owner for one in _known(view, jobs).values()).most_common(3)
    of = ", ".join(f"{count} of {owner}" for owner, count in owners)
    return f"{len(jobs)} jobs ({of or listed(jobs, 3)})"


def _known(view: View, jobs: Sequence[JobId]) -> dict[JobId, JobView]:
    """Those that the snapshot has."""
    wanted = set(jobs)
    return {one.id: one for one in view.site.jobs if one.id in wanted} if view.site else {}


# --- budgets ----------------------------------------------------------------------------------


def shed(view: View, request: Shed) -> Proposal:
    """The budget before and after, the ramp and the duration."""
    domain = domain_of(view, request.domain)
    if domain is None:
        return Proposal("Lower the budget?", (request,))
    to_w = domain.full_budget_w * (1 - request.fraction) - request.by_mw / 1000
    over = f" over {format_duration(request.ramp_s)}" if request.ramp_s else " at once"
    until = f"for {format_duration(request.for_s)}" if request.for_s else "until it is restored"
    return Proposal(
        f"Lower the budget of {domain.id} from {watts(domain.budget_w)} to "
        f"{watts(min(domain.budget_w, to_w))}{over}, {until}?\n{_draw(domain)}",
        (request,),
    )


def grid_event(view: View, request: GridEvent) -> Proposal:
    """The same at a time that the grid announced."""
    domain = domain_of(view, request.domain)
    now_s = view.site.unix_s if view.site else 0.0
    start = when(request.start_unix_s, now_s) if request.start_unix_s else "now"
    until = when(request.end_unix_s, now_s)
    if domain is None:
        return Proposal(f"Announce grid event {request.id}?", (request,))
    to_w = domain.full_budget_w * (1 - request.fraction) - request.by_mw / 1000
    if request.to_mw:
        to_w = request.to_mw / 1000
    return Proposal(
        f"Announce grid event {request.id}: {domain.id} at {watts(to_w)} "
        f"from {start} until {until}?\n{_draw(domain)}",
        (request,),
    )


def restore(view: View, domains: Sequence[DomainId] = ()) -> Proposal:
    """Budgets lowered by an operator: of these domains, or all. Raises ValueError if none is."""
    known = view.site.domains if view.site else ()
    lowered = [d for d in known if any(limit.source == "operator" for limit in d.limits)]
    meant = [d for d in lowered if not domains or d.id in domains]
    if not meant:
        of = f" of {listed(domains, 3)}" if domains else ""
        raise ValueError(f"no operator has lowered a budget{of}")
    names = ", ".join(f"{d.id} ({watts(d.budget_w)})" for d in meant)
    return Proposal(
        f"Restore the budget of {names}?\nLimits of schedules, the grid and cooling stay in force.",
        tuple(Restore(d.id) for d in meant),
    )


def domain_of(view: View, name: DomainId | None) -> DomainView | None:
    """The domain; None: the root of the power tree."""
    domains = view.site.domains if view.site else ()
    if name is None:
        return next((d for d in domains if d.parent is None and d.kind == "power"), None)
    return next((d for d in domains if d.id == name), None)


def _draw(domain: DomainView) -> str:
    return f"It draws {watts(domain.measured_w)} now. Jobs of low priority are slowed first."
