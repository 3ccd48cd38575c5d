"""Snapshots of the whole site, made in parts, once for all clients that request one."""

from collections.abc import Callable
from typing import Any, cast

import msgspec

from wattline_protocol.ids import Instant, Now
from wattline_protocol.views.site_views import SiteView
from wattline_protocol.wire.client_messages import Answer, Denied, SiteNow
from wattline_scheduler.shell.clients.long_lists import MAX_ROW_BYTES
from wattline_scheduler.shell.clients.truncate import smaller
from wattline_scheduler.time_slices import Parts


class Snapshots:
    """The newest snapshot, as bytes, and the one that is being made."""

    def __init__(self, make: Callable[[Now], Parts[SiteView]], clock: Callable[[], Now]) -> None:
        self._make, self._clock = make, clock
        self._encoder = msgspec.msgpack.Encoder()
        self._next: Parts[Answer] | None = None
        self._next_begun = Instant(0.0)
        self._begun: Instant | None = None
        self._newest: Answer = Denied("unavailable", "nothing was made yet")

    def since(self, asked: Instant) -> Parts[Answer]:
        """A snapshot begun at `asked` or later: it contains everything that happened before.

        Concurrent requests share it: each makes its next part in its own turn.
        """
        while self._begun is None or self._begun < asked:
            self._go_on()
            yield
        return self._newest

    def _go_on(self) -> None:
        """Makes the next part. After an error, the next call begins another snapshot."""
        if self._next is None:
            now = self._clock()
            self._next, self._next_begun = self._encoded(now), now.mono_s
        try:
            next(self._next)
        except StopIteration as made:
            self._next, self._begun, self._newest = None, self._next_begun, made.value
        except BaseException:
            self._next = None
            raise

    def _encoded(self, now: Now) -> Parts[Answer]:
        """The encoded snapshot, with less in it if it is too large."""
        answer: Answer = SiteNow((yield from self._make(now)))
        while isinstance(answer, SiteNow):
            yield
            data = self._encoder.encode(answer.site)
            if len(data) <= MAX_ROW_BYTES:
                return SiteNow(cast("Any", msgspec.Raw(data)))
            answer = smaller(answer)
        return answer
