"""Random snapshots for the planner: sites, mixed nodes, rooms that bind, queues."""

from dataclasses import replace

from hypothesis import strategies as st

from support.core.sites import A_FEW, gpu, job, migs
from support.core.snapshots import waits
from support.strategies.power import sites
from wattline_protocol.ids import Instant, JobId
from wattline_protocol.site.model import Site
from wattline_protocol.wire.agent_messages import GpuInfo
from wattline_scheduler.plan.mix.fragmentation import Prices, prices
from wattline_scheduler.plan.mix.task_mix import RecentMix
from wattline_scheduler.plan.model.column_writer import RowHeadroom, snapshot_of
from wattline_scheduler.plan.model.device_classes import devices, gpu_of
from wattline_scheduler.plan.model.shape import Waiting
from wattline_scheduler.plan.model.snapshot import NodeOffer, Part, QuotaHeadroom, Snapshot
from wattline_scheduler.power.books.watt_admission import Booking
from wattline_scheduler.power.demand.node_load import gpu_admission_mw
from wattline_scheduler.power.demand.useful_cap import Need
from wattline_scheduler.power.topology.domains import Domains

DIVIDED = [(), A_FEW, ("1g.10gb",) * 7, ("3g.40gb", "3g.40gb")]
"""GPUs in MIG mode, one without a device among them."""


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    """A random site, some GPUs taken, random rooms, and a random queue."""
    site = draw(sites())
    queue = draw(st.lists(waiting(), max_size=8))
    offers = tuple(_offer(draw, site, at) for at in range(len(site.nodes)))
    domains = Domains(site)
    rooms = tuple(
        RowHeadroom(
            row.domain,
            row.name,
            domains.by_id[row.domain].kind,
            draw(st.integers(-1_000_000, 9_000_000)),
            domains.by_id[row.domain].budget_mw,
            draw(st.sampled_from([(), (), ((10, 400_000), (50, 900_000))])),
        )
        for row in domains.rows
    )
    above = tuple(domains.rows_of[node.id] for node in site.nodes)
    quotas = tuple(draw(st.lists(quota_headrooms(), max_size=3)))
    counted = st.lists(st.sampled_from(range(len(quotas))), unique=True) if quotas else st.just([])
    numbered = tuple(
        Waiting(JobId(number), w.priority, w.since, w.shape, w.gangs, quotas=tuple(draw(counted)))
        for number, w in enumerate(sorted(queue, key=lambda w: -w.priority))
    )
    now = Instant(draw(st.sampled_from([0.0, 100.0])))
    snap = snapshot_of(now, offers, rooms, above, numbered)
    return replace(snap, prices=_prices(draw, snap), quotas=quotas)


def _prices(draw: st.DrawFn, snap: Snapshot) -> Prices | None:
    """Of a mix of what waits and of other tasks; or none is known."""
    recent = RecentMix()
    for shape in (w.shape for w in (*snap.waiting, *draw(st.lists(waiting(), max_size=4)))):
        recent.note(shape, draw(st.integers(1, 40)))
    mix = recent.mix(snap.columns)
    return prices(snap.columns, mix) if mix is not None else None


def quota_headrooms() -> st.SearchStrategy[QuotaHeadroom]:
    """Of quotas that bind, of some that do not, and of some that are used up."""
    return st.builds(
        QuotaHeadroom,
        st.just("queue night"),
        st.sampled_from([0, 1_000, 4_000, 8_000]),
        st.sampled_from([0, 500, 3_000]),
        st.sampled_from([0, 400_000, 3_000_000]),
        st.sampled_from([0, 300_000]),
        st.sampled_from(["", "", "", "used up"]),
    )


def _gpus(draw: st.DrawFn) -> tuple[GpuInfo, ...]:
    kinds = draw(st.sampled_from(["same", "same", "mixed", "none"]))
    if kinds == "none":
        return ()
    models = [("NVIDIA H100", 80), ("NVIDIA A100", 40)]
    return tuple(
        gpu(
            i,
            name=name,
            gib=gib,
            idle_mw=70_000 + 1_000 * draw(st.integers(0, 9)),
            can_share=draw(st.integers(0, 9)) > 0,
            mig=migs(*draw(st.sampled_from(DIVIDED))) if draw(st.integers(0, 4)) == 0 else None,
        )
        for i in range(draw(st.integers(1, 8)))
        for name, gib in [draw(st.sampled_from(models)) if kinds == "mixed" else models[0]]
    )


def _offer(draw: st.DrawFn, site: Site, at: int) -> NodeOffer:
    node = site.nodes[at]
    whole = _gpus(draw)
    gpus = tuple(device for gpu in whole for device in devices(gpu))
    free = tuple(draw(st.permutations(gpus)))[draw(st.integers(0, len(gpus))) :]
    taken = {gpu_of(g.index) for g in gpus if g not in free}
    held = {
        g.index: gpu_admission_mw(g, Need(draw(st.sampled_from([0, 200_000]))))
        for g in whole
        if g.index in taken
    }
    base_mw = node.non_gpu_worst_mw + sum(g.idle_mw for g in whole if g.index not in taken)
    parts = tuple(
        Part(g, left, held[g.index])
        for g in whole
        if g.mig is None
        and g.index in taken
        and (left := draw(st.sampled_from([0, 0, 250, 300, 900])))
    )
    return NodeOffer(
        node=node.id,
        rack=node.rack,
        labels=draw(st.sampled_from([frozenset(), frozenset({("fabric", "ib")})])),
        closed=draw(st.sampled_from(["", "", "", "draining"])),
        gpus=gpus,
        free=free,
        parts=parts,
        cpus=8,
        cpus_free=draw(st.integers(-4, 8)),
        memory_bytes=2**40,
        memory_free_bytes=draw(st.sampled_from([2**40, 2**40, -1])),
        booking=Booking(
            node.id,
            base_mw,
            sum(held.values()),
            node.psu_efficiency_permille,
            is_controlled=True,
            held=tuple(held.items()),
        ),
        warmth=draw(st.integers(0, 3)),
    )


@st.composite
def waiting(draw: st.DrawFn) -> Waiting:
    """A job of one to three nodes, of any priority, whose watts are known or not."""
    least, more = draw(st.integers(1, 3)), draw(st.sampled_from([0, 0, 1, 3]))
    wanted = job().gpus(draw(st.integers(0, 8))).nodes(least)
    if more:
        wanted = wanted.from_to(least, least + more)
    if draw(st.integers(0, 2)) == 0:
        wanted = wanted.share(draw(st.sampled_from([100, 250, 500, 700])))
        wanted = wanted.gpu_memory(draw(st.sampled_from([0, 0, 30])))
    elif draw(st.integers(0, 3)) == 0:
        wanted = wanted.gpus(1).mig(draw(st.sampled_from(A_FEW)))
    wanted = wanted.watts_per_gpu(draw(st.sampled_from([0, 150, 300, 700])))
    wanted = wanted.priority(draw(st.sampled_from([10, 50, 50, 75])))
    wanted = wanted.cpus_per_gpu(draw(st.sampled_from([0, 0, 1])))
    if draw(st.booleans()):
        wanted = wanted.same_rack()
    if draw(st.integers(0, 4)) == 0:
        wanted = wanted.gpu_type("a100")
    if draw(st.integers(0, 4)) == 0:
        wanted = wanted.labels(fabric="ib")
    return waits(1, wanted, gangs=draw(st.integers(1, 4)))
