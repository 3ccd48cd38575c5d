"""Messages between clients (CLI, TUI, scripts, gateway) and the scheduler.

ClientHello is answered by ClientWelcome or Refused. Then each request is sent in an `Ask` with a
number, and its answer in a `Response` with that number; a watch has many until Unwatch.
"""

from typing import Annotated

import msgspec

from wattline_protocol.data.requests import DataAnswer, DataRequest
from wattline_protocol.data.secrets import SecretAnswer, SecretRequest
from wattline_protocol.ids import DomainId, JobId, NodeId
from wattline_protocol.job.selection import NEWEST, Selection
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.site.model import Role
from wattline_protocol.views.account_views import Accounts as Accounts
from wattline_protocol.views.account_views import ListAccounts as ListAccounts
from wattline_protocol.views.history_views import GetHistory, History
from wattline_protocol.views.load_views import GetLoad, Load
from wattline_protocol.views.name_views import ListNames, Names
from wattline_protocol.views.power_views import PowerOutlook, WhatIfPower
from wattline_protocol.views.report_views import GetReport as GetReport
from wattline_protocol.views.report_views import Report as Report
from wattline_protocol.views.service_views import ServiceAnswer, ServiceRequest
from wattline_protocol.views.site_deltas import SiteDelta
from wattline_protocol.views.site_views import (
    DomainView,
    ExplainView,
    JobState,
    JobView,
    NodeView,
    SiteView,
    WhyView,
)
from wattline_protocol.wire.agent_messages import Refused
from wattline_protocol.wire.api_keys import ApiKeyRequest, ApiKeys, ApiKeyShares
from wattline_protocol.wire.bounds import (
    MAX_CHANGES,
    Count,
    Few,
    Flag,
    Line,
    Name,
    Number,
    Offset,
    Ratio,
    Seconds,
    Serial,
    SiteMilliwatts,
    Time,
    Word,
)
from wattline_protocol.wire.event_log import AckProblem as AckProblem
from wattline_protocol.wire.event_log import Events as Events
from wattline_protocol.wire.event_log import ListEvents as ListEvents
from wattline_protocol.wire.event_log import ListProblems, ProblemList
from wattline_protocol.wire.nodes.acts import NodeAct
from wattline_protocol.wire.reservations import ListReservations, Reservations, Reserve, Unreserve
from wattline_protocol.wire.rollouts import RolloutOptions
from wattline_protocol.wire.routes import Routes
from wattline_protocol.wire.subscriptions import Seen, Unwatch, WatchRoutes, WatchSite
from wattline_protocol.wire.task_reports.logs import FetchLog as FetchLog
from wattline_protocol.wire.task_reports.logs import Log as Log
from wattline_protocol.wire.task_reports.run_records import FetchRecord, RunRecord
from wattline_protocol.wire.task_reports.terminals import TerminalAnswer, TerminalRequest

MAX_LISTED = 10_000
"""Rows in one answer; a longer list is truncated and marked so."""


class Submit(msgspec.Struct, frozen=True, tag_field="t", tag="submit"):
    """Submit a job. Answered only once it is on disk. `token` makes a repeat idempotent."""

    spec: JobSpec
    token: Name[str]
    """Unique per submission: the same token again returns the same job id."""
    rollout: RolloutOptions | None = None
    """How it becomes the next revision of an open service; None: by default, or it is the first."""


class ListJobs(msgspec.Struct, frozen=True, tag_field="t", tag="list_jobs"):
    """The newest jobs, newest last; `ended` includes ended ones."""

    ended: bool = True
    limit: Count[int] = MAX_LISTED
    which: Selection = Selection()
    """Only these, by the state of the whole job; empty = all."""
    before: Serial[JobId] | None = None
    """Only smaller numbers: the first job of a truncated list, for the rest of it."""


class GetJob(msgspec.Struct, frozen=True, tag_field="t", tag="get_job"):
    job: Serial[JobId]


class Explain(msgspec.Struct, frozen=True, tag_field="t", tag="explain"):
    job: Serial[JobId]


class WhatIf(msgspec.Struct, frozen=True, tag_field="t", tag="what_if"):
    """What would happen to a job that is submitted now? Nothing is submitted."""

    spec: JobSpec


class Cancel(msgspec.Struct, frozen=True, tag_field="t", tag="cancel"):
    """End jobs, or indices of arrays: pending ones at once, running ones by stop notice."""

    which: Selection
    is_dry_run: bool = False
    """Only report what would be done; likewise for the acts below."""
    after: Serial[JobId] = NEWEST
    """Continue after this job, where an answer reported that it stopped there; likewise below."""


class Hold(msgspec.Struct, frozen=True, tag_field="t", tag="hold"):
    """Start no more of their tasks; running ones continue."""

    which: Selection
    is_dry_run: bool = False
    after: Serial[JobId] = NEWEST


class Release(msgspec.Struct, frozen=True, tag_field="t", tag="release"):
    """Release a hold."""

    which: Selection
    is_dry_run: bool = False
    after: Serial[JobId] = NEWEST


class Requeue(msgspec.Struct, frozen=True, tag_field="t", tag="requeue"):
    """Return jobs to the queue: running ones by stop notice, unsuccessful ones at once.
    No retry is used up. The same token again has no further effect."""

    which: Selection
    token: Name[str]
    is_dry_run: bool = False
    after: Serial[JobId] = NEWEST
    from_scratch: bool = False
    """Sets `recovery.from_scratch`: they may begin at step 0 if no checkpoint is intact. Pending
    ones give up a checkpoint that they wait for."""


class Update(msgspec.Struct, frozen=True, tag_field="t", tag="update"):
    """Change their specifications; see `job.change` for what may change when."""

    which: Selection
    changes: Annotated[
        dict[Name[str], Flag | Offset | Number | bool | Few[Flag]],
        msgspec.Meta(max_length=MAX_CHANGES),
    ]
    """By the names of `submit`'s flags; "none" restores a default."""
    is_dry_run: bool = False
    after: Serial[JobId] = NEWEST


OnJobs = Cancel | Hold | Release | Requeue | Update


class ListNodes(msgspec.Struct, frozen=True, tag_field="t", tag="list_nodes"):
    pass


class GetNode(msgspec.Struct, frozen=True, tag_field="t", tag="get_node"):
    node: Name[NodeId]


class Drain(msgspec.Struct, frozen=True, tag_field="t", tag="drain"):
    """Start nothing new there. Running tasks continue, or with `is_now` are requeued."""

    node: Name[NodeId]
    reason: Line = ""
    is_now: bool = False


class Undrain(msgspec.Struct, frozen=True, tag_field="t", tag="undrain"):
    node: Name[NodeId]


class DeclareOff(msgspec.Struct, frozen=True, tag_field="t", tag="declare_off"):
    """The node draws nothing (I3): its books are cleared, its tasks are lost.

    With the node's name as `confirmation` the operator vouches for it. Without one it is queried
    out of band; with `power_off` it is powered off first.
    """

    node: Name[NodeId]
    confirmation: Name[str] = ""
    reason: Line = ""
    power_off: bool = False


class DeclareOn(msgspec.Struct, frozen=True, tag_field="t", tag="declare_on"):
    """The node may draw again: it counts at nameplate until its Hello."""

    node: Name[NodeId]


class GetPower(msgspec.Struct, frozen=True, tag_field="t", tag="get_power"):
    pass


class WhyNode(msgspec.Struct, frozen=True, tag_field="t", tag="why_node"):
    """Which domain binds the node, since when, and what is served before it there."""

    node: Name[NodeId]


class Shed(msgspec.Struct, frozen=True, tag_field="t", tag="shed"):
    """Lower a domain's budget to `(1 - fraction)` of its full budget, or by `by_mw`."""

    domain: Name[DomainId] | None
    """None: the root of the power tree."""
    fraction: Ratio = 0.0
    by_mw: SiteMilliwatts = 0
    for_s: Seconds = 0.0  # 0 = until restored
    reason: Line = ""
    ramp_s: Seconds = 0.0
    """Ramp down linearly over this time; 0 = at once."""
    release_s: Seconds = 0.0
    """Ramp up linearly over this time at its end; 0 = at once."""


class Restore(msgspec.Struct, frozen=True, tag_field="t", tag="restore"):
    """End a shed. Other limits of the domain stay in force."""

    domain: Name[DomainId] | None
    reason: Line = ""
    ramp_s: Seconds = 0.0
    """Ramp up linearly over this time; 0 = at once."""


class GridEvent(msgspec.Struct, frozen=True, tag_field="t", tag="grid_event"):
    """Lower a budget for a time range, announced by the grid. Idempotent by id.

    Give exactly one of `fraction` (of the full budget, to shed), `by_mw` (to shed), `to_mw` (rest).
    """

    id: Name[str]
    end_unix_s: Time[float]
    domain: Name[DomainId] | None = None
    """None: the root of the power tree."""
    start_unix_s: Time[float] = 0.0  # 0 = now
    fraction: Ratio = 0.0
    by_mw: SiteMilliwatts = 0
    to_mw: SiteMilliwatts = 0
    ramp_s: Seconds = 0.0
    release_s: Seconds = 0.0
    reason: Line = ""


class CancelGridEvent(msgspec.Struct, frozen=True, tag_field="t", tag="cancel_grid_event"):
    """Cancel a grid event, whether it has begun or not. Its id stays reserved until its end."""

    id: Name[str]
    reason: Line = ""


class SetUnits(msgspec.Struct, frozen=True, tag_field="t", tag="set_units"):
    """Units of a cooling zone in service; with all of them the sensed number counts again."""

    zone: Name[DomainId]
    units: Count[int]
    reason: Line = ""


class GetSite(msgspec.Struct, frozen=True, tag_field="t", tag="get_site"):
    pass


class GetPlan(msgspec.Struct, frozen=True, tag_field="t", tag="get_plan"):
    """The newest planning cycle, as a file. For operators."""


Request = (
    Submit
    | ListJobs
    | GetJob
    | Explain
    | WhatIf
    | WhatIfPower
    | Cancel
    | Hold
    | Release
    | Requeue
    | Update
    | ListNodes
    | GetNode
    | Drain
    | Undrain
    | DeclareOff
    | DeclareOn
    | NodeAct
    | AckProblem
    | GetPower
    | WhyNode
    | GetPlan
    | Shed
    | Restore
    | GridEvent
    | CancelGridEvent
    | SetUnits
    | Reserve
    | Unreserve
    | ListReservations
    | ListAccounts
    | ListEvents
    | ListProblems
    | ListNames
    | WatchSite
    | GetSite
    | GetHistory
    | GetLoad
    | Unwatch
    | Seen
    | FetchLog
    | FetchRecord
    | GetReport
    | WatchRoutes
    | ServiceRequest
    | DataRequest
    | ApiKeyRequest
    | SecretRequest
    | TerminalRequest
)


class ClientHello(msgspec.Struct, frozen=True, tag_field="t", tag="client_hello"):
    protocol: Serial[int]
    client: Word[str]
    """Program and version, for the log."""


class Ask(msgspec.Struct, frozen=True, tag_field="t", tag="ask"):
    ask: Serial[int]
    request: Request


FromClient = ClientHello | Ask


class Submitted(msgspec.Struct, frozen=True, tag_field="t", tag="submitted"):
    job: JobId
    warning: str = ""


class Done(msgspec.Struct, frozen=True, tag_field="t", tag="done"):
    """The act is on disk; `text` describes it."""

    text: str


class JobActed(msgspec.Struct, frozen=True):
    """Result of an act for one job."""

    job: JobId
    name: str
    owner: str
    state: JobState | None
    """After the act; None = there is no such job."""
    indices: str
    """Indices of an array, as in "0-3,7"; empty = the whole job."""
    tasks: int
    """Array indices, replicas or whole jobs affected."""
    text: str
    refused: str = ""
    """Kind of refusal, as in `Denied.kind`; empty = done, or it would be."""


class Acted(msgspec.Struct, frozen=True, tag_field="t", tag="acted"):
    """Result of an act for each of its jobs; it is on disk."""

    jobs: tuple[JobActed, ...]
    is_dry_run: bool
    rest: int = 0
    """Jobs left: repeat the request, `after` the last one of `jobs`."""

    @property
    def refused(self) -> tuple[JobActed, ...]:
        """Jobs for which it was refused."""
        return tuple(job for job in self.jobs if job.refused)


class Denied(msgspec.Struct, frozen=True, tag_field="t", tag="denied"):
    """The request was refused: what was wrong, and what would be valid."""

    kind: str
    """not_found, not_allowed, bad_request, impossible, conflict, busy, unavailable or internal."""
    reason: str


class Jobs(msgspec.Struct, frozen=True, tag_field="t", tag="jobs"):
    jobs: tuple[JobView, ...]
    is_cut: bool = False


class Nodes(msgspec.Struct, frozen=True, tag_field="t", tag="nodes"):
    nodes: tuple[NodeView, ...]


class Power(msgspec.Struct, frozen=True, tag_field="t", tag="power"):
    domains: tuple[DomainView, ...]


class Why(msgspec.Struct, frozen=True, tag_field="t", tag="why"):
    why: WhyView


class Explained(msgspec.Struct, frozen=True, tag_field="t", tag="explained"):
    explain: ExplainView


class SiteNow(msgspec.Struct, frozen=True, tag_field="t", tag="site_now"):
    site: SiteView


class SavedPlan(msgspec.Struct, frozen=True, tag_field="t", tag="saved_plan"):
    """Content of a file for `wattline plan --snapshot`."""

    data: bytes


Answer = (
    Submitted
    | Done
    | Acted
    | Denied
    | Jobs
    | Nodes
    | Power
    | Why
    | PowerOutlook
    | SavedPlan
    | Accounts
    | Reservations
    | Events
    | ProblemList
    | Explained
    | SiteNow
    | SiteDelta
    | History
    | Load
    | Log
    | RunRecord
    | Report
    | Routes
    | Names
    | ServiceAnswer
    | DataAnswer
    | ApiKeys
    | ApiKeyShares
    | SecretAnswer
    | TerminalAnswer
)


class ClientWelcome(msgspec.Struct, frozen=True, tag_field="t", tag="client_welcome"):
    protocol: int
    site: str
    user: str
    role: Role
    unix_s: float = 0.0
    """The scheduler's wall clock; 0: an older one, which does not support `Seen`."""
    release: str = ""  # of the scheduler; empty: an older one, which does not send it


class Response(msgspec.Struct, frozen=True, tag_field="t", tag="tell"):
    """One of the answers to a request."""

    ask: int
    answer: Answer
    is_last: bool = True


ToClient = ClientWelcome | Refused | Response

ROLE_RANK: dict[Role, int] = {"agent": 0, "gateway": 1, "submitter": 1, "operator": 2, "admin": 3}
"""Higher roles include the rights of lower ones; agent and gateway are separate."""
