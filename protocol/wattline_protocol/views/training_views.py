"""Views of training jobs: what they have saved, and how their ranks do."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from wattline_protocol.ids import NodeId, UnixTime
from wattline_protocol.wire.task_reports.checkpoints import StoredCheckpoint

SlowCause = Literal["capped", "hot", "clocks", "input", "unknown"]
"""Why a rank is slower than the others of its gang."""

CAUSE_TEXT: Mapping[SlowCause, str] = {
    "capped": "its power cap reduces the clocks",
    "hot": "heat reduces the clocks",
    "clocks": "it runs at lower clocks than the others",
    "input": "its GPU waits for input",
    "unknown": "cause unknown",
}

RankState = Literal["starting", "running", "slow", "paused", "stopping", "ended"]


class RankView(msgspec.Struct, frozen=True):
    """One rank of a gang that holds GPUs."""

    rank: int
    node: NodeId
    pid: int | None
    """None = not known."""
    step: int | None
    """The newest that it has reported; None = it reports none."""
    step_s: float | None
    """Median of its newest steps."""
    state: RankState
    busy_s: float | None = None
    """Part of `step_s` in which it did not wait for other ranks."""
    cause: SlowCause | None = None
    """Why it is slow."""
    gang: int = 0
    """Of an array: the index of its gang."""


class CheckpointView(msgspec.Struct, frozen=True):
    """The newest checkpoint that a task of a job has published."""

    step: int
    saved_unix_s: UnixTime
    bytes: int
    save_s: float
    """Duration of the save, from its first byte to its publication."""
    every_s: float
    """Interval of saves in force; 0 = none."""
    uploaded: bool = False
    """A copy of it is in the store of the site."""
    stored: StoredCheckpoint | None = None
    """The newest one there; None = none, or the job keeps none."""
    stored_in: str = ""
    """URL of the store in which that lies."""
    behind: int = 0
    """Newer ones on the node, when it last looked."""
    behind_why: str = ""
    """Why the newest is not in the store yet, or what else failed."""
