"""Lines of the queue: jobs that the planner cannot tell apart but by age."""

from dataclasses import dataclass, field
from typing import NamedTuple

from wattline_protocol.ids import JobId, UnixTime
from wattline_scheduler.plan.model.shape import Shape

Entry = tuple[UnixTime, JobId]
"""When it was submitted, and its number."""


class LineKey(NamedTuple):
    """All that the planner can tell of a job, apart from its age. The shape has its priority."""

    shape: Shape
    account: str
    queue: str
    kind: str
    """Where it is known how long such jobs take; otherwise empty."""
    runtime_s: float
    grace_s: float
    is_service: bool
    is_late: bool
    reservation: str = ""


@dataclass(slots=True, eq=False)
class Line:
    """What a plan finds of the jobs in front holds for all behind them."""

    key: LineKey
    entries: list[Entry] = field(default_factory=list)
    last: JobId | None = None
    """The last of them that the newest plan looked at."""
    wait_reason: str = ""
    """Why it could not place that one."""
