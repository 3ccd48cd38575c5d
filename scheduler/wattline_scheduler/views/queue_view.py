"""Head of the queue, as the newest planning cycle left it."""

import math
from collections.abc import Iterator
from itertools import islice

from wattline_protocol.ids import Now, UnixTime
from wattline_protocol.views.queue_views import MAX_QUEUE_HEAD, QueuedView
from wattline_scheduler.core.model.state import State


def queue_head(state: State, now: Now) -> tuple[QueuedView, ...]:
    """The first jobs with a pending task. A job that came since is in the next cycle."""
    return tuple(islice(_queued(state, now), MAX_QUEUE_HEAD))


def _queued(state: State, now: Now) -> Iterator[QueuedView]:
    cycle = state.newest_cycle
    for waiting in () if cycle is None else cycle.snapshot.waiting:
        job = state.work.jobs.get(waiting.job)
        if job is not None and job.count["pending"] and not job.record.is_held:
            at = state.promised.get(waiting.job, math.inf) - now.mono_s
            starts = UnixTime(now.unix_s + max(0.0, at)) if math.isfinite(at) else None
            yield QueuedView(waiting.job, starts)
