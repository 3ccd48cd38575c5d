"""Views of services: their replicas, and each worker as gateways see it."""

from collections.abc import Iterator, Sequence

from wattline_protocol.ids import Now, TaskRef
from wattline_protocol.job.spec import WHOLE_GPU
from wattline_protocol.text.tracebacks import error_of
from wattline_protocol.views.service_views import ReplicasView, ServiceView, WattsView, WorkerView
from wattline_protocol.wire.agent_messages import TaskExit
from wattline_protocol.wire.rollouts import WorkerTraffic
from wattline_scheduler.core.lifecycle.job_state import reason_of
from wattline_scheduler.core.lifecycle.stand_ins import is_lost
from wattline_scheduler.core.model.jobs.job import Attempt, Gang, Job
from wattline_scheduler.core.model.jobs.replicas import open_replicas
from wattline_scheduler.core.model.service_traffic import seen_workers, serving_job
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.requests.selection import Asker
from wattline_scheduler.core.rollout.gateway_reports import ready_workers
from wattline_scheduler.power.scaling.service_minutes import MINUTE_S
from wattline_scheduler.records import AttemptRecord
from wattline_scheduler.views.service_energy_view import (
    energy_view,
    gpu_memory_bytes,
    worker_joules,
)
from wattline_scheduler.views.slo_view import slo_view

STARTING = "starting"
READY = "ready"
READINESS = (STARTING, "loading", "draining", "stalled", "probed", READY)
"""States of a worker, worst first."""

MAX_REASON_CHARS = 200
RATE_S = 2 * MINUTE_S
"""Minutes that began since then count for the rate."""
MW_PER_W = 1000

Seen = Sequence[dict[TaskRef, WorkerTraffic]]
"""Workers by gateway."""


def service_view(state: State, jobs: Sequence[Job], asker: Asker, now: Now) -> ServiceView:
    """A service, from its open jobs by number."""
    name = jobs[0].spec.name
    rollout = state.rollouts.get(name)
    record = None if rollout is None else rollout.record
    serving = serving_job(jobs, rollout)
    seen = seen_workers(state.traffic, now)
    ready = sum(ready_workers(state, name, job.id, now) for job in jobs)
    return ServiceView(
        name=name,
        owner=serving.record.owner,
        revision=serving.id,
        replicas=_replicas(state, serving, ready),
        workers=tuple(row for job in jobs for row in _workers(state, job, asker, seen)),
        state=serving.record.state,
        reason=reason_of(serving, serving.record.state),
        rollout="" if record is None or not record.is_open else record.phase,
        next_revision=None if record is None or not record.is_open else record.new,
        energy=energy_view(state, name, jobs, now),
        slo=slo_view(state, serving.spec, now),
        watts=_watts(state, serving),
        requests_per_s=_requests_per_s(state, name, now),
    )


def _requests_per_s(state: State, name: str, now: Now) -> float | None:
    minutes = state.service_minutes.get(name)
    recent = [] if minutes is None else list(minutes.since(now.unix_s - RATE_S))
    seconds = sum(one.seconds for one in recent)
    return round(sum(one.requests for one in recent) / seconds, 3) if seconds else None


def _replicas(state: State, job: Job, ready: int) -> ReplicasView:
    want = 0 if job.is_asleep else job.gang_count
    scaling = state.scaling.get(job.id)
    why = "" if scaling is None else scaling.why
    return ReplicasView(job.spec.gang_count, job.spec.most_gangs, want, ready, why)


def _watts(state: State, job: Job) -> WattsView | None:
    """By the share of each GPU that a replica has."""
    if job.id not in state.scaling:
        return None
    drawn = wanted = floor = 0.0
    for attempt in (one for gang in open_replicas(job) for one in gang.live):
        node, share = state.nodes[attempt.node], attempt.gpu_milli / WHOLE_GPU
        samples = {} if node.beat is None else {one.index: one for one in node.beat.gpus}
        for gpu in (node.gpus[at] for at in attempt.record.gpus if at in node.gpus):
            sample = samples.get(gpu.index)
            drawn += share * ((sample.power_mw or 0) if sample is not None else 0)
            wanted += share * max(attempt.gang.wanted_cap_mw, gpu.cap_min_mw)
            floor += share * gpu.cap_min_mw
    return WattsView(drawn / MW_PER_W, wanted / MW_PER_W, floor / MW_PER_W) if floor else None


def _workers(state: State, job: Job, asker: Asker, seen: Seen) -> Iterator[WorkerView]:
    """Live replicas, and those whose last try failed. An end tells the last line of the log to
    those who may read it."""
    may_read = asker.may_read_logs(job.record.owner, state.site.logs)
    for gang in open_replicas(job):
        failed = _failed(gang)
        why = "" if failed is None else _why(failed.exit, may_read=may_read)
        for attempt in gang.live:
            yield _worker(state, attempt, why, seen)
        if failed is not None and gang.phase_name == "pending":
            yield WorkerView(str(failed.ref), failed.node, "failed", reason=why)


def _worker(state: State, attempt: Attempt, why: str, seen: Seen) -> WorkerView:
    ref = attempt.record.ref
    rows = [workers.get(ref) for workers in seen]
    known = [row for row in rows if row is not None]
    word = _state(state, attempt.gang, [STARTING if row is None else row.state for row in rows])
    return WorkerView(
        task=str(ref),
        node=attempt.node,
        state=word,
        in_flight=sum(row.in_flight for row in known),
        batch_s=max((row.batch_s for row in known), default=0.0),
        reason=why if word in READINESS[:2] else "",
        joules=worker_joules(attempt),
        gpu_memory_bytes=gpu_memory_bytes(state, attempt),
        memory_bytes=attempt.usage.max_rss_bytes or None,
    )


def _state(state: State, gang: Gang, words: Sequence[str]) -> str:
    """`words`: those of the gateways."""
    if is_lost(state, gang):
        return "lost"
    if gang.phase_name == "paused":
        return "paused"
    if gang.phase_name == "ending":
        return "draining"
    if not words:
        return STARTING if gang.phase_name == "starting" else "unknown"
    return min(words, key=_readiness)


def _readiness(word: str) -> int:
    """A word of a later release is below those known: it is to be seen."""
    return READINESS.index(word) if word in READINESS else -1


def _failed(gang: Gang) -> AttemptRecord | None:
    """The newest ended attempt, if it failed."""
    newest = gang.past[-1].record if gang.past else None
    return newest if newest is not None and newest.state == "FAILED" else None


def _why(end: TaskExit | None, *, may_read: bool) -> str:
    """Error of the log's last traceback, or the log's last line; else the reason of the end."""
    if end is None:
        return ""
    last = _last_line(end.log_tail) if may_read else ""
    if last or end.detail:
        return (last or end.detail)[:MAX_REASON_CHARS]
    if end.signal is not None:
        return f"killed by signal {end.signal}"
    return f"exit code {end.code}" if end.code is not None else end.kind.replace("_", " ")


def _last_line(log_tail: str) -> str:
    lines = (line.strip() for line in reversed(log_tail.splitlines()))
    return error_of(log_tail) or next((line for line in lines if line), "")
