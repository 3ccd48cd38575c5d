"""Where the terminal gets its data: a small protocol, and the site's client behind it."""

from collections.abc import Iterator
from typing import Protocol

from wattline_protocol.requests import Answer, Request
from wattline_protocol.views import SiteView


class FeedLost(Exception):
    """The scheduler cannot be reached now; says why. The next call tries again."""


class Feed(Protocol):
    """Snapshots and answers. Called from worker threads; may block."""

    def sites(self, period_s: float) -> Iterator[SiteView]:
        """Snapshots for as long as the connection lasts; raises FeedLost when it breaks."""
        ...

    def ask(self, request: Request) -> Answer:
        """One request, one answer. Raises FeedLost."""
        ...

    def close(self) -> None:
        """End every call that waits."""
        ...
