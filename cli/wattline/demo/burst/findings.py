"""Findings of the burst while it runs; the source of its report."""

from dataclasses import dataclass, field

from wattline.demo.burst.caps import Raise
from wattline.demo.burst.load import Asked
from wattline.demo.findings import Outcome


@dataclass(slots=True)
class Training:
    """What the training job lost and kept; None until it is established."""

    preempted_s: float | None = None
    """From the step of the load to the end of its attempt."""
    reached_epoch: int | None = None
    """The last one that this attempt reported."""
    saved_epoch: int | None = None
    """Of the newest checkpoint after it had ended."""
    resumed_epoch: int | None = None
    """That the next attempt says it continues from."""
    resumed_s: float | None = None
    """From giving back the replica's GPUs to the start of that attempt."""
    later_epoch: int | None = None
    """Of the newest checkpoint at the end."""


@dataclass(slots=True)
class BurstFindings(Outcome):
    """Times are monotonic; None until they are established."""

    steady_s: float | None = None
    """The steady load since."""
    step_s: float | None = None
    end_s: float | None = None
    """Of the burst."""
    caps: Raise | None = None
    decided_s: float | None = None
    """The number of replicas was raised."""
    why: str = ""
    """Of that, as the scheduler reports it."""
    started_s: float | None = None
    """Start of the second replica's process."""
    ready_s: float | None = None
    """It takes requests."""
    training: Training = field(default_factory=Training)
    requests: list[Asked] = field(default_factory=list)
