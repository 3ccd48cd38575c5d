"""Answers to read requests: from the state in memory, older jobs from the store."""

from collections.abc import Callable

import msgspec

from wattline_protocol.data.requests import DataQuestion
from wattline_protocol.ids import JobId, NodeId, Now, UserName
from wattline_protocol.job.spec import Notify
from wattline_protocol.text.quantities import format_size
from wattline_protocol.views.capacity_views import GetCapacity
from wattline_protocol.views.history_views import GetHistory
from wattline_protocol.views.name_views import ListNames
from wattline_protocol.views.power_views import PowerOutlook, WhatIfPower
from wattline_protocol.views.service_views import ListServices, Services
from wattline_protocol.views.site_views import (
    ENDED_STATES,
    AttemptView,
    JobState,
    JobView,
    SiteView,
)
from wattline_protocol.wire.api_keys import ApiKeys, ListApiKeys
from wattline_protocol.wire.client_messages import (
    MAX_LISTED,
    Answer,
    Denied,
    Explained,
    GetNode,
    GetPower,
    Jobs,
    ListAccounts,
    ListJobs,
    ListNodes,
    Nodes,
    Power,
    SavedPlan,
    WhatIf,
    Why,
    WhyNode,
)
from wattline_protocol.wire.event_log import ListEvents, ListProblems
from wattline_protocol.wire.reservations import ListReservations, Reservations
from wattline_protocol.wire.rollouts import GetRollout
from wattline_protocol.wire.routes import Routes
from wattline_scheduler.core.cluster import Cluster
from wattline_scheduler.core.explain.job_explanation import explain_job, what_if
from wattline_scheduler.core.explain.power_outlook import power_outlook
from wattline_scheduler.core.model.jobs.job import Job
from wattline_scheduler.core.model.not_found import no_job
from wattline_scheduler.core.requests.dispatch import no_node
from wattline_scheduler.core.requests.selection import Asker
from wattline_scheduler.plan.saved_cycle import encoded
from wattline_scheduler.records import JobRecord
from wattline_scheduler.shell.clients.long_lists import (
    MAX_ROW_BYTES,
    list_events,
    list_jobs,
    list_nodes,
    list_services,
)
from wattline_scheduler.shell.clients.name_list import name_list
from wattline_scheduler.shell.recent_history import RecentHistory
from wattline_scheduler.store.store import Store
from wattline_scheduler.time_slices import Parts
from wattline_scheduler.views.accounts_view import account_views
from wattline_scheduler.views.api_keys_view import api_key_views
from wattline_scheduler.views.capacity_view import capacity_view
from wattline_scheduler.views.data.cache_view import cache_view
from wattline_scheduler.views.data.data_sets_view import answer_data
from wattline_scheduler.views.domains_view import domain_views
from wattline_scheduler.views.jobs_view import (
    counts_on_record,
    job_in_full,
    job_in_list,
    job_in_memory,
    job_view,
)
from wattline_scheduler.views.nodes_view import host_view, node_view
from wattline_scheduler.views.problems_view import problem_list
from wattline_scheduler.views.reservations_view import reservation_views
from wattline_scheduler.views.rollout_view import rollout_view
from wattline_scheduler.views.routes_view import routes_view
from wattline_scheduler.views.site_view import site_view
from wattline_scheduler.views.stored_view import with_copies, with_stored
from wattline_scheduler.views.why_view import why_view

HIDDEN = "(hidden)"
"""Replaces the value of an environment variable of another user's job."""

ReadRequest = (
    GetNode
    | GetPower
    | WhyNode
    | ListAccounts
    | ListReservations
    | ListProblems
    | GetRollout
    | GetCapacity
    | GetHistory
)
"""Answered at once."""

ListRequest = ListJobs | ListNodes | ListEvents
"""Answered in parts."""


class Reads:
    """Answers reads; caches only the views of jobs that can no longer change."""

    def __init__(
        self, cluster: Cluster, store: Store, refused: Callable[[], int], clock: Callable[[], Now]
    ) -> None:
        self._cluster = cluster
        self._clock = clock
        self._state = cluster.state
        self._store = store
        self._refused = refused
        self._ended: dict[JobId, tuple[JobRecord, JobView]] = {}
        self.history = RecentHistory(cluster.state)

    def answer(self, request: ReadRequest, now: Now) -> Answer:
        """The answer for the current state."""
        match request:
            case GetNode(node=name):
                return self._node(name, now)
            case GetPower():
                return Power(domain_views(self._state, now))
            case WhyNode(node=name):
                return self._why(name)
            case ListAccounts():
                return account_views(self._state, now)
            case ListReservations():
                return Reservations(reservation_views(self._state, now))
            case ListProblems():
                return problem_list(self._state, request)
            case GetRollout(name=service):
                return rollout_view(self._state, service, now)
            case GetHistory():
                return self.history.answer(request, now)
            case GetCapacity():
                return capacity_view(self._state, request, now)

    def listed(self, request: ListRequest, now: Now) -> Parts[Answer]:
        """A list with its rows encoded already. Raises StoreError."""
        match request:
            case ListJobs():
                return (yield from list_jobs(self._state, request, self.show_job, now))
            case ListNodes():
                return (yield from list_nodes(self._state, now))
            case ListEvents():
                read = self._store.acts if request.acts else self._store.events
                return (yield from list_events(read, request))

    def site(self, now: Now) -> Parts[SiteView]:
        """The whole snapshot."""
        return site_view(self._state, now, self.show_job, self._refused())

    def ended(self, jobs: tuple[JobId, ...]) -> dict[JobId, JobState]:
        """Final states of those of the jobs that are no longer in memory. Raises StoreError."""
        known, newest = self._state.work.jobs, self._state.next_job
        evicted = [job for job in jobs if job not in known and job < newest]
        return self._store.outcomes(evicted) if evicted else {}

    def show_job(self, job: Job) -> JobView:
        """The view of a job without its attempts; cached once it has ended."""
        if job.record.state not in ENDED_STATES:
            bounds = self._state.work.runtime_bounds
            return job_in_list(job, self._state.site.tariff, bounds, self._clock())
        known = self._ended.get(job.id)
        if known is not None and known[0] is job.record:
            return known[1]
        view = job_in_memory(job, self._state.site.tariff)
        if len(self._ended) >= 2 * MAX_LISTED:
            self._ended = {n: v for n, v in self._ended.items() if n in self._state.work.jobs}
        self._ended[job.id] = (job.record, view)
        return view

    def job(self, number: JobId, asker: Asker, now: Now) -> Jobs | Denied:
        """One job in full, without what is hidden from the requesting user: values of its
        environment are often secrets, and an attempt's end contains the last lines of its log."""
        answer = self._job(number, now)
        if isinstance(answer, Denied):
            return answer
        (view,) = answer.jobs
        owner = UserName(view.owner)
        if not asker.may_act_for(owner):
            view = _without_stored(_without_values(view))
        if not asker.may_read_logs(owner, self._state.site.logs):
            view = _without_logs(view)
        return Jobs((view,))

    def _job(self, number: JobId, now: Now) -> Jobs | Denied:
        tariff, store = self._state.site.tariff, self._state.site.data.store
        job = self._state.work.jobs.get(number)
        if job is not None:
            view = job_in_full(job, tariff, self._state.work.runtime_bounds, now)
            view = with_stored(view, job.gangs[0].stored if job.gangs else None, store)
            return Jobs((with_copies(view, job, self._state.nodes),))
        on_record = self._store.job(number)
        if on_record is None:
            return no_job(number, self._state.next_job)
        record, gangs, attempts = on_record
        counts = counts_on_record(gangs)
        view = job_view(record, counts, attempts, tariff, with_attempts=True)
        return Jobs((with_stored(view, gangs[0].stored if gangs else None, store),))

    def explain(self, number: JobId, now: Now) -> Parts[Explained | Denied]:
        """Why a job is pending, until when, and what would let it start now. Raises StoreError."""
        job = self._state.work.jobs.get(number)
        if job is None:
            has_left = self._store.job(number) is None
            return no_job(number, self._state.next_job) if has_left else _is_over(number)
        if job.record.state in ENDED_STATES:
            return _is_over(number)
        return Explained((yield from explain_job(self._state, job, now)))

    def what_if(
        self, asker: Asker, request: WhatIf | WhatIfPower, now: Now
    ) -> Parts[Explained | PowerOutlook | Denied]:
        """What would happen to a job, without submitting it, or with fewer watts. Raises
        StoreError."""
        if isinstance(request, WhatIfPower):
            return (yield from power_outlook(self._state, request, now))
        ended = self.ended(request.spec.parents)
        view = yield from what_if(self._state, asker, request.spec, ended, now)
        return view if isinstance(view, Denied) else Explained(view)

    def newest_plan(self, now: Now) -> Parts[SavedPlan | Denied]:
        """The newest planning cycle as a file."""
        del now
        cycle = self._state.newest_cycle
        if cycle is None:
            return Denied("not_found", "no planning cycle has run since the scheduler started")
        data = yield from encoded(cycle)
        if len(data) > MAX_ROW_BYTES:
            size = format_size(len(data))
            return Denied("too_large", f"the cycle takes {size}, more than a message may")
        return SavedPlan(data)

    def _node(self, name: NodeId, now: Now) -> Nodes | Denied:
        node = self._state.nodes.get(name)
        if node is None:
            return no_node(self._state, name)
        found = problem_list(self._state, ListProblems(node=name)).problems
        view = node_view(self._state, node, now)
        cache, host = cache_view(node.data), host_view(node)
        more = {"open_problems": found, "cache": cache, "host": host}
        return Nodes((msgspec.structs.replace(view, **more),))

    def _why(self, name: NodeId) -> Why | Denied:
        node = self._state.nodes.get(name)
        if node is None:
            return no_node(self._state, name)
        return Why(why_view(self._state, node))

    def routes(self) -> Routes:
        """The view of gateways on services and API keys."""
        return routes_view(self._state)

    def services(self, asker: Asker, request: ListServices, now: Now) -> Parts[Services | Denied]:
        """Open services with their workers."""
        return (yield from list_services(self._state, request, asker, now))

    def for_asker(
        self, asker: Asker, request: ListApiKeys | ListNames | DataQuestion, now: Now
    ) -> Answer:
        """API keys, names and data sets, as far as the user may see them."""
        match request:
            case ListApiKeys():
                return ApiKeys(api_key_views(self._state, asker, now))
            case ListNames():
                return name_list(self._state, asker, request)
            case _:
                return answer_data(self._state, asker, request)


def _without_values(view: JobView) -> JobView:
    if view.spec is None:
        return view
    spec = msgspec.structs.replace(view.spec, env=dict.fromkeys(view.spec.env, HIDDEN))
    if spec.notify.to:  # the path of a URL may be all that protects what is behind it
        spec = msgspec.structs.replace(spec, notify=Notify(HIDDEN, spec.notify.on))
    return msgspec.structs.replace(view, spec=spec)


def _without_stored(view: JobView) -> JobView:
    """The digest of a stored checkpoint is a key to its content: caches find it by that."""
    if view.checkpoint is None:
        return view
    hidden = msgspec.structs.replace(view.checkpoint, stored=None, stored_in="")
    return msgspec.structs.replace(view, checkpoint=hidden)


def _without_logs(view: JobView) -> JobView:
    return msgspec.structs.replace(view, attempts=tuple(map(_without_tail, view.attempts)))


def _without_tail(attempt: AttemptView) -> AttemptView:
    if attempt.exit is None:
        return attempt
    failure = attempt.exit.first_failure
    if failure is not None:
        failure = msgspec.structs.replace(failure, error="")
    end = msgspec.structs.replace(attempt.exit, log_tail="", first_failure=failure, places=())
    return msgspec.structs.replace(attempt, exit=end)


def _is_over(number: JobId) -> Denied:
    return Denied("conflict", f"job {number} has ended; explain is for jobs that have not")
