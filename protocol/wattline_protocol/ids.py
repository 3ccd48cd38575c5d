"""Identifiers and clocks as distinct types, so that one cannot stand in for another."""

from typing import NamedTuple, NewType

import msgspec

from wattline_protocol.wire.bounds import Count, Serial

NodeId = NewType("NodeId", str)
DomainId = NewType("DomainId", str)
JobId = NewType("JobId", int)
TaskNo = NewType("TaskNo", int)
"""Number of a task inside its job: `array position * nodes + rank`."""
AttemptNo = NewType("AttemptNo", int)
"""Grows by one with every try of a task; all tasks of a gang share it."""
GpuIndex = NewType("GpuIndex", int)
Epoch = NewType("Epoch", int)
"""Incarnation of the scheduler; durable before first use (I8)."""
Incarnation = NewType("Incarnation", int)
"""Incarnation of an agent, issued by the scheduler in answer to a Hello (I8)."""
Sequence = NewType("Sequence", int)
"""Number of a command to one node; never reused within an epoch (I8)."""
UserName = NewType("UserName", str)

Instant = NewType("Instant", float)
"""Seconds on a monotonic clock. Leases and time-outs use nothing else."""
UnixTime = NewType("UnixTime", float)
"""Seconds since 1970, for people and records only; may jump."""


class Now(NamedTuple):
    """The time as a core is told it: one clock to act by, one to write down."""

    mono_s: Instant
    unix_s: UnixTime


class TaskRef(msgspec.Struct, frozen=True, order=True):
    """One try of one task: the unit an agent runs and reports on."""

    job: Serial[JobId]
    task: Count[TaskNo]
    attempt: Serial[AttemptNo]

    def __str__(self) -> str:
        return f"{self.job}.{self.task}#{self.attempt}"
