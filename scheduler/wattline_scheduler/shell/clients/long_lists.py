"""Long lists, built and encoded in parts, a few rows at a time.

The rows of an answer do not show one point in time: each is as new as possible. The set of rows is
fixed when the list begins; jobs evicted from memory meanwhile are left out.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from fnmatch import translate
from typing import Any, cast

import msgspec

from wattline_protocol.ids import Now
from wattline_protocol.job.selection import Selection, problem
from wattline_protocol.views.service_views import ListServices, RouteView, Services, ServiceView
from wattline_protocol.views.site_views import ENDED_STATES, EventView, JobView, NodeView
from wattline_protocol.wire.client_messages import (
    MAX_LISTED,
    Denied,
    Events,
    Jobs,
    ListEvents,
    ListJobs,
    Nodes,
)
from wattline_protocol.wire.codec import MAX_MESSAGE_BYTES
from wattline_scheduler.core.model.jobs.job import Job
from wattline_scheduler.core.model.not_found import not_there
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.requests.selection import Asker, is_listed
from wattline_scheduler.time_slices import Parts
from wattline_scheduler.views.nodes_view import node_view
from wattline_scheduler.views.route_views import route_view
from wattline_scheduler.views.services_view import service_view
from wattline_scheduler.views.site_view import MAX_GPUS_SHOWN

MAX_ROW_BYTES = MAX_MESSAGE_BYTES - 1_024
"""Size of all rows of an answer, leaving space for the rest of its message."""

ROWS_A_PART = 25
JOBS_A_PART = 1_000
"""Jobs checked per part."""
NAMES_A_PART = 20
"""Names matched per part: with 100 patterns a millisecond or two."""
EVENTS_A_PART = 200

ShowJob = Callable[[Job], JobView]
ReadEvents = Callable[[int, int], tuple[EventView, ...]]


class Rows:
    """Encoded rows, as many as fit."""

    def __init__(self, beside: object = None) -> None:
        """`beside`: what else the message has."""
        self._encoder = msgspec.msgpack.Encoder()
        self._rows: list[bytes] = []
        self._left = MAX_ROW_BYTES - len(self._encoder.encode(beside))

    def add(self, row: msgspec.Struct) -> bool:
        """Add a row; False = it does not fit, and nothing was added."""
        data = self._encoder.encode(row)
        if len(data) > self._left:
            return False
        self._left -= len(data)
        self._rows.append(data)
        return True

    def packed(self, *, is_reversed: bool = False) -> Any:
        """All of them as one array, in place of a tuple of rows."""
        return packed(self._rows[::-1] if is_reversed else self._rows)


def packed(rows: Sequence[bytes]) -> Any:
    """Encoded rows as one array, in place of a tuple of rows."""
    return msgspec.Raw(_array_head(len(rows)) + b"".join(rows))


def _array_head(count: int) -> bytes:
    """MessagePack: fixarray, array 16 or array 32."""
    if count < 16:
        return bytes((0x90 | count,))
    if count < 1 << 16:
        return b"\xdc" + count.to_bytes(2, "big")
    return b"\xdd" + count.to_bytes(4, "big")


def list_jobs(state: State, request: ListJobs, show_job: ShowJob, now: Now) -> Parts[Jobs | Denied]:
    """The newest jobs selected, newest last; the oldest of them are omitted if they do not fit a
    message."""
    which = request.which
    wrong = problem(which) if which != Selection() else ""
    if wrong:
        return Denied("bad_request", wrong)
    jobs = list(state.work.jobs.values())
    names = (yield from matching(jobs, which.names)) if which.names else None
    wanted = yield from _wanted(state, jobs, request, names)
    where = which.condition(now.unix_s)
    left = max(0, min(request.limit, MAX_LISTED))
    rows = Rows()
    for job in reversed(wanted):
        has_left = state.work.jobs.get(job.id) is not job  # it left memory since the list began
        view = None if has_left else show_job(job)
        if view is not None and (where is None or where.matches(view)):
            if not left or not rows.add(view):
                return Jobs(rows.packed(is_reversed=True), is_cut=True)
            left -= 1
        yield  # a row may take some 60 ms: of an array of 10,000 that runs
    return Jobs(rows.packed(is_reversed=True))


def _wanted(
    state: State, jobs: Sequence[Job], request: ListJobs, names: frozenset[str] | None
) -> Parts[list[Job]]:
    """Selected jobs by number."""
    before, wanted = request.before, []
    for first in range(0, len(jobs), JOBS_A_PART):
        wanted += [
            job
            for job in jobs[first : first + JOBS_A_PART]
            if state.work.jobs.get(job.id) is job
            and (request.ended or job.record.state not in ENDED_STATES)
            and (before is None or job.id < before)
            and is_listed(job, request.which, names)
        ]
        yield
    return sorted(wanted, key=lambda job: job.id)


def matching(jobs: Iterable[Job], patterns: Sequence[str]) -> Parts[frozenset[str]]:
    """Names of the jobs that match a pattern. Compiling a pattern may cost some milliseconds."""
    tests = []
    for pattern in patterns:
        tests.append(re.compile(translate(pattern)).match)
        yield
    found = set()
    for at, name in enumerate({job.spec.name for job in jobs}):
        if any(test(name) for test in tests):
            found.add(name)
        if at % NAMES_A_PART == NAMES_A_PART - 1:
            yield
    return frozenset(found)


def list_events(read: ReadEvents, request: ListEvents) -> Parts[Events]:
    """The oldest events selected, as many as fit a message. Raises StoreError."""
    left = max(0, min(request.limit, MAX_LISTED))
    after = request.after
    if after < 0:
        first = read(after, 1)
        after = first[0].seq - 1 if first else 0
    rows = Rows()
    while left > 0:
        events = read(after, min(left, EVENTS_A_PART))
        if not events or not all(map(rows.add, events)):
            break
        after, left = events[-1].seq, left - len(events)
        yield
    return Events(rows.packed())


def list_nodes(state: State, now: Now) -> Parts[Nodes]:
    """All nodes; without their GPUs where those are too many."""
    nodes = list(state.nodes.values())
    with_gpus = sum(len(node.gpus) for node in nodes) <= MAX_GPUS_SHOWN
    rows = Rows()
    for at, node in enumerate(nodes):
        view = node_view(state, node, now, with_gpus=with_gpus)
        if not rows.add(view) and not rows.add(msgspec.structs.replace(view, gpus=(), tasks=())):
            break
        if at % ROWS_A_PART == ROWS_A_PART - 1:
            yield
    return Nodes(cast("tuple[NodeView, ...]", rows.packed()))


def list_services(
    state: State, request: ListServices, asker: Asker, now: Now
) -> Parts[Services | Denied]:
    """Open services by name, or one, or one route; without workers where those are too many. All
    routes are listed without their rules."""
    services, name = state.work.services, request.name
    if name and (route := route_view(state, name, with_rules=True)) is not None:
        return Services((), (route,))
    if name and services.holder(name) is None:
        return not_there("service", name, [*services.open(), *services.routes])
    routes = () if name else _routes(state)
    rows = Rows(beside=routes)
    for one in [name] if name else sorted(services.open()):
        jobs = services.serving(one)
        if jobs:  # none: it ended since the list began
            view = service_view(state, jobs, asker, now)
            if not rows.add(view) and not rows.add(msgspec.structs.replace(view, workers=())):
                break
        yield
    return Services(cast("tuple[ServiceView, ...]", rows.packed()), routes)


def _routes(state: State) -> tuple[RouteView, ...]:
    """About 1 KiB each, and at most 1,032: they leave most of a message to services."""
    names = sorted({*state.routes.of_site, *state.routes.declared})
    views = (route_view(state, one, with_rules=False) for one in names)
    return tuple(view for view in views if view is not None)
