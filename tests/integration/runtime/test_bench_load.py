"""Clients of the serving benchmarks, against a real server; and how ratios are judged."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count

import pytest

from wattline.failures import ActFailed
from wattline_bench.serving.beside import Ratios
from wattline_bench.serving.load import Load, posts
from wattline_bench.serving.peers import PEERS, named_peers


class Handler(BaseHTTPRequestHandler):
    """Refuses each fifth input; keeps connections open."""

    protocol_version = "HTTP/1.1"
    inputs: Counter[int]

    def do_GET(self) -> None:
        self._answer(200)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        number = json.loads(body)["input"]
        self.inputs[number] += 1
        self._answer(429 if number % 5 == 0 else 200)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def url() -> Iterator[str]:
    Handler.inputs = Counter()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def requests() -> Iterator[bytes]:
    return posts(json.dumps({"input": number}).encode() for number in count())


def test_users_send_other_bodies_each_time_and_count_every_status(url: str) -> None:
    load = Load(url, 4, requests())
    done = load.closed_loop(0.2)
    load.close()
    found = Counter(status for status, _ in done)
    assert found.keys() == {200, 429}
    assert sum(Handler.inputs.values()) == len(done) == len(Handler.inputs)
    assert found[429] == sum(number % 5 == 0 for number in Handler.inputs)


def test_arrivals_are_random_and_health_is_asked_beside_them(url: str) -> None:
    load = Load(url, 4, requests(), asks_health=True)
    done = load.open_loop(0.5, 100.0, seed=3)
    load.close()
    assert 20 < len(done) < 100
    assert len(load.health_s) >= 2
    assert all(took_s > 0 for took_s in load.health_s)


def test_ratios_are_judged_where_the_peer_ran() -> None:
    assert Ratios({"minilm_c32_best": 1.5, "minilm_p50_mosec": 1.0}).misses() == ()
    missed = Ratios({"minilm_c32_best": 1.3, "minilm_p99_mosec": 1.6}).misses()
    assert missed == (
        "minilm_c32_best is 1.3, at least 1.4",
        "minilm_p99_mosec is 1.6, at most 1.5",
    )


def test_programs_of_peers_are_python_and_unknown_peers_are_refused() -> None:
    for name, peer in PEERS.items():
        compile(peer.program("wattline_examples.serve_echo:Echo"), name, "exec")
    with pytest.raises(ActFailed, match="no peer 'triton'; peers: fastapi, mosec"):
        named_peers("triton")
