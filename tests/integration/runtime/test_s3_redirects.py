"""An S3 server that sends its clients to another host."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from wattline_protocol.data.requests import DataPlace
from wattline_runtime.data.stores.interface import StoreAway, StoreKeys
from wattline_runtime.data.stores.open_store import open_store

KEY = "objects/ab/ab12"


class Handler(BaseHTTPRequestHandler):
    """Answers each request, with a redirect where its server has a place for that."""

    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        server.seen.append(self.path)
        content = b"" if server.location else b"content"
        self.send_response(307 if server.location else 200)
        if server.location:
            self.send_header("Location", server.location)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", '"1"')
        self.send_header("Last-Modified", "Sun, 29 Nov 2026 10:00:00 GMT")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        """Nothing."""


class Server(ThreadingHTTPServer):
    def __init__(self, host: str, location: str = "") -> None:
        super().__init__((host, 0), Handler)
        self.location = location
        self.seen: list[str] = []

    @property
    def url(self) -> str:
        return f"http://{self.server_address[0]!s}:{self.server_address[1]}"


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def read(endpoint: str) -> bytes:
    keys = StoreKeys("id", "secret", "session")
    return b"".join(open_store(DataPlace("s3://bucket", "", endpoint), keys).read(KEY))


def test_no_redirect_leads_to_another_host(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with serving(Server("127.0.0.2")) as other:
        assert read(other.url) == b"content"
        other.seen.clear()
        with serving(Server("127.0.0.1", f"{other.url}/latest/meta-data")) as allowed:
            with pytest.raises(StoreAway):
                read(allowed.url)
            assert allowed.seen
        assert not other.seen
