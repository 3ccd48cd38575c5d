"""A feed that plays fixed snapshots to the terminal and records what it is asked."""

import threading
import time
from collections.abc import Iterator

import msgspec

from support.core.service_views import services_now
from support.core.site_views import (
    NOON,
    accounts_now,
    attempt,
    host_now,
    reservations_now,
    run_report,
)
from wattline_protocol.ids import AttemptNo, TaskRef, UnixTime
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.site.model import Role
from wattline_protocol.views.history_views import (
    HISTORY_S,
    GetHistory,
    History,
    Series,
    Subject,
)
from wattline_protocol.views.host_view import HostView
from wattline_protocol.views.service_views import ListServices
from wattline_protocol.views.site_views import ExplainView, JobView, SiteView
from wattline_protocol.wire.agent_messages import TaskExit
from wattline_protocol.wire.client_messages import (
    Answer,
    ClientWelcome,
    Denied,
    Done,
    Events,
    Explain,
    Explained,
    FetchLog,
    GetJob,
    GetNode,
    Jobs,
    ListAccounts,
    ListEvents,
    Log,
    Nodes,
    Request,
)
from wattline_protocol.wire.reservations import ListReservations
from wattline_protocol.wire.task_reports.run_records import (
    FetchRecord,
    RunRecord,
    RunReport,
    packed,
)
from wattline_tui.client import FeedLost

RISING_STEPS = 15
LOG_TEXT = "epoch 1 loss 1.92 accuracy 0.41\nepoch 2 loss 0.88 accuracy 0.79\nsaved step 2\n"


class PlayedFeed:
    """Gives one snapshot, then waits until it is closed; `lost` breaks instead."""

    def __init__(self, site: SiteView, *, lost: str = "") -> None:
        self.site = site
        self.lost = lost
        self.asked: list[Request] = []
        self.explain: ExplainView | None = None
        self.accounts = accounts_now()
        self.reservations = reservations_now()
        self.services = services_now()
        self.spec: JobSpec | None = None
        """Of jobs in full; None: one without options."""
        self.fetched: list[Request] = []
        """Those that screens repeat by themselves."""
        self.records: dict[int, RunReport] = {1: run_report()}
        self.host: HostView | None = host_now()
        self.log = LOG_TEXT
        self.role: Role = "operator"
        self._closed = threading.Event()

    def sites(self, period_s: float) -> Iterator[SiteView]:
        del period_s
        if self.lost and self._closed.is_set():
            return
        yield self.site
        if self.lost:
            raise FeedLost(self.lost)
        self._closed.wait()

    @property
    def me(self) -> ClientWelcome:
        return ClientWelcome(1, self.site.site, "olga", self.role)

    @property
    def clock_offset_s(self) -> float:
        """The snapshot is of now, whatever its clock shows."""
        return time.time() - self.site.unix_s

    def ask(self, request: Request) -> Answer:
        if not isinstance(
            request,
            GetJob
            | GetNode
            | FetchLog
            | FetchRecord
            | ListAccounts
            | ListReservations
            | ListServices
            | GetHistory,
        ):
            self.asked.append(request)
        else:
            self.fetched.append(request)
        if isinstance(request, GetJob):
            found = [j for j in self.site.jobs if j.id == request.job]
            return Jobs(jobs=tuple(_with_attempts(j, self.spec) for j in found))
        if isinstance(request, GetHistory):
            since, step_s = UnixTime(NOON - HISTORY_S), HISTORY_S // RISING_STEPS
            return History(since, step_s, tuple(map(_rising, request.subjects)))
        if isinstance(request, GetNode):
            named = [one for one in self.site.nodes if one.id == request.node]
            return Nodes(tuple(msgspec.structs.replace(one, host=self.host) for one in named))
        if isinstance(request, ListEvents):
            return Events(self.site.events)
        if isinstance(request, ListAccounts):
            return self.accounts
        if isinstance(request, ListReservations):
            return self.reservations
        if isinstance(request, ListServices):
            return self.services
        if isinstance(request, FetchLog):
            return self._log(request)
        if isinstance(request, FetchRecord):
            found_report = self.records.get(request.attempt)
            if found_report is None:
                return Denied("not_found", "the node has no record of this attempt")
            ref = TaskRef(request.job, request.task, request.attempt)
            return RunRecord(ref, packed(found_report), b"")
        if isinstance(request, Explain) and self.explain is not None:
            return Explained(self.explain)
        return Done(text="done")

    def _log(self, request: FetchLog) -> Log:
        text, ref = self.log.encode(), TaskRef(request.job, request.task, AttemptNo(1))
        begin = request.offset if request.offset >= 0 else max(0, len(text) + request.offset)
        data = text[begin : begin + request.limit_bytes]
        end = begin + len(data)
        return Log(ref, data, end, at_end=end == len(text), task_ended=False)

    def close(self) -> None:
        self._closed.set()


def _with_attempts(job: JobView, spec: JobSpec | None) -> JobView:
    ended = TaskExit(kind="exited", code=1, detail="exit status 1", ended_unix_s=NOON)
    attempts = (attempt(0, "RUNNING"), attempt(1, "FAILED", ended))
    usual = JobSpec(name=job.name, command=("python", "train.py"), kind=job.kind)
    return msgspec.structs.replace(job, attempts=attempts, spec=spec or usual)


def _rising(subject: Subject) -> Series:
    """A quarter of an hour in which the draw has risen to nearly the budget."""
    rising = tuple(step / (RISING_STEPS + 1) for step in range(1, RISING_STEPS + 1))
    tops = {
        "domain": ("measured_w", "budget_w", 16_000.0),
        "node": ("drawn_w", "committed_w", 6_400.0),
        "gpu": ("power_w", "cap_w", 700.0),
    }
    drawn, limit, top = tops[subject.kind]
    return Series(
        subject, {drawn: tuple(top * part for part in rising), limit: (top,) * RISING_STEPS}
    )
