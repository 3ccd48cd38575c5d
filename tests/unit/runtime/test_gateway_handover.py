"""A successor replaces a gateway: what becomes of the workers, and when it must not."""

import asyncio
import os
import socket
from types import SimpleNamespace
from typing import Any

import pytest

from support.programs.serving import GatewayBench, name
from wattline_runtime.gateway import events as e
from wattline_runtime.gateway import lifecycle
from wattline_runtime.gateway.config import GatewayConfig
from wattline_runtime.gateway.connections import takeover
from wattline_runtime.gateway.connections.listeners import Listeners, open_listener, open_listeners
from wattline_runtime.gateway.lifecycle import Lifecycle
from wattline_runtime.wire import GatewayBeat, WorkerRefused


def moves(bench: GatewayBench, task: int) -> list[bool]:
    """Whether each beat to a worker requested a second connection."""
    return [m.move for c, m in bench.sent if c == name(task) and isinstance(m, GatewayBeat)]


def refusals(bench: GatewayBench, connection: bytes) -> list[str]:
    return [m.reason for c, m in bench.sent if c == connection and isinstance(m, WorkerRefused)]


@pytest.fixture
def bench() -> GatewayBench:
    """Worker 2 is of an earlier release."""
    bench = GatewayBench(hold_s=2.0).routes(1, 2, 3).worker(1, serves_two=True).worker(2)
    bench.happens(e.HandoverChanged("begun"))
    return bench


def test_workers_are_told_at_once_and_serve_on(bench: GatewayBench) -> None:
    assert moves(bench, 1)[-1]
    assert bench.gateway.pool.movable == 1
    assert len(bench.submit(1, 2).inferred(1) + bench.inferred(2)) == 2


def test_new_connections_are_left_to_the_successor(bench: GatewayBench) -> None:
    bench.worker(1, connection=b"again").worker(3)
    for connection in (b"again", name(3)):
        assert refusals(bench, connection) == ["a successor at this address takes the workers"]
    assert bench.submit(1).inferred(1) == [1], "the old connection stays"


def test_a_worker_that_cannot_serve_two_goes_once_it_is_idle(bench: GatewayBench) -> None:
    bench.submit(1, 2)
    bench.happens(e.HandoverChanged("ready"))
    assert not refusals(bench, name(2)), "it has a request"
    bench.reply(2, *bench.inferred(2)).later(0.3)
    assert refusals(bench, name(2)) == ["another gateway serves at this address now"]
    assert not refusals(bench, name(1))


def test_after_a_failed_handover_workers_are_taken_as_before(bench: GatewayBench) -> None:
    bench.happens(e.HandoverChanged("ended"))
    assert not moves(bench, 1)[-1]
    bench.worker(3).worker(1, connection=b"again", serves_two=True)
    assert {w.connection for w in bench.gateway.pool.workers.values()} == {
        name(2),
        name(3),
        b"again",
    }


def caught_up(workers: int, *, there: int, has_routes: bool = True) -> bool:
    """Whether a successor goes on whose predecessor has so many workers."""
    queue = SimpleNamespace(early=None if has_routes else {})
    gateway = SimpleNamespace(queue=queue, pool=SimpleNamespace(movable=there))
    server: Any = SimpleNamespace(should_exit=False)
    shell: Any = SimpleNamespace(gateway=gateway)
    listeners: Any = None
    waiting = Lifecycle(shell, server, listeners, GatewayConfig())._caught_up(workers)
    return asyncio.run(waiting)


def test_a_successor_waits_for_routes_and_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert caught_up(2, there=2)
    monkeypatch.setattr(lifecycle, "CATCH_UP_S", 0.1)
    assert caught_up(2, there=1), "the other has ended, or is late"
    with pytest.raises(takeover.TakeoverFailed, match="none of 2 workers connected within"):
        caught_up(2, there=0)
    with pytest.raises(takeover.TakeoverFailed, match="no routes came within"):
        caught_up(0, there=0, has_routes=False)


def test_where_no_gateway_serves_there_is_nothing_to_take_over() -> None:
    with open_listener("127.0.0.1", 0) as unused:
        assert takeover.connect(*unused.getsockname()) is None


@pytest.mark.parametrize(
    ("offer", "why"),
    [
        (b'{"version": 9, "ready_workers": 0, "is_lasting": false}', "version 9"),
        (b"", "is being replaced by another one, or ends"),
    ],
)
def test_a_predecessor_of_another_version_or_with_a_successor_is_not_succeeded(
    offer: bytes, why: str
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
        door.bind("\0wattline-gateway/127.0.0.1:1")
        door.listen(1)

        async def succeed() -> None:
            connecting = asyncio.to_thread(takeover.connect, "127.0.0.1", 1)
            task = asyncio.create_task(connecting)
            connection, _ = await asyncio.to_thread(door.accept)
            with connection:
                if offer:
                    socket.send_fds(connection, [offer], [door.fileno()])
            await task

        with pytest.raises(takeover.TakeoverFailed, match=why):
            asyncio.run(succeed())


def test_two_gateways_never_share_a_port_by_accident() -> None:
    with open_listener("127.0.0.1", 0, is_shared=True) as workers:
        taken = GatewayConfig(worker_port=workers.getsockname()[1])
        with pytest.raises(RuntimeError, match=r"cannot accept workers on .*in use"):
            open_listeners(taken, {})


@pytest.mark.parametrize(
    ("environ", "why"),
    [
        ({"LISTEN_FDS": "2"}, "systemd gave 2 sockets; one is needed"),
        ({"LISTEN_FDS": "1"}, r"systemd listens on .*, not on http_address \(port 1\)"),
    ],
)
def test_a_socket_of_systemd_that_does_not_fit_is_refused(
    environ: dict[str, str], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_listener("127.0.0.1", 0) as listener:
        monkeypatch.setattr(
            "wattline_runtime.gateway.connections.listeners.FIRST_FD", os.dup(listener.fileno())
        )
        with pytest.raises(OSError, match=why):
            open_listeners(GatewayConfig(http_port=1), {"LISTEN_PID": str(os.getpid()), **environ})


def test_what_systemd_gave_another_process_is_ignored() -> None:
    environ = {"LISTEN_PID": "1", "LISTEN_FDS": "1"}
    listeners: Listeners = open_listeners(GatewayConfig(), environ)
    assert not listeners.is_lasting
    listeners.close()
