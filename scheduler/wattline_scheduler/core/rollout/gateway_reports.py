"""Reports of gateways about the revisions of services: workers, and traffic."""

from collections.abc import Iterator, Sequence

import msgspec

from wattline_protocol.ids import JobId, Now, TaskRef
from wattline_protocol.wire.client_messages import Denied, Done
from wattline_protocol.wire.rollouts import (
    NO_ENERGY,
    ReportTraffic,
    RevisionTraffic,
    WorkerTraffic,
)
from wattline_scheduler.core.model.jobs.job import Gang
from wattline_scheduler.core.model.service_traffic import SILENT_S, GatewayTraffic
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.rollout.gone_gateways import note_left_out, note_reported

MAX_GATEWAYS = 1_024
"""Maximum number of gateways whose reports are kept."""


def take_report(state: State, gateway: str, report: ReportTraffic, now: Now) -> Done | Denied:
    """Takes a gateway's report; counts go to the rollouts in progress. Of one that cannot be true
    nothing is taken, so that its gateway is silent."""
    if why := _objection(report):
        return Denied("bad_request", why)
    ready: dict[tuple[str, JobId], int] = {}
    for one in report.revisions:
        ready[one.service, one.revision] = one.ready
        _count(state, one)
        if one.energy != NO_ENERGY and state.work.services.has(one.service, one.revision):
            state.energy.add(one.service, one.revision, one.energy, now)
    for row in report.routes:
        state.routes.count(row)
    if gateway in state.traffic or len(state.traffic) < MAX_GATEWAYS:
        workers = report.workers
        known = None if workers is None else _live(state, workers)
        found = GatewayTraffic(now.mono_s, ready, known)
        _add_load(state, found, state.traffic.get(gateway), report, now)
        state.traffic[gateway] = found
        note_left_out(state, gateway, report.left_out, now)
        note_reported(state, gateway)
    return Done("")


def _objection(report: ReportTraffic) -> str:
    """Why a report cannot be true; empty = it can."""
    services = report.services or ()
    if len({one.service for one in services}) < len(services):
        return "a service is reported twice"
    if len({(one.service, one.revision) for one in report.revisions}) < len(report.revisions):
        return "a revision is reported twice"
    for one in services:
        if one.work < one.answered or (one.work and not one.answered):
            return f"{one.service}: {one.answered} answers with work {one.work}"
    return ""


def _add_load(
    state: State,
    new: GatewayTraffic,
    old: GatewayTraffic | None,
    report: ReportTraffic,
    now: Now,
) -> None:
    """Adds the load of services that exist to what is not taken yet."""
    if report.services is None:
        return
    before = {} if old is None or old.load is None else old.load
    names = state.work.services.names()
    new.load = {}
    for one in report.services:
        if one.service in names:  # a gateway cannot fill the memory with others
            known = before.get(one.service)
            if known is not None:
                one = msgspec.structs.replace(known, queued=0).plus(one)
            new.load[one.service] = one
    is_first = old is None or not old.load_s
    new.loaded = None if old is None or is_first else old.loaded
    if report.left_out:
        listed = frozenset(one.service for one in report.services)
        new.loaded = listed if new.loaded is None else new.loaded & listed
    if old is None or old.is_awaited:
        new.load_s = min(report.seconds, SILENT_S)
    else:
        elapsed_s, new.ahead_s = old.elapsed_s(report.seconds, now)
        new.load_s = old.load_s + elapsed_s


def _live(state: State, workers: Sequence[WorkerTraffic]) -> dict[TaskRef, WorkerTraffic]:
    """Those of attempts that are live, so that a gateway cannot fill the memory with others."""
    gangs = {gang.key: gang for one in workers for gang in _gangs(state, one.ref)}
    live = {attempt.record.ref for gang in gangs.values() for attempt in gang.live}
    return {one.ref: one for one in workers if one.ref in live}


def _gangs(state: State, ref: TaskRef) -> Sequence[Gang]:
    """The replica of a task, if there is one."""
    job = state.work.jobs.get(ref.job)
    if job is None or job.spec.kind != "service":
        return ()
    number = ref.task // job.spec.gang_size
    return job.gangs[number : number + 1]


def _count(state: State, one: RevisionTraffic) -> None:
    rollout = state.rollouts.get(one.service)
    if rollout is None or not rollout.record.is_open:
        return
    if one.revision == rollout.record.new:
        rollout.new.add(one.requests, one.errors, one.times)
        rollout.equal += one.equal
        rollout.different += one.different
        rollout.uncompared += one.uncompared
        rollout.compares = rollout.compares if one.compares is None else one.compares
    elif one.revision == rollout.record.old:
        rollout.old.add(one.requests, one.errors, one.times)


def forget_energy(state: State) -> None:
    """Forgets that of revisions that have ended."""
    for key in state.energy.known:
        if not state.work.services.has(*key):
            state.energy.forget(key)


def ready_workers(state: State, service: str, revision: JobId, now: Now) -> int:
    """Workers of a revision that are ready at every gateway that reports."""
    key = service, revision
    return min((one.ready.get(key, 0) for one in _heard(state, now)), default=0)


def _heard(state: State, now: Now) -> Iterator[GatewayTraffic]:
    return (one for one in state.traffic.values() if not one.is_silent(now))
