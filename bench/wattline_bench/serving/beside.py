"""A gateway with all its checks beside other servers of models, with the same client in one run.

The model returns its input. 32 users over keep-alive connections send bodies of which no two are
equal. Wattline checks an API key and counts its rate for each request, and looks it up in its
cache; the others check nothing. The servers take turns, `ROUNDS` times; a ratio is the median of
those of the rounds. The peers are as their documentation has them: FastAPI behind uvicorn with
httptools and uvloop, Mosec with one worker and with batches of up to 32, LitServe with one worker.
"""

import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from urllib.error import URLError
from urllib.request import urlopen

import psutil

from wattline.demo.stage import free_ports
from wattline.failures import ActFailed
from wattline_bench.serving.gateway import (
    READY_S,
    SERVICE,
    WARM_UP_S,
    Answers,
    Load,
    Served,
    Stack,
    new_key,
    served,
    stack,
    wait_until_ready,
)
from wattline_bench.verdict import Figures, under

USERS, ROUNDS = 32, 5
FASTAPI_AT_LEAST = 1.5
END_S = 5.0
"""After SIGTERM: what still runs is counted and killed."""

_FASTAPI = """
import sys
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
class Input(BaseModel):
    input: str
app = FastAPI()
@app.post("/infer")
async def infer(body: Input):
    return {"output": body.input}
uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", access_log=False)
"""
_MOSEC = """
from mosec import Server, Worker
class Echo(Worker):
    def forward(self, data):
        if BATCH > 1:
            return [{"output": one["input"]} for one in data]
        return {"output": data["input"]}
if __name__ == "__main__":
    server = Server()
    server.append_worker(Echo, num=1, max_batch_size=BATCH, max_wait_time=1)
    server.run()
"""
MOSEC_ARGUMENTS = ("--log-level", "warning", "--port")
_LITSERVE = """
import sys
import litserve
class Echo(litserve.LitAPI):
    def setup(self, device):
        pass
    def decode_request(self, request):
        return request["input"]
    def predict(self, value):
        return value
    def encode_response(self, output):
        return {"output": output}
if __name__ == "__main__":
    server = litserve.LitServer(Echo(), accelerator="cpu", workers_per_device=1)
    server.run(port=int(sys.argv[1]), log_level="warning", generate_client_file=False)
"""


class Peer(NamedTuple):
    """How to run one."""

    package: str
    program: str
    path: str
    arguments: tuple[str, ...] = ()
    """Before the port."""


PEERS = {
    "fastapi": Peer("fastapi", _FASTAPI, "/infer"),
    "mosec": Peer("mosec", f"BATCH = 1{_MOSEC}", "/inference", MOSEC_ARGUMENTS),
    "mosec-batched": Peer("mosec", f"BATCH = 32{_MOSEC}", "/inference", MOSEC_ARGUMENTS),
    "litserve": Peer("litserve", _LITSERVE, "/predict"),
}


class Beside(Served, frozen=True):
    """Of one server: the round of its median rate."""

    server: str
    model: str
    checks: tuple[str, ...]
    rss_mb: float
    """Of all its processes."""
    sigterm_s: float
    left_after_sigterm: int
    cache_hits: int | None
    """None: it has no cache."""


class Ratios(Figures, frozen=True):
    """Our answers per second over those of each peer, medians of the rounds."""

    ratios: dict[str, float]

    def misses(self) -> tuple[str, ...]:
        name = "noop_c32_fastapi"
        if name not in self.ratios:
            return ()
        return under("answers/s over FastAPI's", self.ratios[name], FASTAPI_AT_LEAST)


def named(text: str) -> tuple[str, ...]:
    """Peers of a list as in `fastapi,mosec`. Raises ActFailed for one that cannot be run."""
    names = tuple(filter(None, text.split(",")))
    for name in names:
        if name not in PEERS:
            raise ActFailed(f"no peer {name!r}; peers: {', '.join(PEERS)}")
        if find_spec(PEERS[name].package) is None:
            raise ActFailed(
                f"{name} is not installed; install the extra `peers`: pip install 'wattline[peers]'"
            )
    return names


def measure_beside(names: Sequence[str], seconds: float) -> tuple[Figures, ...]:
    """Each server for `seconds` in all. Servers end with it, also where it is terminated."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    rounds: dict[str, list[tuple[Answers, float]]] = {}
    with ExitStack() as all_:
        servers = {"wattline": all_.enter_context(_ours())}
        servers |= {name: all_.enter_context(_peer(name)) for name in names}
        loads = {name: all_.enter_context(server.load()) for name, server in servers.items()}
        for load in loads.values():
            load.closed_loop(WARM_UP_S)
        for _ in range(ROUNDS):
            for name, load in loads.items():
                began_s = time.perf_counter()
                done = load.closed_loop(seconds / ROUNDS)
                rounds.setdefault(name, []).append((done, time.perf_counter() - began_s))
        rss_mb = {name: server.rss_mb() for name, server in servers.items()}
        hits = servers["wattline"].cache_hits()
        for load in loads.values():
            load.close()
        ends = {name: server.end() for name, server in servers.items()}
    rows = []
    for name, taken in rounds.items():
        answers, took_s = sorted(taken, key=_rate)[ROUNDS // 2]
        figures = served(f"no-op, {USERS} users", answers, took_s)
        rows.append(
            Beside(
                **{field: getattr(figures, field) for field in figures.__struct_fields__},
                server=name,
                model="no-op",
                checks=("key", "rate", "size", "cache") if name == "wattline" else (),
                rss_mb=rss_mb[name],
                sigterm_s=ends[name][0],
                left_after_sigterm=ends[name][1],
                cache_hits=hits if name == "wattline" else None,
            )
        )
    return *rows, Ratios({f"noop_c{USERS}_{name}": _ratio(rounds, name) for name in names})


def _rate(taken: tuple[Answers, float]) -> float:
    answers, took_s = taken
    return len([status for status, _ in answers if status == HTTPStatus.OK]) / took_s


def _ratio(rounds: dict[str, list[tuple[Answers, float]]], name: str) -> float:
    pairs = zip(rounds["wattline"], rounds[name], strict=True)
    return round(statistics.median(_rate(ours) / _rate(theirs) for ours, theirs in pairs), 2)


class _Server:
    """One that runs."""

    def __init__(self, url: str, path: str, pids: Sequence[int], key: str = "") -> None:
        self._url, self._path, self._key = url, path, key
        self._roots = [psutil.Process(pid) for pid in pids]
        self._all = self._running()

    def _running(self) -> list[psutil.Process]:
        return [one for root in self._roots for one in (root, *root.children(recursive=True))]

    @contextmanager
    def load(self) -> Iterator[Load]:
        """Users of it, connected."""
        yield Load(self._url, USERS, 30_000, self._key, path=self._path, are_numbered=True)

    def rss_mb(self) -> float:
        """Resident memory of all its processes."""
        self._all = self._running()
        in_bytes: int = sum(one.memory_info().rss for one in self._all)
        return round(in_bytes / 1e6, 1)

    def cache_hits(self) -> int:
        """Answers that the gateway took from its cache."""
        with urlopen(f"{self._url}/metrics") as reply:
            lines = reply.read().decode().splitlines()
        found = (line for line in lines if line.startswith("wattline_gateway_cache_hits_total{"))
        return sum(int(float(line.rsplit(" ", 1)[1])) for line in found)

    def end(self) -> tuple[float, int]:
        """Send SIGTERM; seconds until all processes were gone, and how many were left."""
        began_s = time.monotonic()
        for root in self._roots:
            root.send_signal(signal.SIGTERM)
        _, left = psutil.wait_procs(self._all, END_S)
        took_s = round(time.monotonic() - began_s, 2)
        for one in left:
            one.kill()
        return took_s, len(left)


@contextmanager
def _ours() -> Iterator[_Server]:
    key = new_key()
    with stack(key=key, has_cache=True) as running:
        wait_until_ready(running)
        yield _ours_of(running, key)


def _ours_of(running: Stack, key: str) -> _Server:
    pids = (running.worker.pid, running.gateway.pid)
    return _Server(running.endpoints["http_url"], f"/v1/services/{SERVICE}/infer", pids, key)


@contextmanager
def _peer(name: str) -> Iterator[_Server]:
    peer = PEERS[name]
    (port,) = free_ports(1)
    with TemporaryDirectory(prefix="wattline-bench-") as folder:
        script = Path(folder) / "peer.py"  # LitServe and Mosec start workers from a file
        script.write_text(peer.program)
        process = subprocess.Popen([sys.executable, str(script), *peer.arguments, str(port)])
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_until_answered(process, name, url)
            yield _Server(url, peer.path, (process.pid,))
        finally:
            if process.poll() is None:
                for one in psutil.Process(process.pid).children(recursive=True):
                    one.kill()
                process.kill()
                process.wait()


def _wait_until_answered(process: subprocess.Popen[bytes], name: str, url: str) -> None:
    end_s = time.monotonic() + READY_S
    while time.monotonic() < end_s:
        try:
            with urlopen(url):
                return
        except URLError as error:
            if getattr(error, "code", None) is not None:  # an answer, if to a path it lacks
                return
        if process.poll() is not None:
            raise ActFailed(f"{name} ended with status {process.returncode}")
        time.sleep(0.1)
    raise ActFailed(f"{name} did not answer within {READY_S:g} s")
