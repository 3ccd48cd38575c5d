"""Reads of the log of an attempt."""

import msgspec

from wattline_protocol.ids import TaskRef
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
