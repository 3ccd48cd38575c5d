"""The event log."""

from collections.abc import Iterator

from wattline.client import Client
from wattline_protocol.views.site_views import EventView
from wattline_protocol.wire.event_log import ProblemList


def events(
    client: Client, *, follow: bool, lines: int, after: int | None, acts: bool
) -> Iterator[EventView]:
    """Events, oldest first."""
    return client.events(after=after, newest=lines, follow=follow, acts=acts)


def problems(client: Client, *, all: bool, node: str | None) -> ProblemList:  # noqa: A002 - its flag
    """Open problems, worst first."""
    return client.problems(ended=all, node=node)
