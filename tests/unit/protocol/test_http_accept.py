"""Connections are accepted beside requests, not before them."""

import asyncio
import socket
import ssl
from contextlib import ExitStack, closing
from itertools import count, pairwise

import pytest

from wattline_protocol.http.accept import FURTHER_S, MAX_AT_ONCE, HttpAcceptor
from wattline_protocol.http.guard import HttpGuard
from wattline_protocol.http.limits import HttpLimits

WAITING = 24


class Leaving(asyncio.Protocol):
    """Ends its connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


@pytest.mark.parametrize("admitted", [WAITING, 0], ids=["admitted", "refused"])
@pytest.mark.parametrize(
    ("turn_s", "at_once"), [(0.0, 1), (3.5 * FURTHER_S, 4), (3600.0, MAX_AT_ONCE)]
)
def test_a_turn_of_the_loop_accepts_one_connection_of_all_that_wait_and_more_in_a_slow_loop(
    admitted: int, turn_s: float, at_once: int
) -> None:
    """A request takes several turns, each of which would be as long as what it accepts."""
    clock = count(0.0, turn_s)

    async def run(listener: socket.socket) -> list[int]:
        guard = HttpGuard(HttpLimits(connections_per_address=admitted))
        made: list[asyncio.Protocol] = []

        def protocol() -> asyncio.Protocol:
            made.append(Leaving())
            return made[-1]

        acceptor = HttpAcceptor(listener, guard, protocol, clock=lambda: next(clock))
        accepted = [0]
        while accepted[-1] < WAITING:
            await asyncio.sleep(0)  # one turn
            accepted.append(len(made) + guard.refused.total())
        acceptor.stop(accept_queued=False)
        while len(asyncio.all_tasks()) > 1:  # noqa: ASYNC110 - those of the acceptor
            await asyncio.sleep(0)
        await asyncio.sleep(0)  # the last transport
        return accepted

    with ExitStack() as opened:
        listener = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=WAITING))
        for _ in range(WAITING):
            opened.enter_context(closing(socket.create_connection(listener.getsockname())))
        accepted = asyncio.run(run(listener))
    assert max(after - before for before, after in pairwise(accepted)) == at_once


def test_handshakes_that_one_address_never_ends_leave_some_to_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They count in no limit of connections: 512 of one address had refused all others."""
    handshakes = HttpLimits(connections=8, connections_per_address=4)
    monkeypatch.setattr("wattline_protocol.http.accept.HANDSHAKES", handshakes)
    ends: list[socket.socket] = []

    async def run(listener: socket.socket) -> int:
        guard, tls = HttpGuard(HttpLimits()), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        acceptor = HttpAcceptor(listener, guard, Leaving, tls)
        while len(acceptor._taken) + guard.refused.total() < WAITING + 1:  # noqa: ASYNC110
            await asyncio.sleep(0)
        acceptor.stop(accept_queued=False)
        for end in ends:
            end.close()
        await asyncio.wait([*acceptor._taken])
        await asyncio.sleep(0)  # the last transport
        return guard.refused.total()

    with ExitStack() as opened:
        listener = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=WAITING))
        for source in ["127.0.0.2"] * WAITING + ["127.0.0.3"]:
            end = socket.create_connection(listener.getsockname(), source_address=(source, 0))
            ends.append(opened.enter_context(closing(end)))
        refused = asyncio.run(run(listener))
    assert refused == WAITING - 4
