"""View state: the data of the screens, reduced from wire snapshots without Textual.

`reduce` is pure: old state + snapshot → new state.
"""

from dataclasses import dataclass, replace

from wattline_protocol.ids import JobId, NodeId, TaskNo
from wattline_protocol.text.visible import visible_line
from wattline_protocol.views.site_views import (
    ENDED_STATES,
    EventView,
    GpuView,
    JobView,
    NodeView,
    SiteView,
)
from wattline_protocol.wire.client_messages import ClientWelcome
from wattline_protocol.wire.reservations import ReservationView

STALE_AFTER_S = 3.0
"""Older snapshots are marked: three periods were missed."""


@dataclass(frozen=True, slots=True)
class View:
    """The complete view state."""

    site: SiteView | None = None
    made_s: float = 0.0
    """When the scheduler made the snapshot, on the clock that its age is computed with."""
    trouble: str = ""
    """Why no snapshot arrives; empty while they do."""
    me: ClientWelcome | None = None
    """As whom the scheduler knows this terminal."""
    reservations: tuple[ReservationView, ...] = ()
    """As they were listed last."""

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
    return replace(view, site=site, made_s=made_s, trouble="")


def greeted(view: View, me: ClientWelcome) -> View:
    """The view once the scheduler has said who this is."""
    return replace(view, me=me)


def reserved(view: View, reservations: tuple[ReservationView, ...]) -> View:
    """The view after reservations were listed."""
    return replace(view, reservations=reservations)


def interrupted(view: View, why: str) -> View:
    """The view while the scheduler is unreachable: the last snapshot stays, marked."""
    return replace(view, trouble=visible_line(why))


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
    rank: int | None = None
    """In the gang of the task; None: of all ranks of the task."""


def log_end(task: TaskNo, rank: int | None = None) -> LogPlace:
    """Initial read position in the log of a task or rank."""
    return LogPlace(task, 0, -LOG_TAIL_BYTES, rank)


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


_RANKS = {"RUNNING": 0, "STARTING": 0, "PAUSED": 0, "PENDING": 1, "NODE_FAIL": 1, "HELD": 2}
_ENDED_RANK = 3


def queue_rank(job: JobView) -> tuple[int, float, int]:
    """Running jobs, then pending ones, both by priority; then ended ones, the newest first."""
    if job.state in ENDED_STATES:
        return _ENDED_RANK, -(job.ended_unix_s or 0.0), -job.id
    return _RANKS.get(job.state, _ENDED_RANK), -job.priority, job.id


def newest_events(site: SiteView, count: int) -> tuple[EventView, ...]:
    """The last `count` events, newest first."""
    return tuple(reversed(site.events[-count:])) if count else ()
