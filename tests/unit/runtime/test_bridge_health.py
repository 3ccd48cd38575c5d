"""Health checks of the server behind the bridge, by a real process."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

import pytest

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
