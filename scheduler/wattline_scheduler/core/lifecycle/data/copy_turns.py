"""Whose checkpoints a node copies into the store, where more wait than its list may have.

A copy may fail for ever: its bucket is deleted, its key revoked. So users take turns, and the ended
jobs of one user too.
"""

from collections.abc import Sequence
from itertools import chain, islice, zip_longest
from typing import TypeVar

from wattline_protocol.ids import Now, UserName
from wattline_protocol.wire.agents.data_messages import MAX_HELD
from wattline_scheduler.core.model.jobs.job import Job

MAX_COPIES = MAX_HELD
"""Of one list."""
MAX_COPIES_OF_USER = MAX_COPIES // 4
TURN_S = 600.0
"""Of what has more than fits."""

T = TypeVar("T")


def taking_turns(jobs: Sequence[Job], now: Now) -> list[Job]:
    """Those on the list: of each user one, then of each one more. Jobs that have not ended come
    first: they wait for their copies, or save more."""
    of_user: dict[UserName, list[Job]] = {}
    for job in jobs:
        of_user.setdefault(job.record.owner, []).append(job)
    turn = int(now.mono_s // TURN_S)
    users = _window(list(of_user.values()), turn, MAX_COPIES)
    rounds = chain.from_iterable(zip_longest(*(_of_user(some, turn) for some in users)))
    return list(islice((job for job in rounds if job is not None), MAX_COPIES))


def _of_user(jobs: Sequence[Job], turn: int) -> list[Job]:
    is_open = [job for job in jobs if not job.is_ended][:MAX_COPIES_OF_USER]
    ended = [job for job in jobs if job.is_ended]
    return [*is_open, *_window(ended, turn, MAX_COPIES_OF_USER - len(is_open))]


def _window(items: list[T], turn: int, count: int) -> list[T]:
    """So many of them; others at the next turn."""
    if len(items) <= count:
        return items
    start = turn * count % len(items)
    return [*items, *items][start : start + count]
