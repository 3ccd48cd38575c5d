"""Snapshot of the whole site, as drawn by `top`; truncated to limits so that it fits a message."""

import heapq
from collections.abc import Callable
from typing import NamedTuple

from wattline_protocol.ids import Now
from wattline_protocol.views.site_deltas import MAX_EVENTS_SHOWN
from wattline_protocol.views.site_views import ENDED_STATES, JobView, SiteView
from wattline_scheduler.core.leases.measured_draw import all_draws
from wattline_scheduler.core.model.jobs.job import Job
from wattline_scheduler.core.model.state import State
from wattline_scheduler.views.domains_view import domain_views
from wattline_scheduler.views.nodes_view import node_view
from wattline_scheduler.views.problems_view import open_counts, worst_open
from wattline_scheduler.views.queue_view import queue_head

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


def site_view(state: State, now: Now, show_job: ShowJob, refused_messages: int) -> SiteView:
    """Snapshot for the operator's overview."""
    draws = all_draws(state)
    gpus = sum(len(node.gpus) for node in state.nodes.values())
    with_gpus = gpus <= MAX_GPUS_SHOWN
    alarms, warnings = open_counts(state)
    return SiteView(
        site=state.site.name,
        epoch=state.epoch,
        unix_s=now.unix_s,
        simulated=is_simulated(state),
        domains=domain_views(state, now, draws),
        nodes=tuple(
            node_view(state, node, now, draws[node.id], with_gpus=with_gpus)
            for node in state.nodes.values()
        ),
        jobs=tuple(show_job(job) for job in jobs_shown(state, IN_SNAPSHOT)),
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


def jobs_shown(state: State, most: MostJobs) -> list[Job]:
    """Pending and running jobs and the newest ended ones, by number."""
    waiting: list[Job] = []
    running: list[Job] = []
    ended: list[Job] = []
    for job in state.work.jobs.values():
        if job.record.state in ENDED_STATES:
            ended.append(job)
        elif job.live_count:
            running.append(job)
        else:
            waiting.append(job)
    if len(waiting) > most.waiting:
        waiting = heapq.nsmallest(most.waiting, waiting, key=lambda j: (-j.spec.priority, j.id))
    newest = heapq.nlargest(most.ended, ended, key=lambda j: (j.record.ended_unix_s or 0.0, j.id))
    return sorted(waiting + running[-most.running :] + newest, key=lambda job: job.id)
