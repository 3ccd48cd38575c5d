"""Data sources of the terminal: a small protocol, and its implementation by the site's client."""

from collections.abc import Iterator
from typing import Protocol

from wattline.client import Client, RequestDenied, WattlineError
from wattline_protocol.views.site_views import SiteView
from wattline_protocol.wire.client_messages import Answer, ClientWelcome, Denied, Request


class FeedLost(Exception):
    """The scheduler is unreachable; the text gives the reason. The next call retries."""


class Feed(Protocol):
    """Snapshots and answers. Called from worker threads; may block."""

    def sites(self, period_s: float) -> Iterator[SiteView]:
        """The newest snapshot whenever the caller requests one, at most one a period, for as long
        as the connection lasts; raises FeedLost when it breaks."""
        ...

    @property
    def me(self) -> ClientWelcome:
        """Site, user and role, as the scheduler knows them. Raises FeedLost."""
        ...

    @property
    def clock_offset_s(self) -> float:
        """Seconds that this host's wall clock is ahead of the scheduler's."""
        ...

    def ask(self, request: Request) -> Answer:
        """One request, one answer. Raises FeedLost."""
        ...

    def close(self) -> None:
        """End every waiting call."""
        ...


class ClientFeed:
    """The site through its client."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def sites(self, period_s: float) -> Iterator[SiteView]:
        """Snapshots for as long as the connection lasts; raises FeedLost when it breaks."""
        try:
            yield from (picture.site for picture in self._client.watch_pictures(period_s))
        except WattlineError as error:
            raise FeedLost(str(error)) from error

    @property
    def me(self) -> ClientWelcome:
        """Site, user and role, as the scheduler knows them. Raises FeedLost."""
        try:
            return self._client.me
        except WattlineError as error:
            raise FeedLost(str(error)) from error

    @property
    def clock_offset_s(self) -> float:
        """Seconds that this host's wall clock is ahead of the scheduler's."""
        return self._client.clock_offset_s

    def ask(self, request: Request) -> Answer:
        """One request, one answer; a refusal is an answer too. Raises FeedLost."""
        try:
            return self._client.ask(request)
        except RequestDenied as denied:
            return Denied(kind=type(denied).__name__, reason=str(denied))
        except WattlineError as error:
            raise FeedLost(str(error)) from error

    def close(self) -> None:
        """End every waiting call."""
        self._client.close()
