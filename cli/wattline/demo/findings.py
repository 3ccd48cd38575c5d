"""Findings of the demo while it runs; the source of the report."""

from dataclasses import dataclass, field

from wattline.demo.load import LoadResult
from wattline_protocol.views.site_views import EventView, JobView


@dataclass(slots=True)
class Outcome:
    """What every demo finds."""

    trouble: list[str] = field(default_factory=list)
    """Errors and omissions, as text; empty at the end means success."""
    leftovers: list[str] = field(default_factory=list)
    """Processes that outlived its end."""
    took_s: float = 0.0


@dataclass(slots=True)
class Findings(Outcome):
    """Facts, each None or empty until it is established."""

    jobs: dict[str, int] = field(default_factory=dict)
    """Job number by purpose: training, sweep, service."""
    views: dict[int, JobView] = field(default_factory=dict)
    """Final views of the jobs."""
    events: list[EventView] = field(default_factory=list)
    load: LoadResult | None = None
    agent_kill_readopted: bool | None = None
    agent_kill_detail: str = ""
    lost_jobs: int | None = None
    untouched: bool | None = None
    """The tasks running when the scheduler was killed survived: same attempts, same processes."""
    shed_mono_s: float | None = None
    restored_mono_s: float | None = None
    shed_acknowledged_s: float | None = None
    double_runs: list[str] = field(default_factory=list)
    starts: int = 0
    """Starts recorded by the tasks themselves."""
