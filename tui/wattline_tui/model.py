"""View state: the data of the screens, reduced from wire snapshots without Textual.

`reduce` is pure: old state + snapshot → new state. Histories are bounded.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from wattline_protocol.ids import DomainId, GpuIndex, JobId, NodeId, TaskNo
from wattline_protocol.text.visible import visible_line
from wattline_protocol.views.site_views import (
    ENDED_STATES,
    DomainView,
    EventView,
    GpuView,
    JobView,
    NodeView,
    SiteView,
)
from wattline_protocol.wire.client_messages import ClientWelcome
from wattline_tui.limits import limit_line, limits_of_interest

HISTORY = 120
"""Power samples retained per GPU for its sparkline: two minutes at the usual period."""

STALE_AFTER_S = 3.0
"""Older snapshots are marked: three periods were missed."""


@dataclass(frozen=True, slots=True)
class DomainRow:
    """One bar: the shares are of the full budget, so that a shed shows as a shorter limit."""

    id: DomainId
    name: str
    """Indented by depth."""
    kind: str
    measured_share: float
    committed_share: float
    budget_share: float
    measured_w: float
    committed_w: float
    budget_w: float
    is_over: bool
    limits: tuple[str, ...]
    """Limits of its budget, a sentence each: in force, or beginning within the hour."""
    is_low: bool


@dataclass(frozen=True, slots=True)
class View:
    """The complete view state."""

    site: SiteView | None = None
    made_s: float = 0.0
    """When the scheduler made the snapshot, on the clock that its age is computed with."""
    trouble: str = ""
    """Why no snapshot arrives; empty while they do."""
    history: Mapping[tuple[NodeId, GpuIndex], tuple[float, ...]] = field(default_factory=dict)
    me: ClientWelcome | None = None
    """As whom the scheduler knows this terminal."""

    def stale_s(self, now_s: float) -> float | None:
        """Age of the snapshot, where it is too old to be current."""
        age_s = now_s - self.made_s
        return age_s if self.site is not None and age_s > STALE_AFTER_S else None

    def node(self, node: NodeId) -> NodeView | None:
        """The node, if the site has it."""
        nodes = self.site.nodes if self.site else ()
        return next((n for n in nodes if n.id == node), None)

    def job(self, job: JobId) -> JobView | None:
        """The job, if it is in the snapshot."""
        jobs = self.site.jobs if self.site else ()
        return next((j for j in jobs if j.id == job), None)


def reduce(view: View, site: SiteView, made_s: float) -> View:
    """The view after `site`, made at `made_s`, has arrived."""
    history = _longer(view.history, site)
    return replace(view, site=site, made_s=made_s, trouble="", history=history)


def greeted(view: View, me: ClientWelcome) -> View:
    """The view once the scheduler has said who this is."""
    return replace(view, me=me)


def interrupted(view: View, why: str) -> View:
    """The view while the scheduler is unreachable: the last snapshot stays, marked."""
    return replace(view, trouble=visible_line(why))


def _longer(
    history: Mapping[tuple[NodeId, GpuIndex], tuple[float, ...]], site: SiteView
) -> dict[tuple[NodeId, GpuIndex], tuple[float, ...]]:
    return {
        (node.id, gpu.index): (*history.get((node.id, gpu.index), ()), gpu.power_w or 0.0)[
            -HISTORY:
        ]
        for node in site.nodes
        for gpu in node.gpus
    }


LIMIT_LINES = 2
"""Limits shown below a domain; `wattline power` has them all."""

LIMITS_AHEAD_S = 3_600.0
"""Planned limits are shown this long before they begin."""


LOG_TAIL_BYTES = 64 * 1024
"""The log of a task opens this far before its end."""


@dataclass(frozen=True, slots=True)
class LogPlace:
    """Read position in a task's log."""

    task: TaskNo
    attempt: int
    """0: nothing was read yet."""
    offset: int
    """Below 0: that many bytes before the end."""


def log_end(task: TaskNo) -> LogPlace:
    """Initial read position in the log of a task."""
    return LogPlace(task, 0, -LOG_TAIL_BYTES)


def domain_rows(site: SiteView) -> list[DomainRow]:
    """Both trees, power first, each domain under its parent."""
    children: dict[DomainId | None, list[DomainView]] = {}
    for domain in site.domains:
        children.setdefault(domain.parent, []).append(domain)
    rows: list[DomainRow] = []

    def walk(parent: DomainId | None, depth: int, kind: str) -> None:
        for domain in children.get(parent, []):
            if domain.kind == kind:
                rows.append(_domain_row(domain, depth, site.unix_s))
                walk(domain.id, depth + 1, kind)

    walk(None, 0, "power")
    walk(None, 0, "cooling")
    return rows


def _domain_row(domain: DomainView, depth: int, now_s: float) -> DomainRow:
    full_w = domain.full_budget_w or 1.0
    committed_w = domain.committed_w + domain.reserved_w
    shown = limits_of_interest(domain, now_s, LIMITS_AHEAD_S)[:LIMIT_LINES]
    return DomainRow(
        id=domain.id,
        name=" " * depth + visible_line(domain.id),
        kind=domain.kind,
        measured_share=domain.measured_w / full_w,
        committed_share=committed_w / full_w,
        budget_share=domain.budget_w / full_w,
        measured_w=domain.measured_w,
        committed_w=committed_w,
        budget_w=domain.budget_w,
        is_over=committed_w > domain.budget_w or domain.measured_w > domain.budget_w,
        limits=tuple(visible_line(limit_line(limit, now_s)) for limit in shown),
        is_low=domain.budget_w < domain.full_budget_w,
    )


def heat_level(gpu: GpuView, *, by_temperature: bool) -> int:
    """0 (cold) to 4 (at the limit), for the colour of a heat-map cell."""
    if by_temperature:
        shown, low, high = gpu.temp_c, 35.0, 85.0
        if shown is None:
            return 0
        share = (shown - low) / (high - low)
    else:
        share = (gpu.power_w or 0.0) / gpu.cap_max_w if gpu.cap_max_w else 0.0
    return min(4, max(0, int(share * 5)))


def heat_text(gpu: GpuView, *, by_temperature: bool) -> str:
    """Two characters, three from 1 kW or 100 °C on: a number, so that colour is never alone."""
    if not gpu.healthy:
        return " ×"
    value = gpu.temp_c if by_temperature else None
    if not by_temperature and gpu.power_w is not None:
        value = round(gpu.power_w / 10)
    return " ?" if value is None else f"{min(value, 999):>2}"


_RANKS = {"RUNNING": 0, "STARTING": 0, "PAUSED": 0, "PENDING": 1, "NODE_FAIL": 1, "HELD": 2}


def queue_rank(job: JobView) -> tuple[int, int, int]:
    """Running jobs first, then pending ones by priority, then ended ones."""
    return _RANKS.get(job.state, 3), -job.priority, job.id


def waiting_and_running(site: SiteView, *, with_ended: bool) -> list[JobView]:
    """Jobs in the order of the queue."""
    jobs = [j for j in site.jobs if with_ended or j.state not in ENDED_STATES]
    return sorted(jobs, key=queue_rank)


def newest_events(site: SiteView, count: int) -> tuple[EventView, ...]:
    """The last `count` events, newest first."""
    return tuple(reversed(site.events[-count:])) if count else ()
