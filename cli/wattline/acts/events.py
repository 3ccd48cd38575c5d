"""The event log."""

import time
from collections import deque
from collections.abc import Iterator

from wattline import exits
from wattline.client import Client
from wattline.failures import ActFailed
from wattline_protocol.lists.event_table import event_table
from wattline_protocol.lists.kinds import Reading
from wattline_protocol.views.site_views import EventView
from wattline_protocol.wire.event_log import ProblemList

SEARCHED = 100_000
"""Events in which those that meet a condition are looked for, the newest."""


def events(
    client: Client, *, follow: bool, lines: int, after: int | None, acts: bool, where: str
) -> Iterator[EventView]:
    """Events, oldest first; with a condition the newest that meet it."""
    if lines < 0:
        raise ActFailed(f"--lines {lines}: expected a whole number from 0", exits.USAGE)
    if not where:
        return client.events(after=after, newest=lines, follow=follow, acts=acts)
    return _meeting(client, where, follow=follow, lines=lines, after=after, acts=acts)


def _meeting(
    client: Client, where: str, *, follow: bool, lines: int, after: int | None, acts: bool
) -> Iterator[EventView]:
    now_unix_s = time.time()
    meets = event_table(now_unix_s).where(where, Reading(now_unix_s)).matches
    found = deque[EventView](maxlen=lines if after is None else None)
    last = after or 0
    for event in client.events(after=after, newest=SEARCHED, acts=acts):
        last = event.seq
        if meets(event):
            found.append(event)
    yield from found
    if follow:
        yield from filter(meets, client.events(after=last, follow=True, acts=acts))


def problems(client: Client, *, all: bool, node: str | None) -> ProblemList:  # noqa: A002 - its flag
    """Open problems, worst first."""
    return client.problems(ended=all, node=node)


def acknowledge(client: Client, *, number: int, reason: str, withdraw: bool) -> str:
    """Acknowledge a problem, or withdraw that."""
    return client.acknowledge(number, reason, withdraw=withdraw)
