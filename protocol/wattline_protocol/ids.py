"""Identifiers and clocks as distinct types, so that they cannot be confused."""

from typing import NamedTuple, NewType

import msgspec

from wattline_protocol.wire.bounds import Count, Serial

NodeId = NewType("NodeId", str)
DomainId = NewType("DomainId", str)
JobId = NewType("JobId", int)
TaskNo = NewType("TaskNo", int)
"""Number of a task inside its job: `array position * nodes + rank`."""
AttemptNo = NewType("AttemptNo", int)
"""Increases by one with every attempt of a task; all tasks of a gang share it."""
GpuIndex = NewType("GpuIndex", int)
Epoch = NewType("Epoch", int)
"""Incarnation of the scheduler; durable before first use (I8)."""
Incarnation = NewType("Incarnation", int)
"""Incarnation of an agent, issued by the scheduler in answer to a Hello (I8)."""
Sequence = NewType("Sequence", int)
"""Number of a command to one node; never reused within an epoch (I8)."""
UserName = NewType("UserName", str)

Instant = NewType("Instant", float)
"""Seconds on a monotonic clock. Leases and time-outs use no other clock."""
UnixTime = NewType("UnixTime", float)
"""Seconds since 1970, for display and records only; may jump."""


class Now(NamedTuple):
    """Current time of a core: a monotonic clock to act by, a wall clock to record."""

    mono_s: Instant
    unix_s: UnixTime


class TaskRef(msgspec.Struct, frozen=True, order=True):
    """One attempt of one task: the unit an agent runs and reports on."""

    job: Serial[JobId]
    task: Count[TaskNo]
    attempt: Serial[AttemptNo]

    def __str__(self) -> str:
        return f"{self.job}.{self.task}#{self.attempt}"
