"""Proposals about nodes, their GPUs and their reservations."""

from collections.abc import Sequence

import msgspec

from wattline_protocol.ids import NodeId
from wattline_protocol.text.moments import when
from wattline_protocol.text.quantities import format_duration
from wattline_protocol.text.wording import counted, listed, named
from wattline_protocol.views.site_views import GpuView, NodeView
from wattline_protocol.wire.client_messages import (
    DeclareOff,
    DeclareOn,
    Drain,
    Undrain,
)
from wattline_protocol.wire.nodes.acts import Cordon, Uncordon
from wattline_protocol.wire.reservations import ReservationView, Reserve, Unreserve
from wattline_tui.acts.proposal import Proposal
from wattline_tui.listing.places import gpu_indices
from wattline_tui.model import View

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
        effect = "Each counts at its nameplate power until its agent reports."
        return Proposal(
            f"Declare {_nodes(nodes)} on?\n{effect}", tuple(DeclareOn(name) for name in nodes)
        )
    lost = f"{_work(view, others)} lost."
    if all(is_switchable(view, name) for name in others):
        own = "its" if len(others) == 1 else "their"
        return Proposal(
            f"Power off {_nodes(others)} by {own} BMC or PDU?\n{lost}",
            tuple(DeclareOff(name, power_off=True) for name in others),
        )
    if others != [typed]:
        raise ValueError(
            f"{_nodes(others)} cannot be powered off from here: select one, and type its name"
        )
    name = others[0]
    return Proposal(
        f"Declare node {name} off?\nYou vouch that it draws nothing. {lost}",
        (DeclareOff(name, confirmation=typed),),
    )


def is_switchable(view: View, name: str) -> bool:
    """Whether the scheduler can power it off by itself."""
    node = view.node(NodeId(name))
    return node is not None and node.out_of_band in ("off", "automatic")


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
    """A task that runs on several of the nodes is one."""
    nodes = (view.node(name) for name in names)
    tasks = {task.partition(" ")[0] for node in nodes if node is not None for task in node.tasks}
    jobs = {task.partition(".")[0] for task in tasks}
    if not tasks:
        return 0, "No tasks"
    return len(tasks), f"{counted(len(tasks), 'task')} of {counted(len(jobs), 'job')}"


# --- GPUs -------------------------------------------------------------------------------------

Gpu = tuple[NodeView, str]
"""A GPU by its node and its index; by its UUID where the node does not list it any more."""


def cordon_or_uncordon(view: View, names: Sequence[str]) -> Proposal:
    """GPUs as `gpu-01/3`: uncordons them if all are cordoned; otherwise cordons the others.
    Raises ValueError."""
    gpus = [_gpu(view, name) for name in names]
    others = [(node, gpu) for node, gpu in gpus if gpu not in _cordoned(node)]
    if not others:
        are = "It is" if len(gpus) == 1 else "They are"
        return Proposal(
            f"Uncordon {_gpus(gpus)}?\n{are} schedulable again.",
            tuple(Uncordon(node.id, gpu) for node, gpu in gpus),
        )
    are = "It is" if len(others) == 1 else "They are"
    return Proposal(
        f"Cordon {_gpus(others)}?\n{are} unschedulable. {_continues(others)}",
        tuple(Cordon(node.id, gpu) for node, gpu in others),
    )


def _gpu(view: View, name: str) -> Gpu:
    """Raises ValueError with those that there are."""
    where, _, gpu = name.partition("/")
    node = view.node(NodeId(where))
    if node is None:
        raise ValueError(f"the site has no node {where[:40]}")
    known = gpu_indices(node)
    if gpu not in known and gpu not in _cordoned(node):
        raise ValueError(f"{node.id} has no GPU “{gpu[:40]}”: its GPUs are {listed(known, 16)}")
    return node, gpu


def _cordoned(node: NodeView) -> set[str]:
    return {one.uuid if one.is_absent else str(one.index) for one in node.cordons}


def _gpus(some: Sequence[Gpu]) -> str:
    if len(some) == 1:
        return f"GPU {some[0][1]} of {some[0][0].id}"
    return f"{len(some)} GPUs ({listed([f'{node.id}/{gpu}' for node, gpu in some], 4)})"


def _continues(some: Sequence[Gpu]) -> str:
    views = [gpu for node, index in some for gpu in node.gpus if str(gpu.index) == index]
    if len(views) < len(some):
        return "What runs there continues."
    jobs = sorted({job for gpu in views for job in _jobs_on(gpu)})
    if not jobs:
        return "No job is on it." if len(some) == 1 else "No job is on them."
    return f"{named('Job', jobs)} {'continues' if len(jobs) == 1 else 'continue'} there."


def _jobs_on(gpu: GpuView) -> list[int]:
    mig = [one.job for one in gpu.mig or ()]
    return [job for job in (gpu.job, *gpu.others, *mig) if job is not None]


# --- reservations -----------------------------------------------------------------------------


def reserve(view: View, nodes: Sequence[NodeId], request: Reserve) -> Proposal:
    """These nodes, for the time and users in `request`."""
    at = f"until {request.end}" if request.end else f"for {format_duration(request.for_s)}"
    start = f"from {request.start}" if request.start else "from now"
    for_whom = listed((*request.accounts, *request.users)) or "maintenance"
    return Proposal(
        f"Reserve {_nodes(nodes)} as {request.name} for {for_whom}, {start} {at}?\n"
        f"{_remaining(view, nodes)}; other jobs start nothing there.",
        (msgspec.structs.replace(request, nodes=tuple(nodes)),),
    )


def unreserve(view: View, names: Sequence[str]) -> Proposal:
    """Cancels reservations; jobs in them continue. Raises ValueError."""
    meant = [one for one in view.reservations if one.name in names]
    if not meant:
        raise ValueError("the reservation is over")
    now_s = view.site.unix_s if view.site else 0.0
    which = f"reservation {meant[0].name}" if len(meant) == 1 else f"{len(meant)} reservations"
    effects = [_freed(one, now_s) for one in meant]
    return Proposal(
        "\n".join((f"Cancel {which}?", *effects)), tuple(Unreserve(one.name) for one in meant)
    )


def _freed(one: ReservationView, now_s: float) -> str:
    """What the cancellation changes on its nodes."""
    where = counted(len(one.nodes), "node")
    if one.state == "planned":
        at = when(one.start_unix_s, now_s)
        return f"{one.name} has not begun: jobs on its {where} need not end before {at}."
    work = f"{counted(len(one.jobs), 'job')} in {one.name}"
    verb = "continues" if len(one.jobs) == 1 else "continue"
    runs = f"{work} {verb}; its" if one.jobs else f"No job runs in {one.name}; its"
    return f"{runs} {where} {'is' if len(one.nodes) == 1 else 'are'} open to all jobs at once."
