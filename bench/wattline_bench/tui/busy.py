"""A large site at work: a real scheduler, played nodes with a task each, and a queue."""

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread

import msgspec

from wattline.client import Client
from wattline_bench.rig.history import SPEC
from wattline_bench.rig.site import LiveSite, rack_site
from wattline_bench.tui.nodes import GPUS, play
from wattline_protocol.ids import AttemptNo, GpuIndex, JobId, NodeId, TaskNo, UnixTime, UserName
from wattline_protocol.job.spec import Resources
from wattline_protocol.site.model import Site
from wattline_scheduler.records import AttemptRecord, GangRecord, JobRecord
from wattline_scheduler.store.store import Store
from wattline_scheduler.store.tables import Storable

PLAYERS = 2
"""Processes that play the nodes."""
CHANGE_SHARE = 0.01
"""Of the nodes and jobs, each second."""
SETTLE_WITHIN_S = 120.0


def fill(directory: Path, site: Site, jobs: int) -> None:
    """Put jobs on record: one that runs on each node, and a queue."""
    store, _ = Store.open(directory, now_unix_s=time.time())
    rows: list[Storable] = []
    for number in range(1, jobs + 1):
        node = site.nodes[number - 1].id if number <= len(site.nodes) else None
        rows += _records(JobId(number), node)
    store.commit(rows)
    store.close()


def _records(job: JobId, node: NodeId | None) -> Iterator[Storable]:
    began = UnixTime(time.time() - 600.0)
    spec = msgspec.structs.replace(SPEC, resources=Resources(gpus_per_node=GPUS), name=_name(job))
    yield JobRecord(
        id=job,
        token=f"token-{job}",
        owner=UserName("ada"),
        submitted_unix_s=began,
        spec=spec,
        state="PENDING" if node is None else "RUNNING",
    )
    if node is None:
        yield GangRecord(job, 0, "pending", AttemptNo(0))
        return
    yield GangRecord(job, 0, "running", AttemptNo(1))
    yield AttemptRecord(
        job=job,
        task=TaskNo(0),
        attempt=AttemptNo(1),
        node=node,
        gpus=tuple(GpuIndex(index) for index in range(GPUS)),
        state="RUNNING",
        placed_unix_s=began,
        started_unix_s=began,
    )


def _name(job: JobId) -> str:
    return f"train-{job % 37:02}"


class Changes:
    """Holds and releases a share of the queue each second, as users do."""

    def __init__(self, client: Client, first: int, jobs: int) -> None:
        self._client = client
        self._first, self._count = first, jobs - first + 1
        self._stop = Event()
        self._thread = Thread(target=self._run, name="changes", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        size = max(1, int(self._count * CHANGE_SHARE))
        turn = 0
        while not self._stop.wait(1.0):
            first = self._first + turn // 2 * size % max(1, self._count - size)
            which = f"{first}-{first + size - 1}" if size > 1 else str(first)
            act = self._client.hold if turn % 2 == 0 else self._client.release
            act(which)
            turn += 1

    def stop(self) -> None:
        """End; raises nothing that the next figure would not show."""
        self._stop.set()
        self._thread.join()


@contextmanager
def busy_site(nodes: int, jobs: int, problem: str = "") -> Iterator[tuple[LiveSite, Client]]:
    """The site once all its nodes are heard. Some of them report the problem, if there is one."""
    site = rack_site(nodes)
    spawn = multiprocessing.get_context("spawn")
    with ExitStack() as until_over:
        folder = Path(until_over.enter_context(TemporaryDirectory(prefix="wattline-bench-")))
        fill(folder / "state", site, jobs)
        live = LiveSite(folder, site)
        until_over.callback(live.close)
        live.ready()
        share = -(-nodes // PLAYERS)
        pipes = []
        for first in range(0, nodes, share):
            here, there = spawn.Pipe()
            bundles = live.agents[first : first + share]
            arguments = (bundles, first + 1, CHANGE_SHARE, problem, there)
            player = spawn.Process(target=play, args=arguments, daemon=True)
            player.start()
            until_over.callback(player.kill)
            pipes.append(here)
        for pipe in pipes:
            pipe.recv()
        client = until_over.enter_context(Client(live.operator, timeout_s=60.0))
        _settle(client, nodes)
        changes = Changes(client, nodes + 1, jobs)
        until_over.callback(changes.stop)
        yield live, client


def _settle(client: Client, nodes: int) -> None:
    until_s = time.monotonic() + SETTLE_WITHIN_S
    for picture in client.watch_pictures():
        is_heard = sum(node.state == "ok" for node in picture.nodes.values())
        runs = sum(job.state == "RUNNING" for job in picture.jobs.values())
        if (is_heard, runs) == (nodes, nodes):
            return
        if time.monotonic() > until_s:
            raise RuntimeError(f"{is_heard} of {nodes} nodes are heard, {runs} jobs run")
