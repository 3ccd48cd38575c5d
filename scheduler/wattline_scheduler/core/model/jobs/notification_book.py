"""Notifications that are not delivered yet: bounded for each user and for the site."""

from collections import Counter
from collections.abc import Iterable

from wattline_protocol.ids import Instant, JobId, Now, UserName
from wattline_protocol.job.spec import NotifyOn
from wattline_scheduler.notification_record import NotificationRecord

MAX_OPEN = 10_000
"""Of the site."""

MAX_OPEN_OF_ONE = 1_000
"""Of one user: others are notified while the receiver of one is unreachable."""

REPEATED_AFTER_S = 60.0
"""Within this time, what happens to several gangs of a job causes one notification."""

Key = tuple[JobId, int]


class NotificationBook:
    """What is to be delivered, by job and number."""

    def __init__(self) -> None:
        self.open: dict[Key, NotificationRecord] = {}
        self._counts: Counter[UserName] = Counter()
        self._full: set[UserName] = set()
        self._newest: dict[JobId, dict[NotifyOn, Instant]] = {}
        self._number = 0
        """The highest that was given."""

    def restore(self, saved: Iterable[NotificationRecord]) -> None:
        """Those on record."""
        for record in saved:
            self.add(record)

    def add(self, record: NotificationRecord) -> None:
        self.open[record.job, record.number] = record
        self._counts[record.owner] += 1
        self._number = max(self._number, record.number)

    def next_number(self, event: int) -> int:
        """That of the next event, or the next one that was not given: a job may be held and end
        without an event in between."""
        return max(event, self._number + 1)

    def close(self, key: Key) -> NotificationRecord | None:
        """The record, which is open no more; None = it was not open."""
        record = self.open.pop(key, None)
        if record is not None:
            self._counts[record.owner] -= 1
            if self._counts[record.owner] <= MAX_OPEN_OF_ONE // 2:
                self._full.discard(record.owner)
        return record

    def note_cause(self, job: JobId, on: NotifyOn, now: Now) -> bool:
        """Notes a cause; False if the job had the same one less than `REPEATED_AFTER_S` ago."""
        newest = self._newest.setdefault(job, {})
        before = newest.get(on)
        if before is not None and now.mono_s - before < REPEATED_AFTER_S:
            return False
        newest[on] = now.mono_s
        return True

    def ended(self, job: JobId) -> None:
        """Forgets when a job was last notified."""
        self._newest.pop(job, None)

    def is_full(self, owner: UserName) -> bool:
        """Whether no more is accepted for this user."""
        return len(self.open) >= MAX_OPEN or self._counts[owner] >= MAX_OPEN_OF_ONE

    def note_dropped(self, owner: UserName) -> bool:
        """Notes that one is dropped; True for the first since half of the bound was free."""
        is_first = owner not in self._full
        self._full.add(owner)
        return is_first
