"""Turns of users in a pool of threads, and the back-off of retries."""

import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

FIRST_RETRY_S, MOST_RETRY_S = 1.0, 60.0
THREADS = 32
"""Of a pool: users with something under way at a time."""
MAX_TRIES = 16
"""Counted: the wait is the longest long before."""


@dataclass(slots=True, kw_only=True)
class Turn(ABC):
    """What waits for a thread, or has one."""

    due_s: float = 0.0
    tries: int = 0
    is_taken: bool = False
    """A thread works on it."""

    @property
    @abstractmethod
    def user(self) -> str:
        """The user whose threads it takes."""


T = TypeVar("T", bound=Turn)


def take_turn(
    state: threading.Condition,
    waiting: Callable[[], Iterable[T]],
    busy: Counter[str],
    most_of_user: int,
) -> T:
    """Wait for the next turn, and take it. The caller holds `state`, which guards all of them."""
    while True:
        now_s = time.monotonic()
        free = (one for one in waiting() if not one.is_taken)
        found = next_turn(free, busy, most_of_user, now_s)
        if found is None or isinstance(found, float):
            state.wait(None if found is None else found - now_s)
            continue
        found.is_taken = True
        busy[found.user] += 1
        return found


def next_turn(
    waiting: Iterable[T], busy: Counter[str], most_of_user: int, now_s: float
) -> T | float | None:
    """The first that is due, of the user with the fewest threads; else when the next one is due.
    None: none waits, or its user has all its threads in use. A user may have `most_of_user` while
    one is left for others, and always one: users whose stores hang take no turn from others."""
    has_room = busy.total() <= most_of_user
    free = [
        one for one in waiting if not busy[one.user] or (has_room and busy[one.user] < most_of_user)
    ]
    due = [one for one in free if one.due_s <= now_s]
    if due:
        return min(due, key=lambda one: busy[one.user])
    return min((one.due_s for one in free), default=None)


def retry_s(tries: int) -> float:
    """The wait after so many failures before: 1 s, 2 s … 1 min."""
    return min(FIRST_RETRY_S * (1 << min(tries, MAX_TRIES)), MOST_RETRY_S)
