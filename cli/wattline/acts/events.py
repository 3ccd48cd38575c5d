"""The event log."""

from collections.abc import Iterator

from wattline.client import Client
from wattline_protocol.views import EventView


def events(client: Client, *, follow: bool, lines: int, after: int | None) -> Iterator[EventView]:
    """Events, oldest first."""
    return client.events(after=after, newest=lines, follow=follow)
