"""Which notification is tried next, without threads or clocks.

Theory. Notifications of one host, or of the mail relay, form a lane, of which one is under way at a
time: a host that hangs takes one worker and delays no other host. After a failure a notification
waits longer each time, and others of its lane pass it. Those older than a day are given up.
"""

import heapq
import itertools
from typing import NamedTuple

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
        self._lanes: dict[str, list[Delivery]] = {}
        self._busy: set[str] = set()
        self._order = itertools.count()

    def add(self, record: NotificationRecord, lane: str, now_s: float, tries: int = 0) -> None:
        """To be tried from `now_s` on."""
        one = Delivery(now_s, next(self._order), lane, record, tries)
        heapq.heappush(self._lanes.setdefault(lane, []), one)

    def take(self, now_s: float) -> Delivery | None:
        """The one that is due first, of a lane in which none is under way; None = there is none."""
        heads = (waiting[0] for lane, waiting in self._lanes.items() if lane not in self._busy)
        first = min(heads, default=None)
        if first is None or first.due_s > now_s:
            return None
        heapq.heappop(self._lanes[first.lane])
        if not self._lanes[first.lane]:
            del self._lanes[first.lane]
        self._busy.add(first.lane)
        return first

    def due_s(self) -> float | None:
        """When `take` finds the next one, if nothing is settled meanwhile; None = never."""
        heads = (waiting[0] for lane, waiting in self._lanes.items() if lane not in self._busy)
        first = min(heads, default=None)
        return first.due_s if first is not None else None

    def settle(self, one: Delivery, outcome: Outcome, now_s: float, unix_s: float) -> str | None:
        """After its try: the error with which it is given up, empty if it was delivered; None = it
        is tried again."""
        self._busy.discard(one.lane)
        if outcome.verdict == "taken":
            return ""
        is_old = unix_s - one.record.unix_s > GIVE_UP_AFTER_S
        if outcome.verdict == "refused" or is_old:
            return outcome.detail or "refused"
        wait_s = min(RETRY_FIRST_S * 2 ** min(one.tries, 16), RETRY_LONGEST_S)
        self.add(one.record, one.lane, now_s + wait_s, one.tries + 1)
        return None
