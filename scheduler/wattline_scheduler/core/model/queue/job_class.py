"""Job classes: jobs that the planner distinguishes only by age."""

from dataclasses import dataclass, field
from typing import NamedTuple

from wattline_protocol.ids import JobId, UnixTime
from wattline_scheduler.plan.model.shape import Shape

Entry = tuple[UnixTime, JobId]
"""Submission time and job number."""


class ClassKey(NamedTuple):
    """All properties of a job known to the planner, except its age. The shape has its priority."""

    shape: Shape
    account: str
    queue: str
    kind: str
    """Kind of job if its runtime is known; otherwise empty."""
    runtime_s: float
    grace_s: float
    is_service: bool
    is_late: bool
    reservation: str = ""
    data: tuple[str, ...] = ()


@dataclass(slots=True, eq=False)
class JobClass:
    """Queued jobs of one class: a plan's result for the first ones holds for all behind them."""

    key: ClassKey
    entries: list[Entry] = field(default_factory=list)
    last: JobId | None = None
    """The last of them that the newest plan evaluated."""
    runs_s: float | None = None
    """Maximum runtime of its gangs as of that plan; None = unknown."""
    wait_reason: str = ""
    """Wait reason of that job."""
