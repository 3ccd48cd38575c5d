"""What the demo found out, as it goes; the report is made of it."""

from dataclasses import dataclass, field

from wattline.demo.load import LoadResult
from wattline_protocol.views.site_views import EventView, JobView


@dataclass(slots=True)
class Findings:
    """Facts, each None or empty until it was established."""

    jobs: dict[str, int] = field(default_factory=dict)
    """Job number by what it is: training, sweep, service."""
    views: dict[int, JobView] = field(default_factory=dict)
    """The jobs as the scheduler showed them at the end."""
    events: list[EventView] = field(default_factory=list)
    load: LoadResult | None = None
    agent_kill_readopted: bool | None = None
    agent_kill_detail: str = ""
    lost_jobs: int | None = None
    untouched: bool | None = None
    """The tasks that ran when the scheduler was killed ran on: same attempts, same processes."""
    shed_mono_s: float | None = None
    restored_mono_s: float | None = None
    shed_acknowledged_s: float | None = None
    double_runs: list[str] = field(default_factory=list)
    starts: int = 0
    """Starts that tasks wrote down themselves."""
    leftovers: list[str] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)
    """What went wrong or is missing, in words; empty at the end means success."""
    took_s: float = 0.0
