"""When pictures are made: a second apart, in parts, and for a tenth of the loop's time at most."""

from collections.abc import Callable

from wattline_protocol.ids import Instant, Now
from wattline_scheduler.shell.clients.pictures.site_feed import SiteFeed
from wattline_scheduler.time_slices import Parts

PERIOD_S = 1.0
PART_S = 0.005
"""Time per step of the loop for the picture that is being made."""
REST_FACTOR = 9.0
"""Time from one picture to the next, as a multiple of what it took: on the largest sites pictures
are further apart, and nothing else waits for them."""


class PictureTurns:
    """Makes pictures while there are subscribers."""

    def __init__(
        self, feed: SiteFeed, clock: Callable[[], Now], used_cpu_s: Callable[[], float]
    ) -> None:
        """`used_cpu_s`: of this thread. What a picture takes does not grow where others use the
        processor."""
        self.feed = feed
        self._clock, self._used_cpu_s = clock, used_cpu_s
        self._parts: Parts[None] | None = None
        self._took_cpu_s = 0.0
        self._due = Instant(0.0)
        self._paid = Instant(0.0)
        """When it has rested for what it took. The second picture does not wait for that: the first
        has all rows, the second few, and a new subscriber would show an old one."""

    def serve(self) -> None:
        """A few milliseconds of the next picture, if it is due. After an error that a view raises,
        `stop` it."""
        now = self._clock()
        if self._parts is None:
            if now.mono_s < self._due:
                return
            self._parts, self._took_cpu_s = self.feed.refresh(now), 0.0
        began_cpu_s = self._used_cpu_s()
        try:
            is_complete = all(self._used_cpu_s() - began_cpu_s < PART_S for _ in self._parts)
        finally:
            self._took_cpu_s += self._used_cpu_s() - began_cpu_s
        if is_complete:
            self._rest()

    def _rest(self) -> None:
        ended = self._clock().mono_s
        beat = Instant((ended // PERIOD_S + 1) * PERIOD_S)
        self._parts = None
        self._paid = Instant(ended + REST_FACTOR * self._took_cpu_s)
        self._due = beat if self.feed.pictures == 1 else max(beat, self._paid)

    def stop(self) -> None:
        """The last subscriber has left: free the rows. What was made or begun counts, so that one
        that joins and leaves without end costs no more than one that stays."""
        if self._parts is not None:
            self._rest()
        self._due = max(self._due, self._paid)
        self.feed.clear()

    def next_in_s(self) -> float:
        """Time until a part is due."""
        return 0.0 if self._parts is not None else max(0.0, self._due - self._clock().mono_s)
