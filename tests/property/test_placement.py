"""Plans on arbitrary trees: every room holds, no GPU goes twice, gangs are whole."""

from hypothesis import given
from hypothesis import strategies as st

from support.power_strategies import sites
from support.sites import gpu, job
from support.snapshots import waits
from wattline_protocol.ids import Instant
from wattline_protocol.site import Site
from wattline_scheduler.plan.check import check
from wattline_scheduler.plan.cycle import plan
from wattline_scheduler.plan.feasible import feasible
from wattline_scheduler.plan.gang import GangPlacer
from wattline_scheduler.plan.rank import score
from wattline_scheduler.plan.snapshot import NodeOffer, RowRoom, Shape, Snapshot, Waiting
from wattline_scheduler.plan.trial import Trial
from wattline_scheduler.power.admission import Kept
from wattline_scheduler.power.domains import Domains
from wattline_scheduler.power.keeps import Need
from wattline_scheduler.power.loads import gpu_admission_mw
from wattline_scheduler.power.rows import counted_mw


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    """A random site, some GPUs taken, random rooms, and a random queue."""
    site = draw(sites())
    queue = draw(st.lists(waiting(), max_size=8))
    offers = tuple(_offer(draw, site, at) for at in range(len(site.nodes)))
    domains = Domains(site)
    rooms = tuple(
        RowRoom(
            row.domain,
            row.name,
            domains.by_id[row.domain].kind,
            draw(st.integers(-1_000_000, 9_000_000)),
            domains.by_id[row.domain].budget_mw,
        )
        for row in domains.rows
    )
    above = tuple(domains.rows_of[node.id] for node in site.nodes)
    numbered = tuple(Waiting(w.job, w.priority, w.since, w.shape, w.gangs) for w in queue)
    return Snapshot(Instant(draw(st.sampled_from([0.0, 100.0]))), offers, rooms, above, numbered)


def _offer(draw: st.DrawFn, site: Site, at: int) -> NodeOffer:
    node = site.nodes[at]
    gpus = tuple(gpu(i) for i in range(draw(st.integers(0, 8))))
    free = gpus[draw(st.integers(0, len(gpus))) :]
    base_mw = node.non_gpu_worst_mw + sum(g.idle_mw for g in free)
    busy_mw = sum(gpu_admission_mw(g, Need()) for g in gpus if g not in free)
    return NodeOffer(
        node=node.id,
        rack=node.rack,
        closed=draw(st.sampled_from(["", "", "", "draining"])),
        gpus=gpus,
        free=free,
        cpus=8,
        cpus_free=draw(st.integers(0, 8)),
        memory_bytes=2**40,
        memory_free_bytes=2**40,
        kept=Kept(node.id, base_mw, busy_mw, node.psu_efficiency_permille, is_controlled=True),
    )


@st.composite
def waiting(draw: st.DrawFn) -> Waiting:
    wanted = job().gpus(draw(st.integers(0, 8))).nodes(draw(st.integers(1, 3)))
    wanted = wanted.watts_per_gpu(draw(st.sampled_from([0, 150, 300, 700])))
    if draw(st.booleans()):
        wanted = wanted.same_rack()
    return waits(draw(st.integers(1, 99)), wanted, gangs=draw(st.integers(1, 4)))


@given(snapshots())
def test_a_plan_keeps_every_rule(snap: Snapshot) -> None:
    result = plan(snap)
    shapes = {w.job: w.shape for w in reversed(snap.waiting)}
    nodes = {offer.node: at for at, offer in enumerate(snap.nodes)}
    kept_mw = [offer.kept.kept_mw for offer in snap.nodes]
    taken: set[tuple[str, int]] = set()
    load_mw = [offer.kept.base_mw + offer.kept.busy_mw for offer in snap.nodes]
    for placement in result.placements:
        wanted = [w for w in snap.waiting if w.job == placement.job]
        assert len(placement.tasks) in {w.shape.nodes for w in wanted}, "a gang is placed whole"
        assert len({t.node for t in placement.tasks}) == len(placement.tasks)
        for task in placement.tasks:
            at = nodes[task.node]
            assert not snap.nodes[at].closed
            free = {g.index: g for g in snap.nodes[at].free}
            for index in task.gpus:
                assert (task.node, index) not in taken, "no GPU goes twice"
                taken.add((task.node, index))
                light = Need(watts_hint_mw=150_000)
                need = shapes[placement.job].need if len(wanted) == 1 else light
                least_mw = gpu_admission_mw(free[index], need)
                load_mw[at] += least_mw - free[index].idle_mw
    for number, row in enumerate(snap.rows):
        rise_mw = 0
        for at, offer in enumerate(snap.nodes):
            after_mw = -(-load_mw[at] * 1000 // offer.kept.psu_efficiency_permille)
            share = dict(snap.above[at]).get(number, 0)
            rise_mw += counted_mw(after_mw, share) - counted_mw(kept_mw[at], share)
        assert rise_mw <= max(0, row.room_mw), f"{row.name} is given more than it has"


@given(snapshots())
def test_every_plan_passes_its_check_and_is_repeatable(snap: Snapshot) -> None:
    result = plan(snap)
    assert plan(snap) == result
    trial = Trial(snap)
    for placement in result.placements:
        fitting = [w.shape for w in snap.waiting if w.job == placement.job]
        assert any(check(trial, placement, one) == "" for one in fitting)


@given(snapshots())
def test_trying_and_rolling_back_leaves_no_trace(snap: Snapshot) -> None:
    trial = Trial(snap)
    for offer_at in range(len(snap.nodes)):
        for one in {w.shape for w in snap.waiting}:
            mark = trial.checkpoint()
            trial.place(offer_at, one)
            trial.rollback(mark)
    fresh = Trial(snap)
    assert (trial.free, trial.cpus, trial.memory) == (fresh.free, fresh.cpus, fresh.memory)
    assert (trial.load_mw, trial.room_mw, trial.is_taken) == (
        fresh.load_mw,
        fresh.room_mw,
        fresh.is_taken,
    )


def _by_looking_at_all(trial: Trial, shape: Shape) -> list[str] | None:
    """What `GangPlacer` must decide, without its heap."""
    mark = trial.checkpoint()
    nodes: list[str] = []
    for _ in range(shape.nodes):
        fits = feasible(trial, shape)
        if not fits:
            trial.rollback(mark)
            return None
        at = min(fits, key=lambda at: score(trial, at, shape))
        nodes.append(trial.place(at, shape).node)
    trial.finish_gang(mark)
    return nodes


@given(snapshots())
def test_lazy_candidates_decide_as_if_all_nodes_were_looked_at(snap: Snapshot) -> None:
    lazy, plain = GangPlacer(Trial(snap)), Trial(snap)
    for one in (w.shape for w in snap.waiting for _ in w.gangs):
        if one.same_rack and one.nodes > 1:
            continue
        places = lazy.place(one)
        assert (places and [p.node for p in places]) == _by_looking_at_all(plain, one)
