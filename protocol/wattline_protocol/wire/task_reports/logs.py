"""Reads of the log of an attempt: of clients, and of its agent."""

import msgspec

from wattline_protocol.ids import JobId, TaskNo, TaskRef
from wattline_protocol.wire.bounds import (
    MAX_LOG_CHUNK_BYTES,
    Count,
    LogBytes,
    Offset,
    Sentence,
    Serial,
)


class ReadLog(msgspec.Struct, frozen=True, tag_field="t", tag="read_log"):
    """Read from an attempt's log. A negative offset counts from the end."""

    request: Serial[int]
    ref: TaskRef
    offset: Offset
    limit_bytes: Count[int] = MAX_LOG_CHUNK_BYTES
    local_rank: Count[int] | None = None  # of one rank, by its number on the node; None = merged


class LogChunk(msgspec.Struct, frozen=True, tag_field="t", tag="log_chunk"):
    """Answer to ReadLog."""

    request: Serial[int]
    data: LogBytes
    next_offset: Serial[int]
    at_end: bool
    """No more bytes now; for an ended attempt: no more ever."""
    error: Sentence = ""


class FetchLog(msgspec.Struct, frozen=True, tag_field="t", tag="fetch_log"):
    """Part of the log of a task, or of a rank of its gang. attempt 0 = the newest."""

    job: Serial[JobId]
    task: Count[TaskNo] = TaskNo(0)
    attempt: Serial[int] = 0
    offset: Offset = 0
    limit_bytes: Count[int] = MAX_LOG_CHUNK_BYTES
    rank: Count[int] | None = None


class Log(msgspec.Struct, frozen=True, tag_field="t", tag="log"):
    """Answer to FetchLog."""

    ref: TaskRef
    data: bytes
    next_offset: int
    at_end: bool
    task_ended: bool
