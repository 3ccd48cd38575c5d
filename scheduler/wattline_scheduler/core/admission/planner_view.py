"""Node offers to the planner, updated in its view of the fleet when a node changes.

A change of a node marks its offer as outdated (`NodeNow.outdate`); an invariant checks that. Only
events renew the view (`renew_offers`): a read makes current offers on a copy, so that it never
changes what is planned later.
"""

from dataclasses import replace

import numpy as np

from wattline_protocol.data.references import checkpoint_set
from wattline_protocol.ids import Now
from wattline_protocol.job.spec import WHOLE_GPU
from wattline_scheduler.core.admission.output_slots import free_output_slots
from wattline_scheduler.core.admission.reservations import reserved
from wattline_scheduler.core.leases.lease_load import booking_of, is_leased
from wattline_scheduler.core.model.command_outbox import MAX_OUTSTANDING
from wattline_scheduler.core.model.data.stored_checkpoints import may_resume_on
from wattline_scheduler.core.model.devices import cordoned, free_devices, why_not_offered, withheld
from wattline_scheduler.core.model.jobs.job import Attempt, Ending, Job
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.queue.remaining_time import endless, ends
from wattline_scheduler.core.model.state import State
from wattline_scheduler.plan.model.columns import PRIORITY_LEVELS
from wattline_scheduler.plan.model.device_classes import devices, gpu_of
from wattline_scheduler.plan.model.shape import Waiting
from wattline_scheduler.plan.model.snapshot import ENDING_PRIORITY, NodeOffer, Part, Snapshot
from wattline_scheduler.plan.search.fleet_view import FleetView, HeadroomSource
from wattline_scheduler.power.demand.node_load import is_controlled
from wattline_scheduler.power.topology.matrix import Bools

MAX_CPUS = 2_048
"""Maximum number of CPUs of one host that are offered: the planner has tables by number of CPUs,
and an agent may report 2,147,483,647."""

UNABLE = "its keeper cannot start tasks as other accounts ([run_as]); see docs/keeper.md"
NO_RULES = "its keeper is root, and the site file does not name the account of tasks ([run_as])"


def renew_offers(state: State, now: Now) -> None:
    """Brings the view of the fleet up to date; only while an event is handled."""
    _put_outdated(state, state.fleet_view, now)
    state.outdated.clear()


def _put_outdated(state: State, fleet_view: FleetView, now: Now) -> None:
    for node in state.outdated:
        fleet_view.put(offer_of(state, state.nodes[node], now))


def current_fleet_view(state: State, now: Now) -> FleetView:
    """The view of the fleet, up to date; a copy if that takes new offers."""
    if not state.outdated:
        return state.fleet_view
    fleet_view = state.fleet_view.copy_all()
    _put_outdated(state, fleet_view, now)
    return fleet_view


def snapshot(state: State, now: Now, waiting: tuple[Waiting, ...] = ()) -> Snapshot:
    """Snapshot of the current state for the planner; valid until the next event."""
    return snapshot_of(state, current_fleet_view(state, now), now, waiting)


def snapshot_of(
    state: State, fleet_view: FleetView, now: Now, waiting: tuple[Waiting, ...] = ()
) -> Snapshot:
    """Snapshot of another view of the fleet."""
    budget_mw = [state.domains.budget_mw(row.domain) for row in fleet_view.rows]
    seen = fleet_view.snapshot(now.mono_s, HeadroomSource(state.books, budget_mw), waiting)
    return replace(
        seen, reservations=reserved(state, now), data=_data(state) | free_output_slots(state)
    )


def _data(state: State) -> dict[str, Bools]:
    """[node] has the version, for each that any node has; and so for checkpoints of jobs. Made from
    what nodes have, as jobs may read a hundred times as many versions."""
    by_manifest: dict[str, Bools] = {}
    for node in state.nodes.values():
        at = state.fleet_view.position[node.id]
        for sha256 in node.data.ready:
            if sha256 not in by_manifest:
                by_manifest[sha256] = np.zeros(len(state.nodes), np.bool_)
            by_manifest[sha256][at] = True
    of_manifest = state.data.of_manifest
    found = {
        name: has_it
        for sha256, has_it in by_manifest.items()
        for name in of_manifest.get(sha256, ())
    }
    everywhere = np.ones(len(state.nodes), np.bool_)
    kept = {
        checkpoint_set(job.id): _resumes(state, job, everywhere)
        for job in state.work.with_data.values()
        if job.spec.data.outputs
    }
    return found | kept


def _resumes(state: State, job: Job, everywhere: Bools) -> Bools:
    """[node] has the newest checkpoint of a job, or the job needs none."""
    resume, position = job.gangs[0].resume, state.fleet_view.position
    if resume.stored is None and not resume.is_bound:
        return everywhere
    found = ~everywhere
    for name in {*state.holding, resume.home}.intersection(state.nodes):  # others hold nothing
        found[position[name]] = may_resume_on(state.nodes[name], resume)
    return found


def offer_of(state: State, node: NodeNow, now: Now) -> NodeOffer:
    """Current offer of a node."""
    usable = [
        gpu
        for gpu in node.gpus.values()
        if is_controlled(gpu) and gpu.healthy and gpu.index not in node.lost
    ]
    not_given = withheld(node).keys() | cordoned(node)
    free = free_devices(node, (gpu for gpu in usable if gpu.index not in not_given))
    attempts = node.attempts.values()
    shared = {index for one in attempts if one.gpu_milli < WHOLE_GPU for index in one.record.gpus}
    booking = booking_of(state, node)
    booked_mw, cpus = dict(booking.held), min(node.record.cpus, MAX_CPUS)
    return NodeOffer(
        node=node.id,
        rack=node.site.rack,
        closed=_closed(state, node),
        gpus=tuple(device for gpu in usable for device in devices(gpu)),
        free=free,
        parts=tuple(
            Part(gpu, free_milli, booked_mw[gpu.index])
            for gpu in usable
            if gpu.index in shared
            and gpu.mig is None
            and gpu.index not in not_given
            and 0 < (free_milli := node.free_milli(gpu.index)) < WHOLE_GPU
        ),
        cpus=cpus,
        cpus_free=cpus - node.cpus_used,
        memory_bytes=node.record.memory_bytes,
        memory_free_bytes=node.record.memory_bytes - node.memory_used_bytes,
        booking=booking,
        not_offered=why_not_offered(node),
        least_priority=min(map(_priority, attempts), default=PRIORITY_LEVELS),
        labels=node.labels,
        ends=ends(state.work.runtime_bounds, node, now),
        endless=endless(node),
        warmth=sum(node.warmth.get(gpu_of(one.index), 0) for one in free) // max(1, len(free)),
    )


def _priority(attempt: Attempt) -> int:
    is_leaving = isinstance(attempt.gang.phase, Ending)
    return ENDING_PRIORITY if is_leaving else attempt.gang.job.spec.priority


def _closed(state: State, node: NodeNow) -> str:
    """Reason why no task may be placed on the node; empty = one may."""
    if node.state != "ok":
        return node.state
    if node.is_missed:
        return "its beats are late, and gateways miss its replicas"
    if not is_leased(state, node):
        return "its caps are being read back"
    if not node.starts_any(state.site.run_as):
        return NO_RULES if state.site.run_as is None else UNABLE
    if len(node.names) >= MAX_OUTSTANDING:
        return f"{MAX_OUTSTANDING} commands to it are unanswered"
    return ""
