"""Follows the checkpoints while the program runs: complete ones are read, recorded, reported."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from wattline.task.metrics import report
from wattline.task.outcome import log

from .found import Found, Unreadable, read, step_of
from .records import Record, Records, sums_of
from .resume import Entries, all_found
from .settling import Settling

PERIOD_S = 0.5
LATE_S = 0.5
"""By which a look may be late without a pause."""
SHARE = 0.05
"""At most so much of the time goes into listing the files."""


class _Reading:
    """Reads the files of one checkpoint in a thread: the program may end meanwhile."""

    def __init__(self, found: Found) -> None:
        self.found = found
        self.sums: tuple[str, ...] | None = None
        """None while it lasts, and after an error."""
        self._thread = threading.Thread(target=self._run, name="wattline-hash", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.sums = sums_of(self.found)
        except OSError as error:  # if it changed or was removed, the next listing shows it
            log(f"{self.found.path} was not read: {error.strerror}")

    @property
    def is_done(self) -> bool:
        return not self._thread.is_alive()


class Watch:
    """The checkpoints of one running program."""

    def __init__(
        self, pattern: str, records: Records, left: Mapping[str, Entries], resumed: Record | None
    ) -> None:
        """`left`: matches that are no checkpoints unless they change."""
        self._pattern, self._records, self._left = pattern, records, left
        self._settling = Settling()
        self._run_s, self._looked_s, self._wait_s = 0.0, time.monotonic(), PERIOD_S
        self._reading: _Reading | None = None
        self._unreadable: dict[str, Entries] = {}
        self._since = 0 if resumed is None else resumed.number
        self._reported = -1
        self._said = ""
        if resumed is not None:
            self._report(resumed)

    def look(self) -> float:
        """List the matches once; seconds until the next look."""
        begun_s = time.monotonic()
        at_rest = self._settling.at_rest(self._found(), self._awake_s())
        self._seal(at_rest)
        if self._reading is not None and self._reading.is_done:
            self._take(self._reading)
            self._reading = None
        if self._reading is None:
            unread = [one for one in at_rest if self._is_to_be_read(one)]
            if unread:  # the newest first: the next attempt needs it first
                self._reading = _Reading(max(unread, key=lambda one: one.newest_ns))
        self._wait_s = max(PERIOD_S, (time.monotonic() - begun_s) / SHARE)
        return self._wait_s

    def _awake_s(self) -> float:
        """A clock that stands still while this process does not run: in a pause the program is
        frozen as well, and a half written checkpoint looks as if it were at rest."""
        before_s, self._looked_s = self._looked_s, time.monotonic()
        self._run_s += min(self._looked_s - before_s, self._wait_s + LATE_S)
        return self._run_s

    def finish(self, *, is_complete: bool) -> None:
        """After the end of the program. `is_complete`: it ended by itself, and well; otherwise what
        was not at rest before may be a part."""
        found = self._found()
        at_rest = self._settling.at_rest(found, self._awake_s())
        self._seal(found if is_complete else at_rest)

    def _found(self) -> list[Found]:
        found = all_found(self._pattern)
        return [one for one in found if self._left.get(one.path) != one.entries]

    def _seal(self, complete: list[Found]) -> None:
        """Record those that are new, oldest first; their checksums follow."""
        for one in sorted(complete, key=lambda one: one.newest_ns):
            if self._records.of(one) is None:
                self._put(Record(one.path, step_of(one.path), one.entries))

    def _is_to_be_read(self, found: Found) -> bool:
        """Of those that an earlier program left only the one that is used: they may be many."""
        record = self._records.of(found)
        is_old = record is not None and (bool(record.sums) or record.number < self._since)
        return not is_old and self._unreadable.get(found.path) != found.entries

    def _take(self, reading: _Reading) -> None:
        found, sums = reading.found, reading.sums
        if sums is None:
            self._unreadable[found.path] = found.entries
            return
        try:
            is_same = read(found.path).entries == found.entries
        except Unreadable:
            return
        if is_same:
            self._put(Record(found.path, step_of(found.path), found.entries, sums))

    def _put(self, record: Record) -> None:
        try:
            record = self._records.put(record)
        except OSError as error:
            text = f"complete checkpoints are not noted in {self._records.folder}: {error.strerror}"
            if text != self._said:
                log(text)
                self._said = text
            return
        self._report(record)

    def _report(self, record: Record) -> None:
        """The newest, as the program's own; the times are those of its files, but none to come."""
        if record.number <= self._reported:
            return
        self._reported = record.number
        found = Found(record.path, record.entries)
        save_s = (found.newest_ns - found.oldest_ns) / 1e9
        values = {"step": record.step, "bytes": found.bytes, "save_s": round(save_s, 3)}
        unix_s = min(max(0.0, found.newest_ns / 1e9), time.time())
        report("checkpoint", **values, unix_s=round(unix_s, 3))
