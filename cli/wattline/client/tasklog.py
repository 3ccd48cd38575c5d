"""Follows the log of a task, piece by piece."""

import time
from collections.abc import Iterator

import msgspec

from wattline.client.asking import RequestClient
from wattline.client.errors import Busy, NotFound, Unavailable
from wattline.client.logtail import tail_offset
from wattline_protocol.ids import AttemptNo, TaskRef
from wattline_protocol.views.site_views import ENDED_STATES
from wattline_protocol.wire.client_messages import FetchLog, GetJob, Jobs, Log

POLL_FIRST_S = 0.05
POLL_LONGEST_S = 0.5
"""Poll intervals, growing from the first to the longest."""


def task_log(
    client: RequestClient, wanted: FetchLog, *, follow: bool, tail: int | None
) -> Iterator[Log]:
    """The log from its beginning, or its last `tail` lines; with `follow` until the task has ended
    and all is read."""
    pause_s = POLL_FIRST_S
    if tail is not None:
        wanted = _tail(client, wanted, tail, follow=follow)
    while True:
        piece = _piece(client, wanted, follow=follow)
        if piece is not None:
            # A later attempt must not be spliced into this one.
            wanted = msgspec.structs.replace(
                wanted, attempt=piece.ref.attempt, offset=piece.next_offset
            )
            if piece.data:
                pause_s = POLL_FIRST_S
                yield piece
            if piece.at_end and (piece.task_ended or not follow):
                return
            if not piece.at_end:
                continue
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, POLL_LONGEST_S)


def _tail(client: RequestClient, wanted: FetchLog, lines: int, *, follow: bool) -> FetchLog:
    """From the last lines on; from the beginning of a future attempt."""
    number = wanted.attempt

    def read(offset: int, limit_bytes: int) -> Log:
        nonlocal number
        request = msgspec.structs.replace(
            wanted, attempt=number, offset=offset, limit_bytes=limit_bytes
        )
        piece = _piece(client, request, follow=follow)
        if piece is None:
            return Log(TaskRef(wanted.job, wanted.task, AttemptNo(0)), b"", 0, True, False)
        number = piece.ref.attempt
        return piece

    offset = tail_offset(read, lines)
    return msgspec.structs.replace(wanted, attempt=number, offset=offset)


def _piece(client: RequestClient, request: FetchLog, *, follow: bool) -> Log | None:
    """The next piece; None: not available yet, and `follow` waits for it."""
    try:
        return client.get(request, Log)
    except (NotFound, Unavailable, Busy):
        (job,) = client.get(GetJob(request.job), Jobs).jobs
        size = job.spec.gang_size if job.spec is not None else 1
        if not follow or job.state in ENDED_STATES or request.task >= job.gangs * size:
            raise
        return None
