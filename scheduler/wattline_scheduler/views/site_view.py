"""Snapshot of the whole site, as drawn by `top`; truncated to limits so that it fits a message."""

from collections.abc import Callable
from typing import NamedTuple

from wattline_protocol.ids import JobId, Now
from wattline_protocol.views.site_deltas import MAX_EVENTS_SHOWN
from wattline_protocol.views.site_views import JobView, NodeView, SiteView
from wattline_scheduler.core.leases.measured_draw import all_draws
from wattline_scheduler.core.model.jobs.job import Job
from wattline_scheduler.core.model.state import State
from wattline_scheduler.time_slices import Parts
from wattline_scheduler.views.domains_view import domain_views
from wattline_scheduler.views.nodes_view import node_view
from wattline_scheduler.views.problems_view import open_counts, worst_open
from wattline_scheduler.views.queue_view import queue_head

JOBS_A_PART = 5_000
"""Open jobs looked at per part: a millisecond or two."""

MAX_GPUS_SHOWN = 10_000
"""Above this size nodes are listed without their GPUs (`GetNode` returns them). About 2.5 MB."""


class MostJobs(NamedTuple):
    """How many jobs are shown."""

    waiting: int
    """The first of the queue."""
    running: int
    """Those with GPUs, the newest."""
    ended: int
    """The last to end."""


IN_SNAPSHOT = MostJobs(waiting=300, running=1_000, ended=50)

ShowJob = Callable[[Job], JobView]


def site_view(state: State, now: Now, show_job: ShowJob, refused_messages: int) -> Parts[SiteView]:
    """Snapshot for the operator's overview; each row is as new as possible, none before `now`."""
    draws = all_draws(state)
    with_gpus = sum(len(node.gpus) for node in state.nodes.values()) <= MAX_GPUS_SHOWN
    yield
    nodes: list[NodeView] = []
    for node in list(state.nodes.values()):
        nodes.append(node_view(state, node, now, draws[node.id], with_gpus=with_gpus))
        yield
    jobs: list[JobView] = []
    for job in (yield from jobs_shown(state, IN_SNAPSHOT)):
        if state.work.jobs.get(job.id) is job:  # it has not left memory since the parts before
            jobs.append(show_job(job))
        yield
    alarms, warnings = open_counts(state)
    return SiteView(
        site=state.site.name,
        epoch=state.epoch,
        unix_s=now.unix_s,
        simulated=is_simulated(state),
        domains=domain_views(state, now, draws),
        nodes=tuple(nodes),
        jobs=tuple(jobs),
        events=tuple(state.journal.events)[-MAX_EVENTS_SHOWN:],
        refused_messages=refused_messages,
        problems=worst_open(state),
        open_alarms=alarms,
        open_warnings=warnings,
        queue=queue_head(state, now),
    )


def is_simulated(state: State) -> bool:
    """Whether any node's hardware is simulated: if so, no figure of the site is real."""
    return any(node.record.is_simulated for node in state.nodes.values())


def jobs_shown(state: State, most: MostJobs) -> Parts[list[Job]]:
    """Pending and running jobs and the newest ended ones, by number."""
    ended = state.work.newest_ended(most.ended)
    waiting: dict[int, list[Job]] = {}
    running: list[Job] = []
    for at, job in enumerate(list(state.work.open.values())):
        if job.live_count:
            running.append(job)
        else:
            waiting.setdefault(job.spec.priority, []).append(job)
        if at % JOBS_A_PART == JOBS_A_PART - 1:
            yield
    first: list[Job] = []
    for priority in sorted(waiting, reverse=True):
        by_number = sorted(waiting[priority], key=_number)
        first += by_number[: most.waiting - len(first)]
        yield
    newest = sorted(running, key=_number)[-most.running :]
    reopened = [job for job in ended if not job.is_ended]
    shown = (*first, *newest, *reopened, *state.work.newest_ended(most.ended))
    once = {job.id: job for job in shown}  # some have ended, or opened, since the parts before
    return sorted(once.values(), key=_number)


def _number(job: Job) -> JobId:
    return job.id
