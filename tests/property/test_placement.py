"""Plans on arbitrary trees: every room holds, no GPU goes twice, gangs are whole."""

from hypothesis import given

from support.plan_strategies import snapshots
from wattline_scheduler.plan.check import check
from wattline_scheduler.plan.cycle import plan
from wattline_scheduler.plan.feasible import feasible
from wattline_scheduler.plan.gang import GangPlacer
from wattline_scheduler.plan.rank import score
from wattline_scheduler.plan.snapshot import Shape, Snapshot
from wattline_scheduler.plan.trial import Trial
from wattline_scheduler.power.loads import gpu_admission_mw
from wattline_scheduler.power.rows import counted_mw


@given(snapshots())
def test_a_plan_keeps_every_rule(snap: Snapshot) -> None:
    result = plan(snap)
    shapes = {w.job: w.shape for w in snap.waiting}
    nodes = {offer.node: at for at, offer in enumerate(snap.nodes)}
    kept_mw = [offer.kept.kept_mw for offer in snap.nodes]
    left = {
        (offer.node, gpu.index): milli
        for offer in snap.nodes
        for gpu, milli in [
            *((gpu, 1000) for gpu in offer.free),
            *((part.gpu, part.free_milli) for part in offer.parts),
        ]
    }
    counts_mw = {
        (offer.node, gpu.index): mw
        for offer in snap.nodes
        for gpu, mw in [
            *((gpu, gpu.idle_mw) for gpu in offer.free),
            *((part.gpu, part.counts_mw) for part in offer.parts),
        ]
    }
    load_mw = [offer.kept.base_mw + offer.kept.busy_mw for offer in snap.nodes]
    for placement in result.placements:
        shape = shapes[placement.job]
        assert len(placement.tasks) == shape.nodes, "a gang is placed whole"
        assert len({t.node for t in placement.tasks}) == len(placement.tasks)
        for task in placement.tasks:
            at = nodes[task.node]
            assert not snap.nodes[at].closed
            gpus = {g.index: g for g in snap.nodes[at].gpus}
            assert len(set(task.gpus)) == shape.gpus
            for index in task.gpus:
                one, gpu = (task.node, index), gpus[index]
                left[one] -= shape.gpu_milli
                assert left[one] >= 0, "no part of a GPU goes twice"
                assert gpu.can_share or shape.gpu_milli == 1000
                now_mw = max(gpu_admission_mw(gpu, shape.need), counts_mw[one])
                load_mw[at] += now_mw - counts_mw[one]
                counts_mw[one] = now_mw
    highest = max((shapes[p.job].priority for p in result.placements), default=0)
    for number, row in enumerate(snap.rows):
        rise_mw = 0
        for at, offer in enumerate(snap.nodes):
            after_mw = -(-load_mw[at] * 1000 // offer.kept.psu_efficiency_permille)
            share = dict(snap.above[at]).get(number, 0)
            rise_mw += counted_mw(after_mw, share) - counted_mw(kept_mw[at], share)
        given_back_mw = sum(mw for priority, mw in row.yields if priority < highest)
        assert rise_mw <= max(0, row.room_mw + given_back_mw), f"{row.name} is given too much"


@given(snapshots())
def test_every_plan_passes_its_check_and_is_repeatable(snap: Snapshot) -> None:
    result = plan(snap)
    assert plan(snap) == result
    shapes = {w.job: w.shape for w in snap.waiting}
    trial = Trial(snap)
    for placement in result.placements:
        assert check(trial, placement, shapes[placement.job]) == ""


@given(snapshots())
def test_trying_and_rolling_back_leaves_no_trace(snap: Snapshot) -> None:
    trial = Trial(snap)
    for offer_at in range(len(snap.nodes)):
        for one in {w.shape for w in snap.waiting}:
            mark = trial.checkpoint()
            trial.place(offer_at, one)
            trial.rollback(mark)
    fresh = Trial(snap)
    assert (trial.free, trial.parts) == (fresh.free, fresh.parts)
    assert (trial.cpus, trial.memory) == (fresh.cpus, fresh.memory)
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
