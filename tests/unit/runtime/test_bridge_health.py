"""Health checks of the server behind the bridge, by a real process."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

import pytest

from wattline_runtime.serve.bridge import port_owner
from wattline_runtime.serve.bridge import server as bridge
from wattline_runtime.serve.bridge.server import Health, HttpServer

SLOW = """
import http.server, os, pathlib, sys, time

port, folder = int(sys.argv[1]), pathlib.Path(sys.argv[2])


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        while (folder / "drips").exists():
            self.wfile.write(b"x")
            time.sleep(0.02)
        self.send_response(204)
        self.end_headers()


while not (folder / "listens").exists():
    time.sleep(0.02)
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@contextmanager
def checked(*command: str) -> Iterator[tuple[HttpServer, SimpleQueue[Health]]]:
    found: SimpleQueue[Health] = SimpleQueue()
    server = HttpServer([sys.executable, "-c", *command], "/health")
    server.start(found.put)
    try:
        yield server, found
    finally:
        server.stop(1.0)


def test_a_server_at_another_port_is_reported_before_it_was_ever_well() -> None:
    with checked("input()") as (server, found):
        first = found.get(timeout=30)
        port = server.address[1]
        assert not first.is_well
        assert f"GET http://127.0.0.1:{port}/health: ConnectionRefusedError" in first.detail


def test_a_server_may_listen_late_and_is_not_well_while_its_answer_never_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge, "ANSWER_S", 0.5)
    monkeypatch.setattr(bridge, "CHECK_S", 0.02)
    with checked(SLOW, "{port}", str(tmp_path)) as (_, found):
        assert "ConnectionRefusedError" in found.get(timeout=30).detail
        (tmp_path / "listens").touch()
        while not found.get(timeout=30).is_well:
            pass
        (tmp_path / "drips").touch()
        while (late := found.get(timeout=30)).is_well:
            pass
        assert late.detail.endswith("/health: no answer within 0.5 s")
        (tmp_path / "drips").unlink()
        while not found.get(timeout=30).is_well:
            pass


LISTENER = """
import encodings.idna, http.server, os, sys

os.setuid(int(sys.argv[2]))


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()


http.server.ThreadingHTTPServer((sys.argv[3], int(sys.argv[1])), Handler).serve_forever()
"""
OTHER = 65_534


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a process of another account")
def test_a_port_that_another_account_has_taken_is_no_healthy_server() -> None:
    with checked(LISTENER, "{port}", str(OTHER), "127.0.0.1") as (_, found):
        while "Refused" in (first := found.get(timeout=30)).detail:
            pass
        assert not first.is_well
        assert first.detail.endswith(f": account {OTHER} listens there, not this service's server")


@pytest.mark.parametrize("where", ["127.0.0.1", "0.0.0.0", ""])
def test_a_server_of_this_account_may_listen_on_any_address(where: str) -> None:
    with checked(LISTENER, "{port}", str(os.geteuid()), where) as (_, found):
        while not found.get(timeout=30).is_well:
            pass


def table(*rows: tuple[str, int, str, int]) -> str:
    """As in /proc/net/tcp: address, port, state and account of each socket."""
    lines = ["  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid"]
    lines += [
        f"   0: {address}:{port:04X} {'0' * len(address)}:0000 {state} 0:0 00:0 0 {uid} 0 1"
        for address, port, state, uid in rows
    ]
    return "\n".join(lines)


LOOPBACK, ANY, ELSEWHERE, ANY_6 = "0100007F", "0" * 8, "0200007F", "0" * 32
MAPPED = "0000000000000000FFFF00000100007F"
OWN = 5


@pytest.mark.parametrize(
    ("tcp", "tcp6", "uid"),
    [
        ([(LOOPBACK, 80, "0A", 7)], [], 7),
        ([(LOOPBACK, 81, "0A", 7), (LOOPBACK, 80, "01", 7)], [], None),
        ([(LOOPBACK, 80, "0A", OWN)], [(ANY_6, 80, "0A", 7)], None),
        ([(ELSEWHERE, 80, "0A", 7), (ANY, 80, "0A", OWN)], [], None),
        ([], [(ANY_6, 80, "0A", 7)], 7),
        ([(ANY, 80, "0A", OWN)], [(MAPPED, 80, "0A", 7)], 7),
        ([(LOOPBACK, 80, "0A", 0)], [], None),
        ([], [], None),
    ],
    ids=[
        "its",
        "no-listener",
        "no-more-of-ipv6",
        "not-of-loopback",
        "both",
        "mapped",
        "root",
        "none",
    ],
)
@pytest.mark.skipif(sys.byteorder != "little", reason="addresses as on x86 and ARM")
def test_the_listener_that_the_kernel_prefers_counts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tcp: list[tuple[str, int, str, int]],
    tcp6: list[tuple[str, int, str, int]],
    uid: int | None,
) -> None:
    (tmp_path / "tcp").write_text(table(*tcp))
    (tmp_path / "tcp6").write_text(table(*tcp6))
    monkeypatch.setattr(port_owner, "TABLES", tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: OWN)
    assert port_owner.other_account(80) == uid
