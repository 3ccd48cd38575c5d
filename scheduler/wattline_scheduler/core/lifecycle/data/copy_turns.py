"""Turns of jobs whose checkpoints a node copies into the store, if more wait than its list holds.

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
"""Jobs on the list of one node."""
MAX_COPIES_OF_USER = MAX_COPIES // 4
TURN_S = 600.0
"""Duration of a turn."""

T = TypeVar("T")


def taking_turns(jobs: Sequence[Job], now: Now) -> list[Job]:
    """The jobs on the list, round-robin among users. Of one user, jobs that have not ended come
    first: they wait for their copies, or save more."""
    of_user: dict[UserName, list[Job]] = {}
    for job in jobs:
        of_user.setdefault(job.record.owner, []).append(job)
    turn = int(now.mono_s // TURN_S)
    users = _window(list(of_user.values()), turn, MAX_COPIES)
    rounds = chain.from_iterable(zip_longest(*(_of_user(some, turn) for some in users)))
    return list(islice((job for job in rounds if job is not None), MAX_COPIES))


def _of_user(jobs: Sequence[Job], turn: int) -> list[Job]:
    unfinished = [job for job in jobs if not job.is_ended][:MAX_COPIES_OF_USER]
    ended = [job for job in jobs if job.is_ended]
    return [*unfinished, *_window(ended, turn, MAX_COPIES_OF_USER - len(unfinished))]


def _window(items: list[T], turn: int, count: int) -> list[T]:
    """As many as `count`, others at the next turn."""
    if len(items) <= count:
        return items
    start = turn * count % len(items)
    return [*items, *items][start : start + count]
