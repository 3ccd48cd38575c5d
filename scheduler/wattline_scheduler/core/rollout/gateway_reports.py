"""Reports of gateways about the revisions of services: workers, and traffic."""

from collections.abc import Iterator, Sequence

from wattline_protocol.ids import Instant, JobId, Now, TaskRef
from wattline_protocol.wire.rollouts import ReportTraffic, RevisionTraffic, WorkerTraffic
from wattline_scheduler.core.model.jobs.job import Gang
from wattline_scheduler.core.model.service_traffic import GatewayTraffic
from wattline_scheduler.core.model.state import State

GONE_S = 60.0
"""After this time it is no longer waited for where others report."""

SETTLE_S = 3.0
"""Time for all gateways to report to a scheduler that has just started."""

MAX_GATEWAYS = 1_024
"""Maximum number of gateways whose reports are kept."""


def take_report(state: State, gateway: str, report: ReportTraffic, now: Now) -> None:
    """Takes a gateway's report; counts go to the rollouts in progress."""
    ready: dict[tuple[str, JobId], int] = {}
    for one in report.revisions:
        ready[one.service, one.revision] = one.ready
        _count(state, one)
    for row in report.routes:
        state.routes.count(row)
    if gateway in state.traffic or len(state.traffic) < MAX_GATEWAYS:
        workers = report.workers
        known = None if workers is None else _live(state, workers)
        state.traffic[gateway] = GatewayTraffic(now.mono_s, ready, known)


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


def forget_gone(state: State, now: Now) -> None:
    """Forgets gateways that have been silent for long; without others the site has none."""
    for name in [name for name, one in state.traffic.items() if _age_s(one, now) > GONE_S]:
        del state.traffic[name]


def silence(state: State, now: Now) -> str:
    """Why it is not known which workers are ready; empty = it is."""
    if not state.traffic:
        return "no gateway reports"
    if now.mono_s - state.started_at < SETTLE_S:
        return "the scheduler has just started"
    silent = sorted(name for name, one in state.traffic.items() if one.is_silent(now))
    return f"gateway {silent[0]} does not report" if silent else ""


def _age_s(one: GatewayTraffic, now: Now) -> float:
    return now.mono_s - Instant(one.heard_at)


def ready_workers(state: State, service: str, revision: JobId, now: Now) -> int:
    """Workers of a revision that are ready at every gateway that reports."""
    key = service, revision
    return min((one.ready.get(key, 0) for one in _heard(state, now)), default=0)


def seen_workers(state: State, now: Now) -> list[dict[TaskRef, WorkerTraffic]]:
    """Workers of each gateway that reports any."""
    return [one.workers for one in _heard(state, now) if one.workers is not None]


def _heard(state: State, now: Now) -> Iterator[GatewayTraffic]:
    return (one for one in state.traffic.values() if not one.is_silent(now))
