"""Snapshots of the whole site, encoded once for all clients that request the current state."""

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
    """Caches the newest snapshot, as bytes."""

    def __init__(self, make: Callable[[Now], SiteView]) -> None:
        self._make = make
        self._encoder = msgspec.msgpack.Encoder()
        self._made: Instant | None = None
        self._newest: Answer = Denied("unavailable", "nothing was made yet")

    def since(self, asked: Instant, now: Now) -> Answer:
        """A snapshot no older than the request: it contains everything that happened before."""
        if self._made is None or self._made < asked:
            self._made, self._newest = now.mono_s, self._fitted(SiteNow(self._make(now)))
        return self._newest

    def in_parts(self, asked: Instant, now: Now) -> Parts[Answer]:
        """The same for a client's turn, in one part."""
        yield from ()
        return self.since(asked, now)

    def _fitted(self, answer: Answer) -> Answer:
        """The encoded snapshot, with less in it if it is too large."""
        while isinstance(answer, SiteNow):
            data = self._encoder.encode(answer.site)
            if len(data) <= MAX_ROW_BYTES:
                return SiteNow(cast("Any", msgspec.Raw(data)))
            answer = smaller(answer)
        return answer
