"""The columns of jobs in the terminal: those of all lists, and what a snapshot says besides."""

from collections import defaultdict
from dataclasses import dataclass, field, replace

from wattline_protocol.ids import JobId
from wattline_protocol.lists import kinds
from wattline_protocol.lists.column import Column
from wattline_protocol.lists.job_table import job_table
from wattline_protocol.lists.table import Table
from wattline_protocol.text.moments import when
from wattline_protocol.views.site_views import JobView, SiteView


@dataclass(frozen=True, slots=True)
class Beside:
    """What is known of jobs beside their views."""

    watts: dict[JobId, float] = field(default_factory=dict)
    """Measured at the GPUs that a job has alone."""
    starts_unix_s: dict[JobId, float] = field(default_factory=dict)
    """Reserved by the planner, of the head of the queue."""


def beside(site: SiteView) -> Beside:
    """From the GPUs and the queue of a snapshot."""
    watts: defaultdict[JobId, float] = defaultdict(float)
    for node in site.nodes:
        for gpu in node.gpus:
            if gpu.job is not None and gpu.power_w is not None and not gpu.others:
                watts[gpu.job] += gpu.power_w
    starts = {one.job: one.starts_unix_s for one in site.queue if one.starts_unix_s is not None}
    return Beside(dict(watts), dict(starts))


def jobs_of_terminal(now_unix_s: float, known: Beside) -> Table[JobView]:
    """Columns that fill a wide screen, the most useful first."""
    table = job_table(now_unix_s)
    own = Column[JobView]
    more = (
        own(
            "watts",
            kinds.POWER,
            lambda job: known.watts.get(job.id),
            weight=5,
            is_usual=False,
            is_moving=True,
        ),
        own(
            "starts",
            kinds.TIME,
            lambda job: known.starts_unix_s.get(job.id),
            text=lambda job: _start(known.starts_unix_s.get(job.id), now_unix_s),
            weight=6,
            is_usual=False,
            is_moving=True,
        ),
    )
    weighed = [replace(one, weight=_WEIGHTS.get(one.name, one.weight)) for one in table.columns]
    return replace(table, columns=(*weighed[:-1], *more, weighed[-1]))


_WEIGHTS = {
    "user": 1,
    "elapsed": 3,
    "account": 4,
    "left": 7,
    "capped": 7,
    "verdict": 8,
    "energy": 8,
}
"""On 80 columns the user comes before the time; on a wide screen these come before others that are
not usual."""


def _start(unix_s: float | None, now_unix_s: float) -> str:
    return "-" if unix_s is None else f"~{when(unix_s, now_unix_s)}"
