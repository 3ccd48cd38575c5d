"""A scheduler's state with a fleet nine tenths full and a queue, without sockets or disk.

Racks of eight nodes with two PDUs each, rows, two feeds; cooling zones across the racks, and rooms.
Every budget is what runs below it, and a share, drawn per domain, of what the free GPUs below would
take: some bind and others do not, and the site as a whole can run `SITE_SHARE` of its free GPUs.
"""

from collections.abc import Iterator

import msgspec
import numpy as np

from wattline_bench.rig.hails import h100
from wattline_bench.rig.mix import GPUS_PER_NODE, Mix
from wattline_protocol.ids import (
    AttemptNo,
    DomainId,
    Epoch,
    GpuIndex,
    Incarnation,
    Instant,
    JobId,
    NodeId,
    Now,
    Sequence,
    TaskNo,
    UnixTime,
    UserName,
)
from wattline_protocol.job.spec import JobSpec, Resources
from wattline_protocol.site.model import Domain, DomainKind, Node, RunAs, Site
from wattline_protocol.site.wall_power import wall_mw
from wattline_protocol.wire.agent_messages import Beat, GpuInfo
from wattline_scheduler.core.model.jobs.job import Attempt
from wattline_scheduler.core.model.node import Adopted, NodeNow
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.recovery import restore
from wattline_scheduler.power.demand.node_load import gpu_admission_mw
from wattline_scheduler.power.demand.useful_cap import NOTHING_SAID
from wattline_scheduler.records import AttemptRecord, GangRecord, JobRecord, NodeRecord, Saved

NOW = Now(Instant(1_000.0), UnixTime(1_700_000_000.0))
NODES_PER_RACK, NODES_PER_ROW, NODES_PER_FEED = 8, 96, 3_072
NODES_PER_ZONE, NODES_PER_ROOM = 40, 960
BASE_MW, PSU_PERMILLE, NAMEPLATE_MW = 1_000_000, 950, 8_400_000
CPUS, MEMORY_BYTES = 192, 2 * 2**40

FULL_SHARE = 0.8
"""Of nodes without a free GPU; the others have from none to all, so that a tenth is free."""

OLDER_EVERY = 5
"""One node in so many has older GPUs."""

SITE_SHARE = 0.6
MARGINS = {
    "site": (SITE_SHARE, SITE_SHARE),
    "feed": (0.6, 0.9),
    "row": (0.5, 1.2),
    "pdu": (0.2, 1.6),
    "room": (0.6, 1.0),
    "zone": (0.4, 1.3),
}
"""Budgets beyond what runs, as shares of what the free GPUs would take; drawn evenly between."""

JOB_SIZES = (8, 4, 2, 1)


class Packed:
    """The state, and what changes in it between two cycles."""

    def __init__(self, nodes: int, pending: int, seed: int) -> None:
        self._draw = np.random.default_rng(seed)
        self.mix = Mix(seed)
        taken = self._taken(nodes)
        site = self._site(nodes, taken)
        saved = self._saved(site, taken, pending)
        self.state: State = restore(site, saved, NOW)
        for node in self.state.nodes.values():
            _adopt(self.state, node)

    def _taken(self, nodes: int) -> list[int]:
        some = self._draw.integers(0, GPUS_PER_NODE + 1, nodes)
        is_full = self._draw.random(nodes) < FULL_SHARE
        return [GPUS_PER_NODE if full else int(n) for full, n in zip(is_full, some, strict=True)]

    def _site(self, count: int, taken: list[int]) -> Site:
        nodes = tuple(_node(at) for at in range(count))
        kept_mw: dict[DomainId, int] = {}
        free_mw: dict[DomainId, int] = {}
        parents: dict[DomainId, DomainId | None] = {}
        for at, node in enumerate(nodes):
            busy, idle = _gpu_mw(at)
            free = GPUS_PER_NODE - taken[at]
            load_mw = wall_mw(BASE_MW + taken[at] * busy + free * idle, PSU_PERMILLE)
            rise_mw = wall_mw(free * (busy - idle), PSU_PERMILLE)
            chains = (_chain(first, at, parents) for first in (*node.inputs, node.cooling_zone))
            for domain in dict.fromkeys(domain for chain in chains for domain in chain):
                kept_mw[domain] = kept_mw.get(domain, 0) + load_mw
                free_mw[domain] = free_mw.get(domain, 0) + rise_mw
        domains = []
        for domain, parent in parents.items():
            level = domain.partition("-")[0]
            kind: DomainKind = "cooling" if level in ("room", "zone") else "power"
            margin = self._draw.uniform(*MARGINS[level])
            budget_mw = kept_mw[domain] + int(free_mw[domain] * margin)
            domains.append(Domain(domain, kind, parent, budget_mw, 1000))
        return Site(
            name="packed",
            agent_endpoint="tcp://127.0.0.1:1",
            client_endpoint="tcp://127.0.0.1:2",
            domains=tuple(domains),
            nodes=nodes,
            run_as=RunAs(others="keeper"),
        )

    def _saved(self, site: Site, taken: list[int], pending: int) -> Saved:
        running = list(_running(site, taken))
        jobs = [_job(number, spec, "RUNNING") for number, (spec, _, _) in enumerate(running, 1)]
        gangs = [GangRecord(job.id, 0, "running", AttemptNo(1)) for job in jobs]
        attempts = [
            _attempt(job.id, node, gpus) for job, (_, node, gpus) in zip(jobs, running, strict=True)
        ]
        first = len(jobs) + 1
        jobs += [_job(first + n, spec, "PENDING") for n, spec in enumerate(self.mix.jobs(pending))]
        return Saved(
            epoch=Epoch(1),
            instance="bench",
            jobs=tuple(jobs),
            gangs=tuple(gangs),
            attempts=tuple(attempts),
            nodes=tuple(_record(node.id, at) for at, node in enumerate(site.nodes)),
            next_job=JobId(len(jobs) + 1),
        )

    def running(self, count: int) -> list[Attempt]:
        """Some of the attempts that run, drawn at random."""
        live = list(self.state.work.live.values())
        picked = self._draw.choice(len(live), min(count, len(live)), replace=False)
        return [live[at] for at in picked.tolist()]


def _node(at: int) -> Node:
    rack = at // NODES_PER_RACK
    return Node(
        id=NodeId(f"n{at}"),
        rack=f"rack-{rack}",
        inputs=(DomainId(f"pdu-{rack}-a"), DomainId(f"pdu-{rack}-b")),
        cooling_zone=DomainId(f"zone-{at // NODES_PER_ZONE}"),
        non_gpu_worst_mw=BASE_MW,
        psu_efficiency_permille=PSU_PERMILLE,
        nameplate_mw=NAMEPLATE_MW,
    )


def _chain(
    first: DomainId | None, at: int, parents: dict[DomainId, DomainId | None]
) -> list[DomainId]:
    """The domain and all above it; each is entered, parents first."""
    if first is None:
        return []
    if first.startswith("zone"):
        names = [first, f"room-{at // NODES_PER_ROOM}"]
    else:
        side = first[-1]
        row, feed = f"row-{at // NODES_PER_ROW}-{side}", f"feed-{at // NODES_PER_FEED}-{side}"
        names = [first, row, feed, "site"]
    chain = [DomainId(name) for name in names]
    for child, parent in reversed(list(zip(chain, [*chain[1:], None], strict=True))):
        parents.setdefault(child, parent)
    return chain


def _gpus(at: int) -> tuple[GpuInfo, ...]:
    gpus = (h100(index) for index in range(GPUS_PER_NODE))
    if at % OLDER_EVERY:
        return tuple(gpus)
    older = {"name": "NVIDIA A100-SXM4-80GB", "cap_min_mw": 100_000, "idle_mw": 55_000}
    watts = {"cap_default_mw": 400_000, "cap_max_mw": 400_000}
    return tuple(msgspec.structs.replace(gpu, **older, **watts) for gpu in gpus)


def _gpu_mw(at: int) -> tuple[int, int]:
    gpu = _gpus(at)[0]
    return gpu_admission_mw(gpu, NOTHING_SAID), gpu.idle_mw


def _record(node: NodeId, at: int) -> NodeRecord:
    return NodeRecord(
        node=node,
        incarnation=Incarnation(1),
        cpus=CPUS,
        memory_bytes=MEMORY_BYTES,
        gpus=_gpus(at),
    )


def _running(site: Site, taken: list[int]) -> Iterator[tuple[JobSpec, NodeId, tuple[int, ...]]]:
    for node, left in zip(site.nodes, taken, strict=True):
        first = 0
        while first < left:
            size = next(size for size in JOB_SIZES if size <= left - first)
            spec = JobSpec("runs", ("true",), resources=Resources(gpus_per_node=size))
            yield spec, node.id, tuple(range(first, first + size))
            first += size


def _job(number: int, spec: JobSpec, state: str) -> JobRecord:
    return JobRecord(
        id=JobId(number),
        token=str(number),
        owner=UserName("ada"),
        submitted_unix_s=NOW.unix_s,
        spec=spec,
        state=state,  # type: ignore[arg-type]  # one of two words
    )


def _attempt(job: JobId, node: NodeId, gpus: tuple[int, ...]) -> AttemptRecord:
    return AttemptRecord(
        job=job,
        task=TaskNo(0),
        attempt=AttemptNo(1),
        node=node,
        gpus=tuple(GpuIndex(index) for index in gpus),
        state="RUNNING",
        placed_unix_s=NOW.unix_s,
        started_unix_s=NOW.unix_s,
    )


def _adopt(state: State, node: NodeNow) -> None:
    """As after its Hello, its Adopted and a first beat: heard, leased, with everything running."""
    node.link = Adopted(node.incarnation, b"", NOW.mono_s)
    node.heard_at = NOW.mono_s
    state.books.adopt(node.id, NAMEPLATE_MW // 2)
    node.beat = Beat(
        epoch=state.epoch,
        incarnation=node.incarnation,
        seq=1,
        lease_seq=Sequence(0),
        lease_mw=0,
        holding_mw=0,
        gpus=(),
        tasks=(),
    )
    node.outdate()
