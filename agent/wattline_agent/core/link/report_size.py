"""Bounds what a message says of tasks: programs write most of it, and a node may have hundreds.

A message beyond `MAX_MESSAGE_BYTES` is refused, so that its sender would be silent for ever; and a
beat of megabytes each second costs the scheduler more than a node is worth. The largest reports
then lose what programs and ranks have said. What the scheduler acts on stays: phase, usage, exit.
"""

from collections.abc import Sequence
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from wattline_protocol.wire.agent_messages import (
    Adopted,
    Beat,
    FromAgent,
    TaskExit,
    TaskReport,
    TaskUpdate,
)

MAX_REPORTS_BYTES = 1024 * 1024
"""Of all reports in a message: 256 tasks may use 4 KiB each."""
BARE_DETAIL_CHARS = 200

M = TypeVar("M", bound=FromAgent)

_encode = msgspec.msgpack.Encoder().encode


def with_less(message: M, most_bytes: int = MAX_REPORTS_BYTES) -> M:
    """The message with the largest reports of tasks reduced, as far as it is too long."""
    if isinstance(message, Beat | Adopted):
        return replace(message, tasks=_fitting(message.tasks, most_bytes))
    if isinstance(message, TaskUpdate):
        return replace(message, report=_fitting((message.report,), most_bytes)[0])
    return message


def _fitting(reports: Sequence[TaskReport], most_bytes: int) -> tuple[TaskReport, ...]:
    found, sizes = list(reports), [_size(report) for report in reports]
    total = sum(sizes)
    for at in sorted(range(len(found)), key=sizes.__getitem__, reverse=True):
        if total <= most_bytes:
            break
        found[at] = _bare(found[at])
        total += _size(found[at]) - sizes[at]
    return tuple(found)


def _size(report: TaskReport) -> int:
    try:
        return len(_encode(report))
    except (UnicodeEncodeError, OverflowError):  # `clipping` mends it; until then it is the largest
        return MAX_REPORTS_BYTES


def _bare(report: TaskReport) -> TaskReport:
    end = None if report.exit is None else _bare_exit(report.exit)
    return replace(report, metrics={}, ranks=(), note="", exit=end)


def _bare_exit(end: TaskExit) -> TaskExit:
    detail = end.detail[:BARE_DETAIL_CHARS]
    return replace(end, detail=detail, log_tail="", first_failure=None, places=())
