"""An attempt as its agent sees it, and how it ended."""

from typing import Literal

import msgspec

from wattline_protocol.ids import GpuIndex, TaskRef, UnixTime
from wattline_protocol.job.rank_reports import RankPlace
from wattline_protocol.wire.bounds import (
    Count,
    Index,
    LogTail,
    Number,
    Offset,
    OfGpus,
    Seconds,
    Sentence,
    Serial,
    Some,
    Table,
    Time,
    Word,
)
from wattline_protocol.wire.task_order import Notice, RankFailure, TaskUsage
from wattline_protocol.wire.task_reports.checkpoints import CheckpointTrouble, SavedCheckpoint
from wattline_protocol.wire.task_reports.rank_steps import OfRanks

ExitKind = Literal[
    "exited",
    "signaled",
    "out_of_memory",
    "not_found",
    "not_startable",
    "runtime_limit",
    "task_lease_expired",
    "keeper_lost",
    "emergency",
    "cap_raised",
]


class TaskExit(msgspec.Struct, frozen=True):
    """How an attempt ended, in terms for the user."""

    kind: ExitKind
    code: Offset | None = None
    signal: Offset | None = None
    detail: Sentence = ""
    """One plain sentence, e.g. "command not found: trian.py"."""
    log_tail: LogTail = ""
    """Last lines of the log, bounded by `MAX_LOG_TAIL_BYTES`."""
    ended_unix_s: Time[UnixTime] = UnixTime(0.0)
    leftover_pids: Some[Count[int]] = ()
    """Processes of the group that could not be ended; empty after a clean stop."""
    first_failure: RankFailure | None = None
    places: Some[RankPlace] = ()  # of its ranks, after DumpStacks


TaskPhase = Literal["starting", "running", "paused", "stopping", "ended"]


class TaskReport(msgspec.Struct, frozen=True):
    """One attempt as seen by the agent now: its full state, not a delta."""

    ref: TaskRef
    phase: TaskPhase
    gpus: OfGpus[Index[GpuIndex]]
    pid: Count[int] | None = None
    started_unix_s: Time[UnixTime] | None = None
    usage: TaskUsage = TaskUsage()
    metrics: Table[Word[str], Number] = {}
    """Latest value of each metric the task reported."""
    worker_public_key: Word[str] = ""
    """Services: key with which this attempt's worker connects to the gateway (z85)."""
    exit: TaskExit | None = None
    readopted: Count[int] = 0
    """How often a restarted agent re-adopted this running attempt."""
    runtime_limit_s: Seconds = 0.0
    """The limit in force; 0 = none."""
    note: Sentence = ""
    """A remark about its start for the user."""
    progress_marks: Serial[int] = 0  # reports of its program: metrics, heartbeats, checkpoints
    checkpoint: SavedCheckpoint | None = None
    """The newest that the task has reported."""
    notice: Notice | None = None
    """The notice in force, as the scheduler sent it."""
    checkpoint_trouble: CheckpointTrouble | None = None
    """The newest since then."""
    has_task_lease: bool = False
    """Its keeper ends it on isolation, as the keeper itself lists it (I7)."""
    ranks: OfRanks = ()  # those that report steps
