"""Which notification is tried next, without threads or clocks.

Theory. Notifications of one host, or of the mail relay, form a lane, of which one is under way at a
time: a host that hangs takes one worker and delays no other host. Users take turns, the one with
the fewest tries under way first: a thousand ports that answer nothing, each a lane, delay others by
one try. After a failure a notification waits longer each time, and others of its lane pass it.
Those older than a day are given up.
"""

import heapq
import itertools
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from wattline_protocol.ids import UserName
from wattline_scheduler.notification_record import NotificationRecord
from wattline_scheduler.shell.webhooks.webhook import Outcome

RETRY_FIRST_S = 5.0
RETRY_LONGEST_S = 600.0
"""Retry intervals double up to it."""

GIVE_UP_AFTER_S = 86_400.0


class Delivery(NamedTuple):
    """A notification and its next try."""

    due_s: float
    """Monotonic."""
    order: int
    lane: str
    record: NotificationRecord
    tries: int


class DeliveryQueue:
    """Notifications to deliver. The core bounds their number."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, UserName], list[Delivery]] = {}
        """By lane and user."""
        self._busy: set[str] = set()
        self._under_way: Counter[UserName] = Counter()
        self._turns: dict[UserName, int] = {}
        """When a user was last served."""
        self._order = itertools.count()

    def add(self, record: NotificationRecord, lane: str, now_s: float, tries: int = 0) -> None:
        """To be tried from `now_s` on."""
        one = Delivery(now_s, next(self._order), lane, record, tries)
        heapq.heappush(self._waiting.setdefault((lane, record.owner), []), one)

    def take(self, now_s: float) -> Delivery | None:
        """One that is due, of a lane in which none is under way, and of the user whose turn it is;
        None = there is none."""
        first = min(
            (one for one in self._heads() if one.due_s <= now_s), key=self._turn, default=None
        )
        if first is None:
            return None
        owner = first.record.owner
        waiting = self._waiting[first.lane, owner]
        heapq.heappop(waiting)
        if not waiting:
            del self._waiting[first.lane, owner]
        self._busy.add(first.lane)
        self._under_way[owner] += 1
        self._turns[owner] = next(self._order)
        return first

    def due_s(self) -> float | None:
        """When `take` finds the next one, if nothing is settled meanwhile; None = never."""
        return min((one.due_s for one in self._heads()), default=None)

    def _heads(self) -> Iterator[Delivery]:
        """The first of each user in each lane in which none is under way."""
        return (some[0] for (lane, _), some in self._waiting.items() if lane not in self._busy)

    def _turn(self, one: Delivery) -> tuple[int, int, Delivery]:
        owner = one.record.owner
        return self._under_way[owner], self._turns.get(owner, -1), one

    def settle(self, one: Delivery, outcome: Outcome, now_s: float, unix_s: float) -> str | None:
        """After its try: the error with which it is given up, empty if it was delivered; None = it
        is tried again."""
        self._busy.discard(one.lane)
        self._under_way[one.record.owner] -= 1
        if outcome.verdict == "taken":
            return ""
        is_old = unix_s - one.record.unix_s > GIVE_UP_AFTER_S
        if outcome.verdict == "refused" or is_old:
            return outcome.detail or "refused"
        wait_s = min(RETRY_FIRST_S * 2 ** min(one.tries, 16), RETRY_LONGEST_S)
        self.add(one.record, one.lane, now_s + wait_s, one.tries + 1)
        return None
