"""Health checks of the server behind the bridge, by a real process."""

import sys
from queue import SimpleQueue

from wattline_runtime.serve.bridge.server import Health, HttpServer


def test_a_server_at_another_port_is_reported_before_it_was_ever_well() -> None:
    found: SimpleQueue[Health] = SimpleQueue()
    server = HttpServer([sys.executable, "-c", "input()"], "/health")
    server.start(found.put)
    try:
        first = found.get(timeout=30)
        port = server.address[1]
        assert not first.is_well
        assert f"GET http://127.0.0.1:{port}/health: ConnectionRefusedError" in first.detail
    finally:
        server.stop(1.0)
