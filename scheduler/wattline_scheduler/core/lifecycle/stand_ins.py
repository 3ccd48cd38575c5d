"""Stand-ins: replicas of a service in place of those on hosts that are lost.

A replica whose node is isolated may still run, so it gets no second attempt (I7) and keeps its
lease; as one whose node is late while the gateways miss it. A further replica is queued under a
task index of its own, beyond the number of replicas: that number is exceeded while the lost one is
not known dead. Once another one is ready, the route of the lost one is revoked. Once the node
reports again, or the replica runs again elsewhere, as many stand-ins end. They are counted, not
paired, so that nothing about them need be on record. A service whose `on_isolation` is `continue`
waits for its nodes.
"""

from wattline_protocol.ids import NodeId, Now
from wattline_scheduler.core.admission.open_job_limits import too_many_replicas
from wattline_scheduler.core.lifecycle.ending import end_gangs, ends_for_good
from wattline_scheduler.core.lifecycle.job_state import refresh
from wattline_scheduler.core.lifecycle.scaling import add_replica
from wattline_scheduler.core.model.jobs.job import Ended, Gang, Job, Running
from wattline_scheduler.core.model.jobs.replicas import open_beyond_count, open_replicas
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.service_traffic import awaited_gateways
from wattline_scheduler.core.model.state import State

LATE_BEATS = 2.5
"""Beat periods without a beat from which a host is late."""

SETTLED_S = 60.0
"""A replica that has run so long serves: its stand-in is no longer needed."""


def replace_lost(state: State, now: Now) -> None:
    """Adds stand-ins for lost replicas, and ends those no longer needed."""
    _find_missed(state, now)
    is_any_lost = any(_is_lost_host(node) and node.attempts for node in state.nodes.values())
    for jobs in state.work.services.open().values():
        for job in jobs:
            if (is_any_lost and job.live_count) or job.open.since(job.gang_count):
                _balance(state, job, now)


def is_lost(state: State, gang: Gang) -> bool:
    """Whether a replica is on an isolated node, so that others are to serve in its place."""
    spec = gang.job.spec
    return (
        spec.kind == "service"
        and spec.stops_on_isolation
        and any(_is_lost_host(state.nodes[attempt.node]) for attempt in gang.live)
    )


def _is_lost_host(node: NodeNow) -> bool:
    return node.is_isolated or node.is_missed


def _find_missed(state: State, now: Now) -> None:
    """Hosts that are lost for services before they count as isolated: late beats alone may be the
    scheduler's own network, but not if the gateways miss a replica there as well."""
    missed = _missed(state, now)
    for node in state.nodes.values():
        if node.is_missed != (node.id in missed):
            node.is_missed = not node.is_missed
            node.outdate()


def _missed(state: State, now: Now) -> set[NodeId]:
    late_s = LATE_BEATS * state.site.timing.beat_period_s
    late = {
        node.id
        for node in state.nodes.values()
        if node.attempts and node.heard_at is not None and now.mono_s - node.heard_at > late_s
    }
    gateways = awaited_gateways(state.traffic, now).values()
    if not late or not gateways or any(g.is_silent(now) for g in gateways):
        return set()
    found = set[NodeId]()
    for name, jobs in state.work.services.open().items():
        for job in jobs:
            running = [gang for gang in open_replicas(job) if isinstance(gang.phase, Running)]
            ready = max(one.ready.get((name, job.id), 0) for one in gateways)
            if ready < len(running):
                found |= {one.node for gang in running for one in gang.live if one.node in late}
    return found


def _balance(state: State, job: Job, now: Now) -> None:
    is_in_rollout = job.replica_limit is not None  # which counts its replicas by itself
    if job.record.cancelled_by or job.record.is_held or is_in_rollout:
        return
    count = job.gang_count
    replicas = [gang for gang in job.gangs[:count] if _is_wanted(gang)]
    beyond = open_beyond_count(job)
    stand_ins = [gang for gang in beyond if _is_wanted(gang) and not is_lost(state, gang)]
    missing = sum(is_lost(state, gang) for gang in replicas) - len(stand_ins)
    needed = sum(not _serves(state, gang, now) for gang in replicas)
    if missing > 0:
        _add(state, job, missing, now)
    elif len(stand_ins) > needed:
        reason = "the replica that it stood in for runs again"
        end_gangs(state, stand_ins[needed:], "cancelled", reason, now)
        refresh(state, job, now)


def _is_wanted(gang: Gang) -> bool:
    return not (ends_for_good(gang) or gang.is_held)


def _serves(state: State, gang: Gang, now: Now) -> bool:
    phase = gang.phase
    is_settled = isinstance(phase, Running) and now.mono_s - phase.since >= SETTLED_S
    return is_settled and not is_lost(state, gang)


def _add(state: State, job: Job, missing: int, now: Now) -> None:
    count = job.gang_count
    free = [g.number for g in job.gangs[count:] if g.phase == Ended("CANCELLED")]
    numbers = [*free, *range(len(job.gangs), len(job.gangs) + missing)][:missing]
    for number in numbers:
        if too_many_replicas(state, job, job.spec, 1, number + 1):
            break  # it is tried again at the next tick
        add_replica(state, job, number, "stands in for a replica on a lost node", now)
        name = job.gangs[number].name
        text = f"{name} stands in for a replica whose node does not report"
        state.journal.note("replica_replaced", text, now, job=job.id, level="warning")
    refresh(state, job, now)
