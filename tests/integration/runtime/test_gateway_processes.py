"""A gateway of two processes: one port, one page of metrics, and no harm when one is killed."""

import json
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import httpx
import psutil
import pytest

from support.programs.serving_stack import SERVICE, Stack, serving_stack, wait_for

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with serving_stack(tmp_path) as made:
        yield made


def processes(stack: Stack) -> list[psutil.Process]:
    """Those that serve, oldest first."""
    found = psutil.Process(stack.processes[0].pid).children()
    return sorted(found, key=lambda one: one.create_time())


def served(stack: Stack) -> float:
    return stack.metric("requests_total", service=SERVICE, status="200")


def infer(stack: Stack, value: object = 1, **headers: str) -> int:
    """By a connection of its own: the kernel chooses the process."""
    return stack.infer({"input": value}, **headers).status_code


class Clients:
    """Requests one after another, each on a new connection, until `close`."""

    def __init__(self, stack: Stack) -> None:
        self.statuses: list[int] = []
        self.broken = 0
        self._stack, self._is_closed = stack, False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._is_closed:
            try:
                self.statuses.append(infer(self._stack))
            except httpx.TransportError:
                self.broken += 1
            time.sleep(0.005)

    def close(self) -> None:
        self._is_closed = True
        self._thread.join()


def test_two_processes_are_one_gateway(stack: Stack) -> None:
    stack.start_gateway("--processes=2")
    stack.start_worker()
    assert len(processes(stack)) == 2
    assert {infer(stack, n) for n in range(40)} == {200}
    assert served(stack) == 40
    assert stack.metric("latency_seconds_count", service=SERVICE) == 40
    assert stack.metric("workers", service=SERVICE) == 1
    (worker,) = stack.service()["workers"]
    assert worker["state"] == "ready"
    assert set(worker) == {"task", "state", "capacity", "in_flight", "batch_s", "methods"}
    own = [one.net_connections(kind="tcp") for one in processes(stack)]
    assert all(any(c.status == "ESTABLISHED" for c in one) for one in own)  # with the worker


def test_a_killed_process_takes_no_request_of_others_and_no_count_with_it(stack: Stack) -> None:
    stack.start_gateway("--processes=2")
    stack.start_worker()
    first, second = processes(stack)
    clients = Clients(stack)
    try:
        wait_for(lambda: len(clients.statuses) >= 50, "requests")
        wait_for(lambda: served(stack) >= 50, "their counts")
        os.kill(first.pid, signal.SIGSTOP)  # it gets no request that it could not answer
        os.kill(first.pid, signal.SIGKILL)
        before = len(clients.statuses)
        wait_for(lambda: len(clients.statuses) >= before + 50, "requests meanwhile")
        wait_for(lambda: len(processes(stack)) == 2 and stack.ready_workers(), "another process")
        wait_for(lambda: "restart_s" in stack.logs(), "a line in the log")
        before = len(clients.statuses)
        wait_for(lambda: len(clients.statuses) >= before + 50, "requests afterwards")
    finally:
        clients.close()
    assert second.pid in [one.pid for one in processes(stack)]
    assert set(clients.statuses) == {200}
    assert clients.broken <= 1  # the one that the killed process had
    assert abs(served(stack) - len(clients.statuses)) <= 12 + clients.broken


def test_a_process_that_cannot_be_started_again_is_tried_later(stack: Stack) -> None:
    """As on a host that has no process or file descriptor left: it ended the whole gateway."""
    stack.start_gateway("--processes=2")
    stack.start_worker()
    parent, (first, second) = stack.processes[0].pid, processes(stack)
    soft, hard = resource.prlimit(parent, resource.RLIMIT_NOFILE)
    resource.prlimit(parent, resource.RLIMIT_NOFILE, (3, hard))
    first.kill()
    wait_for(lambda: "it could not be started" in stack.logs(), "a start that fails")
    assert infer(stack) == 200
    resource.prlimit(parent, resource.RLIMIT_NOFILE, (soft, hard))
    wait_for(lambda: len(processes(stack)) == 2 and stack.ready_workers(), "another process")
    assert second in processes(stack)


def test_others_accept_for_a_frozen_process_until_it_runs_again(stack: Stack) -> None:
    stack.start_gateway("--processes=2")
    stack.start_worker()
    first, _ = processes(stack)
    wait_for(lambda: infer(stack) == 200, "an answer")
    os.kill(first.pid, signal.SIGSTOP)
    wait_for(lambda: "gateway_process_silent" in stack.logs(), "the parent notices it", 30)
    assert {infer(stack, n) for n in range(20)} == {200}, "on connections of their own"
    os.kill(first.pid, signal.SIGCONT)

    port = httpx.URL(stack.url("/")).port

    def answered() -> bool:
        """A new connection is one of the process that was frozen."""
        with httpx.Client() as client:
            client.get(stack.url("/healthz"))
            found = first.net_connections(kind="tcp")
        return any(c.status == "ESTABLISHED" and c.laddr.port == port for c in found)

    wait_for(answered, "it accepts again")
    assert first.pid in [one.pid for one in processes(stack)], "it was not killed"


def test_the_rate_of_a_key_holds_over_processes_and_restarts(stack: Stack) -> None:
    digest = sha256(b"wl_key").hexdigest()
    grant = {
        "name": "k",
        "digest": digest,
        "services": [SERVICE],
        "rate_per_s": 20.0,
        "burst": 20,
    }
    stack.grants = [grant]
    stack.write_routes()
    stack.start_gateway("--processes=2", "--closed")
    stack.start_worker(wait=False)
    wait_for(lambda: infer(stack, **{"api-key": "wl_key"}) == 200, "the worker")
    start_s, answered, killed = time.monotonic(), 0, False
    while (passed_s := time.monotonic() - start_s) < 6:
        try:
            answered += infer(stack, **{"api-key": "wl_key"}) == 200
        except httpx.TransportError:
            assert killed
        if passed_s > 2 and not killed:
            processes(stack)[0].kill()
            killed = True
    granted = 20.0 * (time.monotonic() - start_s)
    # A process that is new may grant the even tenth at once, and a burst of one input.
    assert granted * 0.5 <= answered <= 20 + granted * 1.1 + 1


def test_the_end_of_the_gateway_is_the_end_of_its_processes(stack: Stack) -> None:
    gateway = stack.start_gateway("--processes=2")
    stack.start_worker()
    known = processes(stack)
    gateway.send_signal(signal.SIGTERM)
    assert gateway.wait(10) == 0
    assert not any(one.is_running() for one in known)


def test_processes_end_when_their_parent_is_killed(stack: Stack) -> None:
    gateway = stack.start_gateway("--processes=2")
    known = processes(stack)
    gateway.kill()
    gateway.wait(10)
    wait_for(lambda: not any(one.is_running() for one in known), "their end", 10)


def test_what_keeps_a_process_from_starting_ends_the_gateway(stack: Stack) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AssertionError, match="Address already in use"):
            stack.start_gateway("--processes=2", f"--http-port={port}")
    assert stack.processes[0].wait(10) == 2


@pytest.mark.parametrize(("before", "after"), [(2, 2), (1, 2), (2, 1)])
def test_a_successor_takes_over_without_a_gap(stack: Stack, before: int, after: int) -> None:
    gateway = stack.start_gateway(f"--processes={before}", f"--http-port={free_port()}")
    stack.start_worker()
    url, workers = stack.endpoints["http_url"], stack.endpoints["workers"]
    clients = Clients(stack)
    try:
        wait_for(lambda: len(clients.statuses) >= 20, "requests")
        stack.start_gateway(
            f"--processes={after}",
            "--takeover",
            f"--http-port={url.rpartition(':')[2]}",
            f"--worker-port={workers.rpartition(':')[2]}",
        )
        assert gateway.wait(20) == 0
        start = len(clients.statuses)
        wait_for(lambda: len(clients.statuses) >= start + 20, "requests afterwards")
    finally:
        clients.close()
    assert set(clients.statuses) == {200}
    assert clients.broken == 0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def test_both_log_requests_but_no_body_and_no_key(stack: Stack) -> None:
    key, body = "wl_planted-key", "planted-body"
    digest = sha256(key.encode()).hexdigest()
    stack.grants = [{"name": "shop", "digest": digest, "services": [SERVICE]}]
    stack.write_routes()
    path = stack.directory / "access.log"
    stack.start_gateway("--processes=2", "--closed", f"--access-log={path}")
    stack.start_worker(wait=False)
    wait_for(lambda: infer(stack, body, **{"api-key": key}) == 200, "the worker")
    answers = [stack.infer({"input": body}, **{"api-key": key}) for _ in range(20)]
    stack.infer({"input": body}, service=key)
    stack.infer(b"{planted-body", **{"api-key": key})
    ids = {answer.headers["wattline-request-id"] for answer in answers}
    wait_for(lambda: all(one in path.read_text() for one in ids), "lines")
    wait_for(lambda: '"status":400' in path.read_text(), "the last line")
    text = path.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    good = [one for one in lines if one["id"] in ids]
    assert {(one["service"], one["key"], one["revision"]) for one in good} == {(SERVICE, "shop", 1)}
    assert {one["status"] for one in lines} >= {200, 400, 401}
    assert "planted" not in text + stack.logs()
