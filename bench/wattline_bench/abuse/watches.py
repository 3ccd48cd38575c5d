"""Floods by watches of the site: some that are never read, others that begin and end at once."""

import time
from contextlib import ExitStack
from itertools import count

from wattline_bench.abuse.attack import Attack, Target
from wattline_bench.abuse.stolen import POLL_MS, Connection, asked, hello
from wattline_protocol.wire.subscriptions import Seen, Unwatch, WatchSite

CONNECTIONS, WATCHES = 16, 8
"""As many watches as a user may have."""
JOINS = 64
"""On one connection; then it is closed, and another one opened."""


def unread(target: Target, until_s: float) -> int:
    """Watches of which nothing is received, while each answer is said to have been."""
    bundle, asks = target.submitter, count(WATCHES)
    with ExitStack() as until_over:
        connections = [
            until_over.enter_context(Connection(bundle, bundle.client_endpoint, is_read=False))
            for _ in range(CONNECTIONS)
        ]
        for connection in connections:
            connection.say(hello(), until_s)
            for watch in range(WATCHES):
                watched = WatchSite(period_s=0.0, deltas=watch % 2 == 0)
                connection.say(asked(watch, watched), until_s)
        tried = CONNECTIONS * WATCHES
        while time.monotonic() < until_s:
            for connection in connections:
                seen = (asked(next(asks), Seen(watch)) for watch in range(WATCHES))
                tried += sum(connection.say(each, until_s) for each in seen)
        return tried


def joins(target: Target, until_s: float) -> int:
    """Watches that end at once or with their first answer, on ever new connections."""
    tried = 0
    while time.monotonic() < until_s:
        tried += _joined(target, until_s)
    return tried


def _joined(target: Target, until_s: float) -> int:
    bundle = target.submitter
    with Connection(bundle, bundle.client_endpoint) as connection:
        connection.say(hello(), until_s)
        for number in range(0, 2 * JOINS, 2):
            connection.say(asked(number, WatchSite(deltas=True)), until_s)
            connection.heard(POLL_MS if number % 4 else 0)
            connection.say(asked(number + 1, Unwatch(number)), until_s)
    return JOINS


WATCHED = (
    Attack("watches-unread", unread),
    Attack("watch-joins", joins),
)
