"""The whole site, made and encoded once for all who want to see it as it is now."""

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
    """Keeps the newest snapshot, as bytes."""

    def __init__(self, make: Callable[[Now], SiteView]) -> None:
        self._make = make
        self._encoder = msgspec.msgpack.Encoder()
        self._made: Instant | None = None
        self._newest: Answer = Denied("unavailable", "nothing was made yet")

    def since(self, asked: Instant, now: Now) -> Answer:
        """A snapshot that is no older than a question asked then: what happened before is in it."""
        if self._made is None or self._made < asked:
            self._made, self._newest = now.mono_s, self._fitted(SiteNow(self._make(now)))
        return self._newest

    def in_parts(self, asked: Instant, now: Now) -> Parts[Answer]:
        """The same for a client's turn, in one part."""
        yield from ()
        return self.since(asked, now)

    def _fitted(self, answer: Answer) -> Answer:
        """The snapshot as bytes, with less in it if it must be."""
        while isinstance(answer, SiteNow):
            data = self._encoder.encode(answer.site)
            if len(data) <= MAX_ROW_BYTES:
                return SiteNow(cast("Any", msgspec.Raw(data)))
            answer = smaller(answer)
        return answer
