"""The client: one method per request, plain values in and views out."""

import time
from collections.abc import Callable, Iterator, Mapping

from wattline.client.api_keys import ApiKeyActs
from wattline.client.asking import STALL_FACTOR, stall_s
from wattline.client.data.data_sets import DataActs
from wattline.client.data.secrets import SecretActs
from wattline.client.errors import Conflict, NotFound, Unreachable, WaitTimeout
from wattline.client.jobacts import JobActs, Words, selection, words
from wattline.client.jobacts import Jobs as Which
from wattline.client.request_logs import RequestLogs
from wattline.client.routing import RouteActs
from wattline.client.tasklog import task_log
from wattline_protocol.ids import AttemptNo, DomainId, JobId, NodeId, TaskNo, UnixTime
from wattline_protocol.job.file import job_from_options
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.site.out_of_band import MAX_OFF_TIMEOUT_S
from wattline_protocol.views.history_views import HISTORY_STEP_S, GetHistory, History, Subject
from wattline_protocol.views.load_views import GetLoad, Load
from wattline_protocol.views.power_views import PowerOutlook, WhatIfPower
from wattline_protocol.views.report_views import GetReport, Report, ReportView
from wattline_protocol.views.site_views import (
    ENDED_STATES,
    DomainView,
    EventView,
    ExplainView,
    JobView,
    LimitView,
    NodeView,
    SiteView,
    WhyView,
)
from wattline_protocol.wire.client_messages import (
    MAX_LISTED,
    Accounts,
    CancelGridEvent,
    DeclareOff,
    DeclareOn,
    Drain,
    Events,
    Explain,
    Explained,
    FetchLog,
    GetJob,
    GetNode,
    GetPower,
    GetSite,
    GridEvent,
    Jobs,
    ListAccounts,
    ListEvents,
    ListJobs,
    ListNodes,
    Log,
    Nodes,
    Power,
    Restore,
    SetUnits,
    Shed,
    SiteNow,
    Undrain,
    WhatIf,
    Why,
    WhyNode,
)
from wattline_protocol.wire.event_log import AckProblem, ListProblems, ProblemList
from wattline_protocol.wire.nodes.acts import Cordon, Readmit, Uncordon
from wattline_protocol.wire.reservations import (
    ListReservations,
    Reservations,
    ReservationView,
    Reserve,
    Unreserve,
)
from wattline_protocol.wire.rollouts import RolloutOptions
from wattline_protocol.wire.routes import ROUTES_REPEAT_S, Routes
from wattline_protocol.wire.subscriptions import WatchRoutes, WatchSite
from wattline_protocol.wire.task_reports.run_records import FetchRecord, RunRecord

POLL_FIRST_S = 0.05
POLL_LONGEST_S = 0.5
"""Poll intervals of `wait`, growing from the first to the longest."""

OUT_OF_BAND_WITHIN_S = MAX_OFF_TIMEOUT_S + 10.0
"""The longest time-out of a BMC in a site file, with a margin."""

REPORT_TIMEOUT_S = 60.0
"""A report is made by a process beside the scheduler, after those requested before."""


class Client(JobActs, ApiKeyActs, DataActs, RequestLogs, RouteActs, SecretActs):
    """A connection to one site's scheduler. Methods may be called from several threads.

    Every method raises Unreachable when no answer comes in time, Refused when the scheduler refuses
    this client, and a subclass of RequestDenied when it refuses the request. The client reconnects
    to a restarted scheduler; nothing is lost or done twice.
    """

    # --- jobs; acts on existing ones are in `jobacts` --------------------------------------

    def submit(
        self,
        spec: JobSpec | None = None,
        *,
        token: str | None = None,
        rollout: RolloutOptions | None = None,
        **options: object,
    ) -> JobId:
        """Submit a job; it is on disk when this returns. The same token returns the same job.

        Either a JobSpec, or the keys of a job file without their tables as keywords:
        `client.submit(command=["python", "train.py"], gpus=4, retries=2)`. Raises JobFileError for
        invalid keywords. A job without a working directory starts in the directory of this process,
        on nodes that have it. `rollout`: it must be the next revision of an open service.
        """
        return self.submit_warned(_spec_of(spec, options), token=token, rollout=rollout).job

    def jobs(
        self, which: Which | None = None, *, ended: bool = True, limit: int | None = None
    ) -> tuple[JobView, ...]:
        """Jobs, newest last: all that are in memory, or those of `which`, at most `limit`."""
        most, found = MAX_LISTED if limit is None else limit, tuple[JobView, ...]()
        if most <= 0:
            return ()
        for page in self.job_pages(which, ended=ended, first=most):
            found = (*page, *found)
            if limit is not None and len(found) >= limit:
                break
        return found if limit is None else found[-limit:]

    def job_pages(
        self, which: Which | None = None, *, ended: bool = True, first: int
    ) -> Iterator[tuple[JobView, ...]]:
        """The same from the newest page to the oldest, each newest last: `first` jobs, then up to
        twice as many on each further page."""
        chosen, most = self.understood(selection(which)), first
        before: JobId | None = None
        while True:
            page = self.get(ListJobs(ended, min(most, MAX_LISTED), chosen, before), Jobs)
            yield page.jobs
            if not page.is_cut or not page.jobs:
                return
            before, most = page.jobs[0].id, 2 * most

    def job(self, job: int) -> JobView:
        """One job with its attempts and its specification."""
        found = self.get(GetJob(JobId(job)), Jobs).jobs
        if not found:
            raise NotFound(f"there is no job {job}")
        return found[0]

    def explain(self, job: int) -> ExplainView:
        """Why the job is pending, until when, and what would let it start now."""
        return self.get(Explain(JobId(job)), Explained).explain

    def what_if(self, spec: JobSpec | None = None, **options: object) -> ExplainView:
        """The same for a job that is not submitted; arguments and errors as for `submit`."""
        return self.get(WhatIf(_spec_of(spec, options)), Explained).explain

    def power_outlook(
        self, domain: str, *, fraction: float = 0.0, by_mw: int = 0, fails: bool = False
    ) -> PowerOutlook:
        """What would happen if a domain lost a share of its budget, some watts, or failed."""
        return self.get(WhatIfPower(DomainId(domain), fraction, by_mw, fails), PowerOutlook)

    def wait(
        self,
        job: int,
        *,
        timeout_s: float | None = None,
        seen: Callable[[JobView], None] = lambda _: None,
    ) -> JobView:
        """The job once it has ended. Raises WaitTimeout after `timeout_s`.

        Also waits for a scheduler that cannot be reached, within `timeout_s`. `seen` is called with
        each state of the job observed meanwhile.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        pause_s = POLL_FIRST_S
        while True:
            try:
                view = self.job(job)
            except Unreachable:
                if deadline is None:
                    continue
            else:
                seen(view)
                if view.state in ENDED_STATES:
                    return view
            if deadline is not None and time.monotonic() >= deadline:
                raise WaitTimeout(f"job {job} has not ended within {timeout_s:g} s")
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, POLL_LONGEST_S)

    def log(
        self,
        job: int,
        *,
        task: int = 0,
        attempt: int = 0,
        rank: int | None = None,
        follow: bool = False,
        tail: int | None = None,
    ) -> Iterator[Log]:
        """A task's log in pieces, or its last `tail` lines; with `follow` until the task has ended
        and all is read. With `rank` that of one rank in the gang of the task."""
        wanted = FetchLog(JobId(job), TaskNo(task), attempt, rank=rank)
        return task_log(self, wanted, follow=follow, tail=tail)

    def accounts(self) -> Accounts:
        """Accounts with their shares and usage, in the order in which they are served."""
        return self.get(ListAccounts(), Accounts)

    # --- nodes ----------------------------------------------------------------------------

    def nodes(self) -> tuple[NodeView, ...]:
        """All nodes of the site."""
        return self.get(ListNodes(), Nodes).nodes

    def node(self, node: str) -> NodeView:
        """One node with its GPUs."""
        found = self.get(GetNode(NodeId(node)), Nodes).nodes
        if not found:
            raise NotFound(f"there is no node {node}")
        return found[0]

    def drain(self, node: str, reason: str = "", *, now: bool = False) -> str:
        """Start nothing new on the node; with `now` its running tasks are requeued."""
        return self.act(Drain(NodeId(node), reason, now))

    def wait_drained(self, node: str, *, timeout_s: float | None = None) -> NodeView:
        """The node once its last task has left.

        Raises WaitTimeout after `timeout_s`, Conflict when the node was undrained meanwhile.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        pause_s = POLL_FIRST_S
        while True:
            view = self.node(node)
            if view.drained_unix_s is not None:
                return view
            if view.state == "ok":
                raise Conflict(f"{node} was undrained before it was drained")
            if deadline is not None and time.monotonic() >= deadline:
                raise WaitTimeout(f"{node} is not drained within {timeout_s:g} s")
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, POLL_LONGEST_S)

    def undrain(self, node: str) -> str:
        """Let tasks start on the node again."""
        return self.act(Undrain(NodeId(node)))

    def cordon(self, node: str, gpu: str, reason: str = "") -> str:
        """Mark a GPU unschedulable; work on it continues. `gpu`: index or UUID."""
        return self.act(Cordon(NodeId(node), gpu, reason))

    def uncordon(self, node: str, gpu: str) -> str:
        """Mark the GPU schedulable again."""
        return self.act(Uncordon(NodeId(node), gpu))

    def declare_off(
        self, node: str, *, confirmation: str = "", reason: str = "", power_off: bool = False
    ) -> str:
        """The node draws nothing. `confirmation`: you vouch for it; its name again.

        Without one its BMC or PDU is queried, and with `power_off` powers it off first, which may
        take as long as the site file permits for it.
        """
        request = DeclareOff(NodeId(node), confirmation, reason, power_off)
        is_asked = power_off or not confirmation
        return self.act(request, timeout_s=OUT_OF_BAND_WITHIN_S if is_asked else None)

    def declare_on(self, node: str) -> str:
        """Undo `declare_off`."""
        return self.act(DeclareOn(NodeId(node)))

    def readmit(self, node: str, reason: str = "") -> str:
        """Trust a quarantined node's agent again, from its next Hello on."""
        return self.act(Readmit(NodeId(node), reason))

    # --- reservations ---------------------------------------------------------------------

    def reserve(
        self,
        name: str,
        *,
        until: str = "",
        for_s: float = 0.0,
        start: str = "",
        nodes: Words = (),
        labels: Mapping[str, str] | None = None,
        gpu_type: Words = (),
        count: int = 0,
        gpus: int = 0,
        accounts: Words = (),
        users: Words = (),
        maintenance: bool = False,
        reason: str = "",
    ) -> str:
        """Reserve nodes from a time (default: now) until a time or for `for_s`; on disk on return.

        For accounts and users, or for neither: `maintenance`. Times are as on the command line.
        """
        return self.act(
            Reserve(
                name=name,
                end=until,
                start=start,
                for_s=for_s,
                nodes=words(nodes),
                labels=dict(labels or {}),
                gpu_type=words(gpu_type),
                count=count,
                gpus=gpus,
                accounts=words(accounts),
                users=words(users),
                is_maintenance=maintenance,
                reason=reason,
            )
        )

    def unreserve(self, name: str, reason: str = "") -> str:
        """Cancel a reservation; its nodes are available to all jobs at once."""
        return self.act(Unreserve(name, reason))

    def reservations(self) -> tuple[ReservationView, ...]:
        """Reservations that are not over, by their beginning."""
        return self.get(ListReservations(), Reservations).reservations

    # --- power ----------------------------------------------------------------------------

    def power(self) -> tuple[DomainView, ...]:
        """Every power domain and cooling zone."""
        return self.get(GetPower(), Power).domains

    def shed(
        self,
        *,
        fraction: float = 0.0,
        by_mw: int = 0,
        domain: str | None = None,
        for_s: float = 0.0,
        reason: str = "",
        ramp_s: float = 0.0,
        release_s: float = 0.0,
    ) -> str:
        """Lower a budget by a share of the full one, or by milliwatts; 0 s = until restored.

        It ramps down over `ramp_s`, and up over `release_s` at its end.
        """
        where = None if domain is None else DomainId(domain)
        return self.act(Shed(where, fraction, by_mw, for_s, reason, ramp_s, release_s))

    def restore(self, *, domain: str | None = None, reason: str = "", ramp_s: float = 0.0) -> str:
        """End the shed of a domain, over `ramp_s`; other limits stay in force."""
        return self.act(Restore(None if domain is None else DomainId(domain), reason, ramp_s))

    def set_units(self, zone: str, units: int, *, reason: str = "") -> str:
        """Set the units of a cooling zone in service; with all, the sensed number counts again."""
        return self.act(SetUnits(DomainId(zone), units, reason))

    def grid_event(
        self,
        id: str,  # noqa: A002 - what the grid calls it
        *,
        end_unix_s: float,
        start_unix_s: float = 0.0,
        domain: str | None = None,
        fraction: float = 0.0,
        by_mw: int = 0,
        to_mw: int = 0,
        ramp_s: float = 0.0,
        release_s: float = 0.0,
        reason: str = "",
    ) -> str:
        """Lower a budget for a time range (0 = from now), on disk when this returns.

        Exactly one of `fraction` and `by_mw` (to shed) and `to_mw` (the rest). Repeating the same
        event has no effect; another one under the same id is refused.
        """
        return self.act(
            GridEvent(
                id,
                end_unix_s,
                None if domain is None else DomainId(domain),
                start_unix_s,
                fraction,
                by_mw,
                to_mw,
                ramp_s,
                release_s,
                reason,
            )
        )

    def cancel_grid_event(self, id: str, reason: str = "") -> str:  # noqa: A002 - as above
        """Cancel a grid event; its id stays reserved until its end."""
        return self.act(CancelGridEvent(id, reason))

    def limits(self) -> tuple[LimitView, ...]:
        """Everything that lowers a budget now or later, domain by domain."""
        return tuple(limit for domain in self.power() for limit in domain.limits)

    def why(self, node: str) -> WhyView:
        """Why the node has the watts it has."""
        return self.get(WhyNode(NodeId(node)), Why).why

    # --- the whole site -------------------------------------------------------------------

    def site(self) -> SiteView:
        """A snapshot of everything."""
        return self.get(GetSite(), SiteNow).site

    def history(
        self, *subjects: Subject, since_unix_s: float = 0.0, step_s: int = HISTORY_STEP_S
    ) -> History:
        """What was read of domains, nodes and GPUs in the last 15 minutes: columns at even steps,
        None where nothing was read. At most `MAX_SUBJECTS`."""
        return self.get(GetHistory(subjects, UnixTime(since_unix_s), step_s), History)

    def load(self, last_s: int = 60) -> Load:
        """Load of the scheduler in its last seconds, at most `MAX_LOAD_S`."""
        return self.get(GetLoad(last_s), Load)

    def problems(self, *, ended: bool = False, node: str | None = None) -> ProblemList:
        """Open problems, worst first; with `ended` the newest ended ones too."""
        of_node = None if node is None else NodeId(node)
        return self.get(ListProblems(ended, of_node), ProblemList)

    def acknowledge(self, problem: int, reason: str = "", *, withdraw: bool = False) -> str:
        """Acknowledge an open problem, by its number."""
        return self.act(AckProblem(problem, reason, withdraw))

    def watch_site(self, period_s: float = 1.0) -> Iterator[SiteView]:
        """A snapshot now and every `period_s`, always the newest: a caller that is slower than
        `period_s` misses those in between. Raises Unreachable when they stop arriving."""
        for answer in self.watch(WatchSite(period_s, is_paced=True), SiteNow, stall_s(period_s)):
            yield answer.site

    def events(
        self,
        *,
        after: int | None = None,
        newest: int = 1000,
        follow: bool = False,
        acts: bool = False,
    ) -> Iterator[EventView]:
        """Events after number `after`, or the `newest` ones; with `follow` without end. `acts`:
        only the audit log, which is retained longer."""
        last = max(0, after) if after is not None else -max(0, newest) or self._last_event()
        while batch := self.get(ListEvents(after=last, acts=acts), Events).events:
            yield from batch
            last = batch[-1].seq
        if not follow:
            return
        for answer in self.watch(ListEvents(after=last, follow=True, acts=acts), Events, None):
            for event in answer.events:
                # After a reconnection the scheduler starts again where this watch began.
                if event.seq > last:
                    last = event.seq
                    yield event

    def run_record(self, job: int, *, task: int = 0, attempt: int = 0) -> RunRecord:
        """What was recorded of an attempt of a gang, by the number of any of its tasks; 0 = the
        newest. Its parts are decoded by `report_in` and `inventory_in`."""
        return self.get(FetchRecord(JobId(job), TaskNo(task), AttemptNo(attempt)), RunRecord)

    def _last_event(self) -> int:
        events = self.site().events
        return events[-1].seq if events else 0

    def report(self, *, since_unix_s: float = 0.0, until_unix_s: float = 0.0) -> ReportView:
        """Accounting over a time range; 0 as the end means now."""
        request = GetReport(since_unix_s, until_unix_s)
        return self.get(request, Report, timeout_s=REPORT_TIMEOUT_S).report

    def watch_routes(self) -> Iterator[Routes]:
        """Gateways: workers and settings of every service and all API keys, now, at every change
        and every `ROUTES_REPEAT_S`. Raises Unreachable when they stop arriving."""
        return self.watch(WatchRoutes(), Routes, STALL_FACTOR * ROUTES_REPEAT_S)


def _spec_of(spec: JobSpec | None, options: dict[str, object]) -> JobSpec:
    if spec is None:
        return job_from_options(**options)
    if options:
        raise TypeError(f"specify a spec or keywords, not both: {', '.join(options)}")
    return spec
