"""Clients of the gateway that say too much, too little or too slowly, and honest ones beside them.

Attackers connect from 127.0.0.2, honest clients from 127.0.0.1. Limits are small and waited for.
"""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from support.programs.serving_stack import SERVICE, Stack, serving_stack, wait_for
from wattline_runtime.gateway.connections.http_protocol import MOST_PIPELINED

ATTACKER = "127.0.0.2"
PROXY = "127.0.0.3"
MOST = 8
"""Connections of one address."""
HEAD_BYTES = 4096
SMALL = (
    "--client-timeout-s=0.5",
    f"--connections-per-address={MOST}",
    f"--max-header-bytes={HEAD_BYTES}",
)
PATH = f"/v1/services/{SERVICE}/infer"
HALF = f"POST {PATH} HTTP/1.1\r\nhost: x\r\nx-a: ".encode()
ECHO = b'{"input":"' + b"x" * 900_000 + b'"}'

Connect = Callable[[str], socket.socket]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with serving_stack(tmp_path) as running:
        yield running


@pytest.fixture
def connect(stack: Stack) -> Iterator[Connect]:
    with ExitStack() as opened:

        def one(source: str = ATTACKER) -> socket.socket:
            at = urlsplit(stack.endpoints["http_url"])
            made = socket.create_connection((at.hostname, at.port), 30, (source, 0))
            return opened.enter_context(made)

        yield one


def served(stack: Stack) -> None:
    """An honest client is answered."""
    assert stack.infer({"input": 1}).json() == {"output": 1}


def rest(connection: socket.socket) -> bytes:
    """All that the gateway says until it closes the connection."""
    heard = b""
    with suppress(ConnectionError):
        while data := connection.recv(65536):
            heard += data
    return heard


def request(body: bytes, *headers: str, said: int | None = None) -> bytes:
    """An infer request that announces `said` bytes, or those of the body."""
    length = len(body) if said is None else said
    lines = (f"POST {PATH} HTTP/1.1", "host: x", f"content-length: {length}", *headers)
    return "\r\n".join((*lines, "", "")).encode() + body


def refused(stack: Stack, reason: str) -> float:
    return stack.metric("clients_refused_total", reason=reason)


def test_half_open_headers_fill_the_places_of_their_address_and_are_ended(
    stack: Stack, connect: Connect
) -> None:
    stack.start_gateway(*SMALL)
    stack.start_worker()
    open_ones = [connect(ATTACKER) for _ in range(MOST)]
    for connection in open_ones:
        connection.sendall(HALF)
    beyond = rest(connect(ATTACKER))
    assert beyond.startswith(b"HTTP/1.1 503 ")
    assert b'"reason":"too_many_connections"' in beyond
    served(stack)
    for connection in open_ones:
        heard = rest(connection)
        assert heard.startswith(b"HTTP/1.1 408 ")
        assert b'"reason":"headers_too_slow"' in heard
        assert b'"message":"the headers did not arrive within 0.5 s"' in heard
    again = connect(ATTACKER)
    again.sendall(request(b'{"input":2}', "connection: close"))
    assert rest(again).endswith(b'{"output":2}'), "places are free again"
    assert refused(stack, "headers_too_slow") == MOST


def test_a_client_that_ends_its_half_of_the_connection_is_answered(
    stack: Stack, connect: Connect
) -> None:
    stack.start_gateway(*SMALL)
    stack.start_held()
    waiting, two, left = connect(ATTACKER), connect(ATTACKER), connect(ATTACKER)
    waiting.sendall(request(b'{"input":1}'))
    two.sendall(request(b'{"input":2}') + request(b'{"input":3}'))
    left.sendall(request(b'{"input":4}'))
    for connection in (waiting, two):
        connection.shutdown(socket.SHUT_WR)
    held = ("in_flight", "queue_length")
    wait_for(
        lambda: sum(stack.metric(name, service=SERVICE) for name in held) == 3,
        "the gateway has the first request of each",
    )
    left.close()
    gone = {"service": SERVICE, "status": "499"}
    wait_for(lambda: stack.metric("requests_total", **gone), "the one that left is known")
    stack.let_go()
    heard = rest(waiting)
    assert heard.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert b"connection: close" in heard
    assert heard.endswith(b'{"output":1}')
    heard = rest(two)
    assert heard.count(b"HTTP/1.1 200 ") == 2
    assert heard.endswith(b'{"output":3}')
    assert stack.metric("requests_total", **gone) == 1


def test_half_a_request_and_http_1_0_end_with_their_half_of_the_connection(
    stack: Stack, connect: Connect
) -> None:
    stack.start_gateway()
    stack.start_held()
    half, old = connect(ATTACKER), connect(ATTACKER)
    half.sendall(HALF)
    old.sendall(request(b'{"input":1}').replace(b"HTTP/1.1", b"HTTP/1.0", 1))
    for connection in (half, old):
        connection.shutdown(socket.SHUT_WR)
        assert rest(connection) == b""


def test_a_client_that_says_nothing_is_not_waited_for(stack: Stack, connect: Connect) -> None:
    stack.start_gateway(*SMALL)
    assert rest(connect(ATTACKER)) == b""
    assert refused(stack, "headers_too_slow") == 1


def test_headers_that_drip_are_not_waited_for(stack: Stack, connect: Connect) -> None:
    stack.start_gateway(*SMALL)
    connection = connect(ATTACKER)
    connection.sendall(HALF)
    connection.settimeout(0.05)
    heard = b""
    while not heard:
        connection.send(b"a")
        with suppress(TimeoutError):
            heard = connection.recv(65536)
    assert heard.startswith(b"HTTP/1.1 408 ")


def test_half_a_header_after_an_answer_is_not_waited_for(stack: Stack, connect: Connect) -> None:
    stack.start_gateway(*SMALL)
    stack.start_worker()
    connection = connect(ATTACKER)
    connection.sendall(request(b'{"input":2}'))
    heard = b""
    while not heard.endswith(b'{"output":2}'):  # headers and body may come apart
        piece = connection.recv(65536)
        assert piece, heard
        heard += piece
    connection.sendall(HALF)
    assert rest(connection).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("sent", [b"", b'{"inp'], ids=["nothing", "a part"])
def test_a_body_that_does_not_come_is_not_waited_for(
    stack: Stack, connect: Connect, sent: bytes
) -> None:
    stack.start_gateway(*SMALL)
    stack.start_worker()
    connection = connect(ATTACKER)
    connection.sendall(request(sent, said=100))
    served(stack)
    heard = rest(connection)
    assert heard.startswith(b"HTTP/1.1 408 ")
    assert b'"reason":"body_too_slow","message":"a body has 0.5 s to arrive' in heard


def test_a_body_that_drips_is_not_waited_for(stack: Stack, connect: Connect) -> None:
    stack.start_gateway(*SMALL)
    connection = connect(ATTACKER)
    connection.sendall(request(b"", said=1_000_000))
    connection.settimeout(0.05)
    heard = b""
    while not heard:
        connection.send(b"a")
        with suppress(TimeoutError):
            heard = connection.recv(65536)
    assert b'"reason":"body_too_slow"' in heard


def test_an_answer_before_a_body_that_is_held_back_is_the_last_of_its_connection(
    stack: Stack, connect: Connect
) -> None:
    stack.start_gateway(*SMALL)
    connection = connect(ATTACKER)
    held = (
        b"POST /healthz HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 63\r\n\r\n"
    )
    connection.sendall(held)
    heard = rest(connection)
    assert heard.startswith(b"HTTP/1.1 405 ")
    assert b"connection: close" in heard.lower()


@pytest.mark.parametrize("path", ["/v1/services/", "/healthz/", "/v1/batches/"])
def test_no_route_redirects_to_a_host_that_the_client_names(stack: Stack, path: str) -> None:
    stack.start_gateway()
    answer = httpx.get(stack.url(path), headers={"host": "other.example"})
    assert (answer.status_code, answer.json()["error"]["reason"]) == (404, "no_route")


def test_a_body_that_was_refused_is_not_read_for_ever(stack: Stack, connect: Connect) -> None:
    stack.start_gateway(*SMALL)
    connection = connect(ATTACKER)
    connection.sendall(b"POST /healthz HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
    assert connection.recv(65536).startswith(b"HTTP/1.1 405 ")
    pieces = (b"10000\r\n" + b"x" * 65536 + b"\r\n") * 200
    with pytest.raises(ConnectionError):
        connection.sendall(pieces)
    assert refused(stack, "body_too_large") == 1


def test_a_body_at_the_limit_is_served_and_one_above_it_is_refused(stack: Stack) -> None:
    stack.start_gateway()
    stack.start_worker()
    assert stack.infer(ECHO).status_code == 200
    assert stack.infer(b'{"input":"' + b"x" * 1024 * 1024 + b'"}').status_code == 413


def test_headers_beyond_the_limit_are_refused_and_not_kept(stack: Stack, connect: Connect) -> None:
    gateway = psutil.Process(stack.start_gateway(*SMALL).pid)
    stack.start_worker()
    served(stack)
    before_bytes = gateway.memory_info().rss
    for _ in range(MOST):
        connection = connect(ATTACKER)
        connection.sendall(HALF)
        with suppress(ConnectionError):
            for _ in range(64):
                connection.sendall(b"a" * 1024 * 1024)
    served(stack)
    assert gateway.memory_info().rss < before_bytes + 16 * 1024 * 1024
    assert refused(stack, "headers_too_large") == MOST


@pytest.mark.parametrize("where", ["header", "path"])
def test_headers_just_beyond_the_limit_are_told_of(
    stack: Stack, connect: Connect, where: str
) -> None:
    stack.start_gateway(*SMALL)
    long = b"a" * HEAD_BYTES
    connection = connect(ATTACKER)
    path, value = (long, b"1") if where == "path" else (b"x", long)
    connection.sendall(b"GET /" + path + b" HTTP/1.1\r\nx-a: " + value)
    heard = rest(connection)
    assert heard.startswith(b"HTTP/1.1 431 ")
    assert f"exceed the limit of {HEAD_BYTES} bytes".encode() in heard


def test_headers_below_the_limit_are_served_in_pieces_and_with_a_body(
    stack: Stack, connect: Connect
) -> None:
    stack.start_gateway(*SMALL)
    stack.start_worker()
    connection = connect(ATTACKER)
    body = b'{"input":"' + b"x" * 3 * HEAD_BYTES + b'"}'
    whole = request(body, "x-a: " + "a" * (HEAD_BYTES - 300), "connection: close")
    for at in range(0, len(whole), 1000):
        connection.sendall(whole[at : at + 1000])
    assert rest(connection).startswith(b"HTTP/1.1 200 ")


def test_requests_that_come_together_are_answered_in_order(stack: Stack, connect: Connect) -> None:
    stack.start_gateway(*SMALL)
    stack.start_worker()
    connection = connect(ATTACKER)
    bodies = [b'{"input":%d}' % number for number in range(20)]
    last = request(b'{"input":"last"}', "connection: close")
    connection.sendall(b"".join(map(request, bodies)) + last)
    heard = rest(connection)
    assert heard.count(b"HTTP/1.1 200 ") == 21
    assert heard.endswith(b'{"output":"last"}')


def test_a_long_header_behind_a_request_that_is_at_work_is_not_kept(
    stack: Stack, connect: Connect
) -> None:
    stack.start_gateway(*SMALL)
    stack.start_held()
    connection = connect(ATTACKER)
    connection.sendall(request(b'{"input":7}'))
    wait_for(lambda: stack.ran(7), "the request is with the worker")
    with pytest.raises(ConnectionError):
        connection.sendall(HALF + b"a" * 64 * 1024 * 1024)
    wait_for(lambda: refused(stack, "headers_too_large"), "it is refused")
    stack.let_go()


def test_a_connection_that_is_ended_for_its_pipeline_is_counted(
    stack: Stack, connect: Connect
) -> None:
    stack.start_gateway(*SMALL)
    stack.start_worker()
    connection = connect(ATTACKER)
    connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" * (MOST_PIPELINED + 2))
    assert b" 400 " not in rest(connection), "it would be read as the answer to the first"
    wait_for(lambda: refused(stack, "too_many_pipelined"), "it is counted")
    served(stack)


def test_an_answer_that_nobody_reads_is_given_up(stack: Stack, connect: Connect) -> None:
    stack.start_gateway(*SMALL)
    stack.start_worker()
    connection = connect(ATTACKER)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.sendall(request(ECHO) * 8)
    served(stack)
    wait_for(lambda: refused(stack, "answer_not_read"), "the answer is given up")
    assert len(rest(connection)) < 8 * len(ECHO)
    served(stack)


def test_the_last_untrusted_address_behind_a_proxy_is_the_client(
    stack: Stack, connect: Connect
) -> None:
    stack.start_gateway(
        "--connections-per-address=1", "--trusted-proxies", f"{PROXY}/32", "10.0.0.0/8"
    )
    stack.start_held()

    def asked(number: int, forwarded: str, source: str = PROXY) -> socket.socket:
        made = connect(source)
        body = b'{"input":%d}' % number
        made.sendall(request(body, f"x-forwarded-for: {forwarded}", "connection: close"))
        return made

    first = asked(1, "203.0.113.1")
    wait_for(lambda: stack.ran(1), "the first is with the worker")
    for alike in ("203.0.113.1", "junk, 203.0.113.1:4711", "203.0.113.9, 203.0.113.1, 10.1.2.3"):
        heard = rest(asked(2, alike))
        assert heard.startswith(b"HTTP/1.1 503 ")
        assert b"too many requests of this address" in heard
    others = [asked(3, "203.0.113.2"), asked(4, "[2001:db8::1]:80"), asked(5, "junk")]
    others.append(asked(6, "203.0.113.1", source=ATTACKER))  # no proxy: what it says counts nothing
    stack.let_go()
    for connection in (first, *others):
        assert rest(connection).startswith(b"HTTP/1.1 200 ")


def test_a_gateway_without_files_takes_connections_again_once_it_has_some(
    stack: Stack, connect: Connect
) -> None:
    gateway = psutil.Process(stack.start_gateway(*SMALL).pid)
    stack.start_worker()
    served(stack)
    least, most = gateway.rlimit(psutil.RLIMIT_NOFILE)
    gateway.rlimit(psutil.RLIMIT_NOFILE, (gateway.num_fds() + 2, most))
    waiting = [connect(ATTACKER) for _ in range(MOST)]
    served(stack)
    gateway.rlimit(psutil.RLIMIT_NOFILE, (least, most))
    assert [rest(connection) for connection in waiting] == [b""] * MOST


def test_clients_do_not_take_the_files_that_workers_need(stack: Stack, connect: Connect) -> None:
    most = 64
    stack.start_gateway(
        "--connections-per-address=64", enter=("prlimit", f"--nofile={most}:{most}")
    )
    assert f'"connections": {most // 2}' in stack.logs()
    flood = [connect(f"127.0.1.{number % 8 + 1}") for number in range(most)]
    for connection in flood:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
    heard = [connection.recv(65536) for connection in flood]
    assert {one[:13] for one in heard} == {b"HTTP/1.1 200 ", b"HTTP/1.1 503 "}
    stack.start_worker(wait=False)
    wait_for(lambda: "worker_joined" in stack.logs(), "it is connected while the flood lasts")


def test_who_was_refused_is_logged_in_one_line(stack: Stack, connect: Connect) -> None:
    stack.start_gateway(*SMALL)
    rest(connect(ATTACKER))
    wait_for(lambda: "http_clients_refused" in stack.logs(), "it is logged")
    (line,) = [one for one in stack.logs().splitlines() if "http_clients_refused" in one]
    assert "headers_too_slow" in line
    assert ATTACKER in line
    assert httpx.get(stack.url("/healthz")).status_code == 200
