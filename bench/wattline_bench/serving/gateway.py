"""The serving layer itself: a real gateway and one real worker that echoes, over loopback.

Closed loop with 1 user, in turns with a worker whose batches have one input, and with 32 users, in
turns with API keys, whose rate is never reached, and with a cache that has the answer. Then a model
that takes 11 ms for each input: its capacity in a closed loop of 8 users, and Poisson arrivals at
twice that with deadlines of 500 ms, beside which the gateway's health is requested. Gateway and
worker have their default settings; the client shares the machine with them.
"""

import hashlib
import json
import secrets
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from urllib.request import Request, urlopen

import msgspec
import psutil

from wattline_bench.serving.load import BODY, SERVICE, Answers, Load, posts
from wattline_bench.verdict import Figures, judged, over, under
from wattline_protocol.trust.keys import KeyPair, save_keys
from wattline_protocol.wire.api_keys import PREFIX

NOOP = "noop"
OVERLOAD_USERS = 512
DEADLINE_MS = 500
READY_S = 90.0
WARM_UP_S = 0.5
FAST = {"rate_per_s": 1e6, "burst": 1_000_000}
"""A rate that is counted and never reached."""
ROUNDS = 5
LONE_AT_MOST_MS = 0.5
"""Of batches with one user, above batches of one input."""
REFUSED_AT_MOST_MS = 25.0
"""p99; or twice that of /healthz in the same run."""
KEYED_AT_LEAST = 0.9
"""Of the requests of an open gateway."""


class Stack:
    """A gateway process and its worker processes."""

    def __init__(
        self,
        directory: Path,
        model: str,
        worker_args: list[str],
        gateway_args: list[str],
        key: str = "",
        *,
        has_cache: bool = False,
    ) -> None:
        """`key`: the only one that the gateway accepts; empty = it is open."""
        self.key = key
        keys, worker = KeyPair.generate(), KeyPair.generate()
        save_keys(keys, directory / "gateway.key")
        secret = directory / "worker.key"
        secret.touch(mode=0o600)
        secret.write_text(worker.secret)
        ref = {"job": 1, "task": 0, "attempt": 1}
        routes: dict[str, object]
        routes = {"services": {SERVICE: [{"ref": ref, "public_key": worker.public}]}}
        if key:
            digest = hashlib.sha256(key.encode()).hexdigest()
            routes["keys"] = [{"name": "bench", "digest": digest, "services": [SERVICE], **FAST}]
            gateway_args = [*gateway_args, "--closed"]
        if has_cache:
            routes["settings"] = {SERVICE: {"cache_ttl_s": 300.0, "cache_bytes": 2**28}}
        (directory / "routes.json").write_text(json.dumps(routes))
        python = [sys.executable, "-m"]
        self.gateway = subprocess.Popen(
            [
                *python,
                "wattline_runtime.gateway",
                f"--routes={directory / 'routes.json'}",
                f"--key-file={directory / 'gateway.key'}",
                *gateway_args,
            ],
            stdout=subprocess.PIPE,
            stderr=None,
        )
        assert self.gateway.stdout is not None
        self.endpoints = json.loads(self.gateway.stdout.readline())
        self.worker = subprocess.Popen(
            [
                *python,
                "wattline_runtime.serve",
                f"--model={model}",
                f"--service={SERVICE}",
                f"--gateway={self.endpoints['workers']}",
                f"--gateway-key={self.endpoints['public_key']}",
                f"--secret-file={secret}",
                *worker_args,
            ],
            stderr=None,
        )

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds used so far, by program."""
        both = {"gateway": self.gateway, "worker": self.worker}
        times = {name: psutil.Process(p.pid).cpu_times() for name, p in both.items()}
        return {name: t.user + t.system for name, t in times.items()}

    def close(self) -> None:
        for process in (self.worker, self.gateway):
            process.terminate()
        for process in (self.worker, self.gateway):
            process.wait(10)


@contextmanager
def stack(
    *worker_args: str,
    model: str = "wattline_examples.serve_echo:Echo",
    gateway_args: tuple[str, ...] = (),
    key: str = "",
    has_cache: bool = False,
) -> Iterator[Stack]:
    with tempfile.TemporaryDirectory() as directory:
        args = list(worker_args), list(gateway_args), key
        running = Stack(Path(directory), model, *args, has_cache=has_cache)
        try:
            yield running
        finally:
            running.close()


class Served(Figures, frozen=True):
    """Of one load."""

    load: str
    requests: int
    statuses: dict[str, int]
    ok_per_s: float
    ok_ms: dict[str, float]
    """p50, p95, p99 of requests that were served."""
    refused_ms: dict[str, float]
    """The same of requests refused with 429 or 503."""
    cpu_us_per_request: dict[str, float]
    """By program; empty where it was not asked for."""


class Lone(Served, frozen=True):
    """Of one user."""

    p50_over_unbatched_ms: float
    """Above a worker whose batches have one input, in turns with it: the median of the rounds. The
    other figures are those of that round."""

    def misses(self) -> tuple[str, ...]:
        found = self.p50_over_unbatched_ms
        return over(f"{self.load}: p50 above batches of one (ms)", found, LONE_AT_MOST_MS)


class Keyed(Served, frozen=True):
    """With the key of each request checked, and its rate counted."""

    to_open: float
    """Requests per second to those of an open gateway, in turns with this one: the median of the
    rounds. The other figures are those of that round."""
    checks: tuple[str, ...] = ("key", "rate")

    def misses(self) -> tuple[str, ...]:
        return under(f"{self.load}: requests/s to those without", self.to_open, KEYED_AT_LEAST)


class Cached(Served, frozen=True):
    """All answered from the cache."""

    cpu_to_noop: float
    """CPU of gateway and worker for a request to that without a cache, in turns with this one: the
    median of the rounds. The other figures are those of that round."""
    checks: tuple[str, ...] = ("cache",)

    def misses(self) -> tuple[str, ...]:
        return over(f"{self.load}: CPU to that of a no-op", self.cpu_to_noop, 1)


class Overload(Served, frozen=True):
    """Of twice the load that the service can take."""

    capacity_per_s: float
    """Answers per second in a closed loop."""
    health_ms: dict[str, float]
    """Of /healthz meanwhile."""

    def misses(self) -> tuple[str, ...]:
        refused_ms = max(REFUSED_AT_MOST_MS, 2 * self.health_ms["p99"])
        expired = self.statuses.get("504", 0) / self.requests
        return (
            *under(f"{self.load}: answered/s", self.ok_per_s, 0.95 * self.capacity_per_s),
            *over(f"{self.load}: p99 of answers (ms)", self.ok_ms["p99"], DEADLINE_MS),
            *over(f"{self.load}: p50 of refusals (ms)", self.refused_ms["p50"], 3),
            *over(f"{self.load}: p99 of refusals (ms)", self.refused_ms["p99"], refused_ms),
            *over(f"{self.load}: share of 504", expired, 0.005),
        )


def _loaded(running: Stack, name: str, users: int, seconds: float) -> Served:
    """A closed loop."""
    load = Load(running.endpoints["http_url"], users, posts(repeat(BODY % 0), key=running.key))
    found = _measured(running, name, load, lambda: load.closed_loop(seconds))
    load.close()
    return found


def _measured(running: Stack, name: str, load: Load, run: Callable[[], Answers]) -> Served:
    load.closed_loop(WARM_UP_S)
    before = running.cpu_s()
    start_s = time.perf_counter()
    done = run()
    took_s = time.perf_counter() - start_s
    cpu = {name: value - before[name] for name, value in running.cpu_s().items()}
    per_request = {k: round(v / len(done) * 1e6, 1) for k, v in cpu.items()}
    return served(name, done, took_s, per_request)


def served(
    name: str, answers: Answers, took_s: float, cpu_us: dict[str, float] | None = None
) -> Served:
    """Statuses, rate and latencies."""
    good = [s for status, s in answers if status == 200]
    refused = [s for status, s in answers if status in (429, 503)]
    return Served(
        load=name,
        requests=len(answers),
        statuses={str(k): v for k, v in sorted(Counter(s for s, _ in answers).items())},
        ok_per_s=round(len(good) / took_s, 1),
        ok_ms=_quantiles_ms(good),
        refused_ms=_quantiles_ms(refused),
        cpu_us_per_request=cpu_us or {},
    )


def _quantiles_ms(seconds: list[float]) -> dict[str, float]:
    if not seconds:
        return {}
    ordered = sorted(seconds)
    picks = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    return {
        label: round(ordered[int(len(ordered) * share)] * 1e3, 3) for label, share in picks.items()
    }


def wait_until_ready(running: Stack) -> None:
    end_s = time.monotonic() + READY_S
    ask = Request(running.endpoints["http_url"] + "/v1/services", headers={"api-key": running.key})
    while time.monotonic() < end_s:
        with urlopen(ask) as reply:
            [service] = json.load(reply)["services"]
        if any(worker["state"] == "ready" for worker in service["workers"]):
            return
        time.sleep(0.05)
    raise RuntimeError(f"no worker was ready within {READY_S} s")


def new_key() -> str:
    """An API key as `wattline key add` makes it."""
    return PREFIX + secrets.token_urlsafe(32)


def _keyed(seconds: float) -> Keyed:
    """32 users with keys and without, in turns."""
    name, secret = "32 users, key and rate", new_key()
    with stack() as plain, stack(key=secret) as keyed:
        wait_until_ready(plain)
        wait_until_ready(keyed)
        rounds: list[Keyed] = []
        for _ in range(ROUNDS):
            open_ = _loaded(plain, name, 32, seconds)
            found = _loaded(keyed, name, 32, seconds)
            ratio = round(found.ok_per_s / open_.ok_per_s, 3)
            rounds.append(Keyed(**msgspec.structs.asdict(found), to_open=ratio))
    return sorted(rounds, key=lambda one: one.to_open)[ROUNDS // 2]


def _lone(seconds: float) -> Lone:
    """One user, with batches and with batches of one input."""
    with stack() as batched, stack("--max-batch-cost=1") as single:
        wait_until_ready(batched)
        wait_until_ready(single)
        rounds: list[Lone] = []
        for _ in range(ROUNDS):
            without = _loaded(single, "1 user", 1, seconds)
            found = _loaded(batched, "1 user", 1, seconds)
            over_ms = round(found.ok_ms["p50"] - without.ok_ms["p50"], 3)
            rounds.append(Lone(**msgspec.structs.asdict(found), p50_over_unbatched_ms=over_ms))
    return sorted(rounds, key=lambda one: one.p50_over_unbatched_ms)[ROUNDS // 2]


def _cached(seconds: float) -> Cached:
    """32 users with equal bodies, from the cache and without one."""
    with stack() as plain, stack(has_cache=True) as cached:
        wait_until_ready(plain)
        wait_until_ready(cached)
        rounds: list[Cached] = []
        for _ in range(ROUNDS):
            run = _loaded(plain, "32 users", 32, seconds)
            found = _loaded(cached, "32 users, cache hits", 32, seconds)
            all_us = (sum(one.cpu_us_per_request.values()) for one in (found, run))
            ratio = round(next(all_us) / next(all_us), 3)
            rounds.append(Cached(**msgspec.structs.asdict(found), cpu_to_noop=ratio))
    return sorted(rounds, key=lambda one: one.cpu_to_noop)[ROUNDS // 2]


def _overload(seconds: float) -> tuple[Served, Overload]:
    """The capacity, and what twice that many requests get."""
    many_users = (f"--connections-per-address={OVERLOAD_USERS + 2}",)
    model = f"{Path(__file__).parent / 'each_model.py'}:Each"
    with stack("--arg=each_ms=11", model=model, gateway_args=many_users) as running:
        wait_until_ready(running)
        capacity = _loaded(running, "11 ms each, 8 users", 8, seconds)
        rate_per_s = 2 * capacity.ok_per_s
        requests = posts(repeat(BODY % 0), DEADLINE_MS)
        url = running.endpoints["http_url"]
        load = Load(url, OVERLOAD_USERS, requests, asks_health=True)
        found = _measured(
            running, "twice the capacity", load, lambda: load.open_loop(2 * seconds, rate_per_s)
        )
        load.close()
    return capacity, Overload(
        **msgspec.structs.asdict(found),
        capacity_per_s=capacity.ok_per_s,
        health_ms=_quantiles_ms(load.health_s),
    )


@judged
def measure(*, seconds: float, beside: str | None, model: str) -> tuple[Figures, ...]:
    """Each load for `seconds`; the overload twice as long. With `beside`, only that comparison."""
    if beside is not None or model != NOOP:
        from wattline_bench.serving.beside import measure_beside, named

        return measure_beside(named(beside or "", model), model, seconds)
    one = _lone(seconds / ROUNDS)
    with stack() as running:
        wait_until_ready(running)
        many = _loaded(running, "32 users", 32, seconds)
    keyed, cached = _keyed(seconds / ROUNDS), _cached(seconds / ROUNDS)
    return one, many, keyed, cached, *_overload(seconds)
