"""The durable form of the record of a run."""

from typing import ClassVar

import msgspec

from wattline_protocol.ids import AttemptNo, JobId, TaskNo, UnixTime, UserName


class RecordedRun(msgspec.Struct, frozen=True):
    """What a node had on record of an ended attempt; both parts as the node sent them."""

    key: ClassVar[tuple[str, ...]] = ("job", "task", "attempt")
    job: JobId
    task: TaskNo
    """The first one of its gang."""
    attempt: AttemptNo
    owner: UserName
    ended_unix_s: UnixTime
    size_bytes: int
    report: bytes
    inventory: bytes
