"""The log of an attempt as clients read it, and as its exit quotes it."""

import time
from collections.abc import Mapping
from typing import Any, get_args

from wattline_agent.core.ports import LogSlice
from wattline_agent.executor.launch import procs_of
from wattline_agent.executor.layout import TaskDir
from wattline_agent.executor.rank_files import read_failure, read_places, read_rank_log
from wattline_agent.keeper.logfile import NoLog, read_piece
from wattline_agent.keeper.processes.command import kind_of
from wattline_agent.keeper.spec import ExitRecord
from wattline_protocol.ids import UnixTime
from wattline_protocol.wire.agent_messages import ExitKind, TaskExit
from wattline_protocol.wire.bounds import MAX_LOG_CHUNK_BYTES, MAX_LOG_TAIL_BYTES
from wattline_protocol.wire.task_order import TaskOrder

KINDS = get_args(ExitKind)
"""Of ends. One of a damaged disk, or of a keeper of a later release, may have another one."""


def read_log(folder: TaskDir, local_rank: int | None, offset: int, limit_bytes: int) -> LogSlice:
    """A piece of the merged log, or of one rank's, from the oldest byte retained on. Raises
    NoLog."""
    limit = max(0, min(limit_bytes, MAX_LOG_CHUNK_BYTES))
    if local_rank is None:
        piece = read_piece(folder.log_prefix, offset, limit)
    else:
        piece = read_rank_log(folder.path, local_rank, offset, limit)
    data, note = piece.data, b""
    if 0 <= offset < piece.start:
        note = b"[wattline: %d earlier bytes were cut: the log is at its limit]\n" % piece.start
    next_offset = piece.start + len(data)
    return LogSlice(note + data, next_offset, at_end=next_offset >= piece.end)


def end_in(view: Mapping[str, Any]) -> ExitRecord | None:
    """The end in a keeper's view of an attempt; None while it lives."""
    if not view:
        return ExitRecord("keeper_lost", detail="the keeper no longer has it")
    end = view["exit"]
    if end is None:
        return None
    return ExitRecord.from_json(end) or ExitRecord("keeper_lost", detail="its end is damaged")


def exit_of(record: ExitRecord, folder: TaskDir, order: TaskOrder, *, is_covered: bool) -> TaskExit:
    """How the attempt ended. `is_covered`: something is mounted over its directory, which is then
    not read."""
    kind: Any = record.kind if record.kind in KINDS else "keeper_lost"
    detail, tail = record.detail, ""
    try:
        piece = read_piece(folder.log_prefix, -MAX_LOG_TAIL_BYTES, MAX_LOG_TAIL_BYTES)
    except NoLog:
        pass  # it has written nothing
    else:
        tail = piece.data.decode(errors="replace")
        if piece.lost:
            detail += f"; {piece.lost} bytes of its log could not be written (disk full?)"
    has_ranks = order.launcher == "torchrun" and not is_covered
    return TaskExit(
        kind=kind,
        code=record.code,
        signal=record.signal,
        detail=detail,
        log_tail=tail,
        ended_unix_s=UnixTime(record.ended_unix_s),
        leftover_pids=tuple(record.leftover_pids),
        first_failure=read_failure(folder.path) if has_ranks else None,
        places=read_places(folder.path, procs_of(order)) if has_ranks else (),
    )


def unstarted(error: Exception, where: str = "") -> ExitRecord:
    """How an attempt ended that never had a program. `where`: the path, unless the error has it."""
    kind, detail = "not_startable", str(error)
    if isinstance(error, OSError):
        kind, detail = kind_of(error.errno), f"{error.strerror}: {error.filename or where}"
    return ExitRecord(kind, detail=detail, ended_unix_s=time.time())
