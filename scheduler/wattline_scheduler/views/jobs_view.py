"""Views of jobs and attempts: identical for jobs in memory and on disk."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import msgspec

from wattline_protocol.ids import Now, TaskRef, UnixTime
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.site.model import Tariff
from wattline_protocol.views.site_views import ENDED_STATES, AttemptView, JobView
from wattline_protocol.views.training_views import CheckpointView
from wattline_protocol.wire.agent_messages import TaskExit
from wattline_scheduler.core.lifecycle.job_state import reason_of
from wattline_scheduler.core.model.jobs.job import Attempt, Gang, Job, Paused, Running
from wattline_scheduler.core.model.queue.remaining_time import left_of_job
from wattline_scheduler.core.model.queue.runtime_bounds import RuntimeBounds
from wattline_scheduler.core.model.usage.usage import add_usage, cost_usd, energy_kwh, gpu_hours
from wattline_scheduler.plan.learning.checkpoint_interval import interval_s
from wattline_scheduler.records import AttemptRecord, GangRecord, JobRecord
from wattline_scheduler.views.ranks_view import rank_views, slow_sentence
from wattline_scheduler.views.verdict_view import diagnosis, utilisation

MAX_ATTEMPTS_SHOWN = 2_000
"""Maximum number of attempts in a GetJob reply; larger arrays show the newest."""

NOT_SHIFTED: Mapping[TaskRef, UnixTime | None] = MappingProxyType({})

SIGNAL_BASE = 128
"""A process killed by signal n has exit status 128 + n, as shells report it."""


@dataclass(frozen=True, slots=True)
class GangCounts:
    """Number of gangs of a job by phase."""

    all: int
    running: int
    ended: int


def counts_in_memory(job: Job) -> GangCounts:
    """Counts of a job in memory, without released replicas that have ended."""
    removed = max(0, len(job.gangs) - job.gang_count) - len(job.open.since(job.gang_count))
    running, ended = job.count["running"], job.count["ended"]
    return GangCounts(len(job.gangs) - removed, running, ended - removed)


def counts_on_record(gangs: Sequence[GangRecord]) -> GangCounts:
    """Counts of a job read from disk."""
    phases = [gang.phase for gang in gangs]
    return GangCounts(len(phases), phases.count("running"), phases.count("ended"))


def newest_record(attempt: Attempt) -> AttemptRecord:
    """The attempt's record on disk, updated with the newest report of its agent."""
    record, report = attempt.record, attempt.report
    if report is None or not attempt.is_live:
        return record
    return msgspec.structs.replace(
        record,
        usage=attempt.usage,
        metrics=report.metrics or record.metrics,
        pid=report.pid if report.pid is not None else record.pid,
        started_unix_s=report.started_unix_s or record.started_unix_s,
        readopted=max(report.readopted, record.readopted),
        note=report.note or record.note,
        checkpoint=attempt.checkpoint,
    )


def job_in_memory(job: Job, tariff: Tariff, *, with_attempts: bool = False) -> JobView:
    """The view of a job in memory."""
    record = job.record
    if record.state not in ENDED_STATES:  # the record has the reason of the last state change only
        record = msgspec.structs.replace(record, reason=reason_of(job, record.state))
    gangs = job.tried_gangs
    attempts = [newest_record(a) for gang in gangs for a in gang.attempts]
    return job_view(
        record,
        counts_in_memory(job),
        attempts,
        tariff,
        with_attempts=with_attempts,
        shifted={a.record.ref: at for g in gangs for at in _shift(g) for a in g.live},
        failure_free_s=job.failure_free_s,
        is_hung=any(gang.progress is not None and gang.progress.is_stalled for gang in gangs),
        slow=slow_sentence(job),
    )


def job_in_full(job: Job, tariff: Tariff, bounds: RuntimeBounds, now: Now) -> JobView:
    """As `job_in_memory`, with attempts, expected end, and the grace period in force."""
    view = job_in_memory(job, tariff, with_attempts=True)
    view = msgspec.structs.replace(view, ranks=rank_views(job))
    if job.grace_s < job.spec.recovery.grace_s:
        view = msgspec.structs.replace(view, grace_s=job.grace_s)
    return _with_end(view, job, bounds, now)


def job_in_list(job: Job, tariff: Tariff, bounds: RuntimeBounds, now: Now) -> JobView:
    """As `job_in_memory`, with its expected end."""
    return _with_end(job_in_memory(job, tariff), job, bounds, now)


def _with_end(view: JobView, job: Job, bounds: RuntimeBounds, now: Now) -> JobView:
    """To the second, so that an estimate that has not changed is the same text."""
    left = left_of_job(bounds, job, now)
    if left is None:
        return view
    end_unix_s = UnixTime(float(round(now.unix_s + left.s)))
    return msgspec.structs.replace(view, expected_end_unix_s=end_unix_s, expected_end_why=left.why)


def _shift(gang: Gang) -> tuple[UnixTime | None, ...]:
    """Start of its try without its pauses, None while it is paused; empty if it never was."""
    match gang.phase:
        case Paused():
            return (None,)
        case Running(shifted_unix_s=at) if at is not None:
            return (at,)
        case _:
            return ()


def _gang_size(spec: JobSpec, live: Sequence[AttemptRecord]) -> int:
    """Tasks of a gang: of a range of nodes those that run, or what suffices."""
    return (len(live) or spec.resources.least_nodes) if spec.resources.is_range else spec.gang_size


def job_view(
    record: JobRecord,
    counts: GangCounts,
    attempts: Sequence[AttemptRecord],
    tariff: Tariff,
    *,
    with_attempts: bool = False,
    shifted: Mapping[TaskRef, UnixTime | None] = NOT_SHIFTED,
    failure_free_s: float = 0.0,
    is_hung: bool = False,
    slow: str = "",
) -> JobView:
    """The view of a job from its records; `attempts` is ordered oldest first within each task.

    `shifted`: start of each attempt that was paused, as if it had not been; None while it is.
    """
    spec = record.spec
    usage = add_usage(attempt.usage for attempt in attempts)
    newest = newest_attempts(attempts)
    if spec.resources.is_range:  # tasks of a larger gang before have no part in the newest try
        tries = max((a.attempt for a in newest), default=0)
        newest = [a for a in newest if a.attempt == tries]
    live = [a for a in newest if a.ended_unix_s is None]
    starts = [a.started_unix_s for a in attempts if a.started_unix_s is not None]
    gang_gpus = _gang_size(spec, live) * spec.resources.gpus_per_node
    is_measured = not spec.resources.mig
    ran_s, running_since = run_time(attempts, shifted)
    has_goal = spec.power.goal == "efficiency"
    found = diagnosis(usage, is_measured=is_measured, is_hung=is_hung, slow=slow, has_goal=has_goal)
    return JobView(
        id=record.id,
        name=spec.name,
        kind=spec.kind,
        owner=record.owner,
        account=record.account,
        queue=spec.queue,
        priority=spec.priority,
        state=record.state,
        reason=record.reason,
        made=record.made,
        submitted_unix_s=record.submitted_unix_s,
        started_unix_s=min(starts, default=None),
        ended_unix_s=record.ended_unix_s,
        gangs=counts.all,
        gangs_running=counts.running,
        gangs_ended=counts.ended,
        gpus=gang_gpus * max(1, counts.running),
        nodes=tuple(sorted({a.node for a in live or newest})),
        attempt_count=max((a.attempt for a in attempts), default=0),
        gpu_hours=gpu_hours(usage),
        energy_kwh=energy_kwh(usage),
        cost_usd=cost_usd(usage, tariff),
        utilisation=utilisation(usage, is_measured=is_measured),
        cap_bound_gpu_s=usage.cap_bound_gpu_s,
        verdict=found.verdict,
        exit_code=exit_code(newest) if record.state in ENDED_STATES else None,
        metrics=merged_metrics(newest),
        attempts=attempt_views(attempts) if with_attempts else (),
        spec=spec if with_attempts else None,
        gpu_share_permille=spec.resources.gpu_share_permille,
        mig=spec.resources.mig,
        ran_s=ran_s,
        running_since_unix_s=running_since,
        checkpoint=checkpoint_view(attempts, spec.recovery.checkpoint_every_s, failure_free_s),
        diagnosis=found if with_attempts else None,
    )


def checkpoint_view(
    attempts: Iterable[AttemptRecord], every_s: float | str, failure_free_s: float
) -> CheckpointView | None:
    """The newest checkpoint of the newest try that has published one.

    The try comes first: the clock of another node may be slow.
    """
    saved = [(a.attempt, a.checkpoint) for a in attempts if a.checkpoint is not None]
    if not saved:
        return None
    _, newest = max(saved, key=lambda one: (one[0], one[1].unix_s))
    if isinstance(every_s, str):  # auto; unknown once the job has left memory
        every_s = (
            interval_s(newest.waited_s, failure_free_s, newest.save_s) if failure_free_s else 0.0
        )
    return CheckpointView(newest.step, newest.unix_s, newest.bytes, newest.save_s, every_s)


def run_time(
    attempts: Iterable[AttemptRecord], shifted: Mapping[TaskRef, UnixTime | None] = NOT_SHIFTED
) -> tuple[float, UnixTime | None]:
    """Seconds in which at least one attempt ran, and since when one has, if one runs now.

    The length of the union of the attempts' intervals, each without its pauses; time between two
    attempts counts as waiting.
    """
    spans = sorted(
        _span(a, a.started_unix_s, shifted) for a in attempts if a.started_unix_s is not None
    )
    ran_s, begins, ends = 0.0, UnixTime(0.0), 0.0
    for start, end in spans:
        if start > ends:
            ran_s, begins, ends = ran_s + (ends - begins), start, end
        else:
            ends = max(ends, end)
    if math.isinf(ends):
        return ran_s, begins
    return ran_s + (ends - begins), None


def _span(
    attempt: AttemptRecord, start: UnixTime, shifted: Mapping[TaskRef, UnixTime | None]
) -> tuple[UnixTime, float]:
    """Start and end, as if its pauses came last; never reversed even if a clock was set back."""
    ran_to, end = start + attempt.usage.run_s, attempt.ended_unix_s
    if end is not None:
        return start, max(start, min(ran_to, end) if attempt.usage.run_s else end)
    begun = shifted.get(attempt.ref, start)
    return (start, ran_to) if begun is None else (max(start, begun), math.inf)


def newest_attempts(attempts: Iterable[AttemptRecord]) -> list[AttemptRecord]:
    """The newest attempt of each task, by task number."""
    newest: dict[int, AttemptRecord] = {}
    for attempt in attempts:
        known = newest.get(attempt.task)
        if known is None or attempt.attempt >= known.attempt:
            newest[attempt.task] = attempt
    return [newest[task] for task in sorted(newest)]


def exit_code(newest: Sequence[AttemptRecord]) -> int | None:
    """First nonzero exit status among the tasks, else 0; None if no task has an exit status.

    Failed tasks come first: they caused the others of their gang to be stopped by a signal.
    """
    attempts = sorted(newest, key=lambda one: one.state != "FAILED")
    codes = [code for a in attempts if (code := _status(a.exit)) is not None]
    return next((code for code in codes if code != 0), 0) if codes else None


def _status(end: TaskExit | None) -> int | None:
    if end is None:
        return None
    if end.code is not None:
        return end.code
    return None if end.signal is None else SIGNAL_BASE + end.signal


def merged_metrics(newest: Sequence[AttemptRecord]) -> dict[str, float]:
    """Latest metrics of the tasks; for a name reported by several, the lowest task number wins."""
    merged: dict[str, float] = {}
    for attempt in reversed(newest):
        merged.update(attempt.metrics)
    return merged


def attempt_views(attempts: Sequence[AttemptRecord]) -> tuple[AttemptView, ...]:
    """The newest `MAX_ATTEMPTS_SHOWN` attempts, by task and attempt."""
    shown = sorted(attempts, key=lambda a: a.placed_unix_s)[-MAX_ATTEMPTS_SHOWN:]
    return tuple(attempt_view(a) for a in sorted(shown, key=lambda a: (a.task, a.attempt)))


def attempt_view(record: AttemptRecord) -> AttemptView:
    """The view of one attempt of one task."""
    return AttemptView(
        task=record.task,
        attempt=record.attempt,
        state=record.state,
        node=record.node,
        gpus=record.gpus,
        started_unix_s=record.started_unix_s,
        ended_unix_s=record.ended_unix_s,
        usage=record.usage,
        metrics=record.metrics,
        exit=record.exit,
        pid=record.pid,
        readopted=record.readopted,
        mig="" if record.mig is None else record.mig.profile,
        note=record.note,
    )
