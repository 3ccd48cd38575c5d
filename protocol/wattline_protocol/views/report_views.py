"""Views of accounting over a time range."""

import msgspec

from wattline_protocol.ids import DomainId, UnixTime
from wattline_protocol.site.model import DomainKind
from wattline_protocol.views.site_views import JobView
from wattline_protocol.wire.bounds import Time


class DomainPeak(msgspec.Struct, frozen=True):
    """Peaks of one domain since the store began."""

    id: DomainId
    kind: DomainKind
    budget_w: float
    peak_committed_w: float
    peak_measured_w: float


class GroupTotals(msgspec.Struct, frozen=True):
    """Usage of one account or one queue in a report's time range."""

    name: str
    jobs: int
    gpu_hours: float
    energy_kwh: float
    cost_usd: float
    utilisation: float | None


class ReportView(msgspec.Struct, frozen=True):
    """Accounting over all jobs on record in a time range."""

    since_unix_s: UnixTime
    until_unix_s: UnixTime
    jobs: tuple[JobView, ...]
    domains: tuple[DomainPeak, ...]
    site_energy_kwh: float
    gpu_hours: float
    cap_bound_gpu_s: float
    idle_energy_kwh: float
    """Energy of nodes that is booked to no job."""
    simulated: bool
    accounts: tuple[GroupTotals, ...] = ()
    queues: tuple[GroupTotals, ...] = ()
    jobs_total: int = 0
    """Total; `jobs` has the newest of them where not all fit."""


class GetReport(msgspec.Struct, frozen=True, tag_field="t", tag="get_report"):
    since_unix_s: Time[float] = 0.0
    until_unix_s: Time[float] = 0.0  # 0 = now


class Report(msgspec.Struct, frozen=True, tag_field="t", tag="report"):
    report: ReportView
