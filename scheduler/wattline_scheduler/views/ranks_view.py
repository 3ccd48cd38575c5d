"""Ranks of a job's gangs that hold GPUs, as they report their steps. Pure."""

from collections.abc import Iterator, Mapping
from itertools import islice

from wattline_protocol.job.ranks import ranks_of
from wattline_protocol.views.training_views import RankState, RankView
from wattline_protocol.wire.agent_messages import TaskPhase
from wattline_scheduler.core.lifecycle.stragglers import slow_text
from wattline_scheduler.core.model.jobs.job import Attempt, Gang, Job
from wattline_scheduler.core.model.usage.rank_watch import Straggler

MAX_RANKS_SHOWN = 2_000
"""Maximum number of ranks in a GetJob reply: the first ones."""


def rank_views(job: Job) -> tuple[RankView, ...]:
    """By gang and rank; a service has none."""
    if job.spec.kind == "service":
        return ()
    found = (view for gang in job.tried_gangs for a in gang.live for view in _of_task(job, gang, a))
    return tuple(islice(found, MAX_RANKS_SHOWN))


def _of_task(job: Job, gang: Gang, attempt: Attempt) -> Iterator[RankView]:
    report = attempt.report
    phase: TaskPhase = report.phase if report is not None else "starting"
    pid = report.pid if report is not None and job.spec.launch.how != "torchrun" else None
    reported = {one.rank: one for one in report.ranks} if report is not None else {}
    slow = _slow(gang) if phase == "running" else {}
    for rank in ranks_of(job.spec, attempt.record.task):
        steps, straggler = reported.get(rank), slow.get(rank)
        state: RankState = "slow" if straggler is not None else phase
        yield RankView(
            rank=rank,
            node=attempt.node,
            pid=steps.pid if steps is not None else pid,
            step=steps.step if steps is not None else None,
            step_s=steps.step_s if steps is not None and steps.count else None,
            busy_s=steps.busy_s if steps is not None and steps.count else None,
            state=state,
            cause=straggler.cause if straggler is not None else None,
            gang=job.index_of(gang.number),
        )


def slow_sentence(job: Job) -> str:
    """The slowest straggler of its gangs; empty = none is known."""
    found = [(one, rank, gang) for gang in job.tried_gangs for rank, one in _slow(gang).items()]
    if not found:
        return ""
    straggler, rank, gang = max(found, key=lambda one: one[0].factor)
    return slow_text(gang, rank, straggler)


def _slow(gang: Gang) -> Mapping[int, Straggler]:
    """Stragglers of its current try."""
    watch = gang.ranks
    return watch.slow if watch is not None and gang.live and watch.attempt == gang.attempt else {}
