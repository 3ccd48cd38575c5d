"""Plans on arbitrary trees: every room holds, no GPU goes twice, gangs are whole."""

import dataclasses
import gc

import numpy as np
from hypothesis import event, given
from hypothesis import strategies as st

from support.core.one_by_one import takes
from support.core.snapshots import same_columns
from support.strategies.plans import snapshots
from wattline_protocol.site.model import Weights
from wattline_scheduler.plan.check import passing
from wattline_scheduler.plan.cycle import plan
from wattline_scheduler.plan.model.column_writer import put_node
from wattline_scheduler.plan.model.device_classes import gpu_of, profile_of
from wattline_scheduler.plan.model.shape import Shape
from wattline_scheduler.plan.model.snapshot import QuotaHeadroom, Snapshot
from wattline_scheduler.plan.model.task_request import ask_of
from wattline_scheduler.plan.search.gang import place_gang
from wattline_scheduler.plan.search.quota_headroom import Quotas
from wattline_scheduler.plan.search.rank import costs
from wattline_scheduler.plan.search.score_cache import ScoreCache
from wattline_scheduler.plan.search.trial import Trial
from wattline_scheduler.power.demand.node_load import gpu_admission_mw
from wattline_scheduler.power.topology.rows import counted_mw


def share_of(snap: Snapshot, at: int, number: int) -> int:
    group = snap.columns.group[at]
    rows, shares = snap.columns.group_rows[:, group], snap.columns.group_share[:, group]
    return int(shares[rows == number].sum())


@given(snapshots())
def test_a_plan_keeps_every_rule(snap: Snapshot) -> None:
    result = plan(snap)
    shapes = {w.job: w.shape for w in snap.waiting}
    nodes = {offer.node: at for at, offer in enumerate(snap.nodes)}
    kept_mw = [offer.booking.booked_mw for offer in snap.nodes]
    left = {
        (offer.node, gpu.index): milli
        for offer in snap.nodes
        for gpu, milli in [
            *((gpu, 1000) for gpu in offer.free),
            *((part.gpu, part.free_milli) for part in offer.parts),
        ]
    }
    counts_mw = {
        (offer.node, gpu_of(gpu.index)): mw
        for offer in snap.nodes
        for gpu, mw in [
            *(
                (gpu, dict(offer.booking.held).get(gpu_of(gpu.index), gpu.idle_mw))
                for gpu in offer.free
            ),
            *((part.gpu, part.counts_mw) for part in offer.parts),
        ]
    }
    load_mw = [offer.booking.base_mw + offer.booking.busy_mw for offer in snap.nodes]
    for placement in result.placements:
        shape = shapes[placement.job]
        count = len(placement.tasks)
        assert shape.nodes <= count <= shape.most_nodes, "a gang is placed whole"
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
                assert profile_of(gpu) == shape.mig
                whole = (task.node, gpu_of(index))
                now_mw = max(gpu_admission_mw(gpu, shape.need), counts_mw[whole])
                load_mw[at] += now_mw - counts_mw[whole]
                counts_mw[whole] = now_mw
    highest = max((shapes[p.job].priority for p in result.placements), default=0)
    for number, row in enumerate(snap.rows):
        rise_mw = 0
        for at, offer in enumerate(snap.nodes):
            after_mw = -(-load_mw[at] * 1000 // offer.booking.psu_efficiency_permille)
            share = share_of(snap, at, number)
            rise_mw += counted_mw(after_mw, share) - counted_mw(kept_mw[at], share)
        given_back_mw = int(snap.columns.yields_mw[number, :highest].sum())
        assert rise_mw <= max(0, int(snap.columns.headroom_mw[number]) + given_back_mw), row.name


@given(snapshots())
def test_every_plan_passes_its_check_and_is_repeatable(snap: Snapshot) -> None:
    result = plan(snap)
    assert plan(snap) == result
    shapes = {w.job: w.shape for w in snap.waiting}
    trial, counted = Trial(snap), {w.job: w.quotas for w in snap.waiting}
    quotas = Quotas(trial)
    for placement in result.placements:
        one = placement.job
        assert takes(trial, placement, shapes[one], counted[one], quotas)


@given(snapshots(), st.data())
def test_those_pass_that_can_start_one_after_the_other(snap: Snapshot, data: st.DataObject) -> None:
    """Also where less is left by then than the plan was made for."""
    waiting = {w.job: w for w in snap.waiting}
    placed = [(one, waiting[one.job]) for one in plan(snap).placements]
    for name in ("cpus_free", "memory_free_bytes", "headroom_mw", "free_milli"):
        if data.draw(st.booleans(), label=name):
            left = getattr(snap.columns, name)
            left //= data.draw(st.sampled_from([2, 8, 1000]))
    if data.draw(st.booleans(), label="quotas are used up"):
        rooms = tuple(dataclasses.replace(r, used_milli=r.most_milli // 2) for r in snap.quotas)
        snap = dataclasses.replace(snap, quotas=rooms)
    trial = Trial(snap)
    quotas = Quotas(trial)
    one_by_one = [
        (one, w) for one, w in placed if takes(trial, one, w.shape, w.quotas, quotas, w.stay)
    ]
    event(f"all pass: {one_by_one == placed}, none: {not one_by_one}")
    checked = Trial(snap)
    assert passing(checked, placed) == one_by_one
    assert same_columns(checked.columns, snap.columns)


@given(snapshots())
def test_a_plan_leaves_nothing_to_the_garbage_collector(snap: Snapshot) -> None:
    """A cycle of references would keep all that was made for a plan until the collector stops the
    scheduler to look for it: a tenth of a second on a large site."""
    cache = ScoreCache()
    plan(snap, cache=cache)
    gc.freeze()
    gc.disable()
    try:
        plan(snap, cache=cache)
        assert gc.collect() == 0
    finally:
        gc.enable()
        gc.unfreeze()


@given(snapshots())
def test_a_plan_breaks_no_quota(snap: Snapshot) -> None:
    """Added up by hand: GPUs and watts stay within, and of what is used up nothing starts."""
    held = [[room.used_milli, room.used_mw] for room in snap.quotas]
    waiting = {w.job: w for w in snap.waiting}
    for placement in plan(snap).placements:
        one = waiting[placement.job]
        milli = mw = 0
        for task in placement.tasks:
            offer = snap.nodes[snap.position[task.node]]
            gpus = [gpu for gpu in offer.gpus if gpu.index in task.gpus]
            # A MIG device counts by its slices.
            sizes = [getattr(gpu, "share_permille", 1000) * one.shape.gpu_milli for gpu in gpus]
            draws_mw = [gpu_admission_mw(gpu, one.shape.need) for gpu in gpus]
            load_mw = sum(
                draw_mw * size // 1_000_000 for draw_mw, size in zip(draws_mw, sizes, strict=True)
            )
            milli += sum(sizes) // 1000
            mw += -(-load_mw * 1000 // offer.booking.psu_efficiency_permille)
        for number in one.quotas:
            assert not snap.quotas[number].closed
            held[number][0] += milli
            held[number][1] += mw
            if one.shape.gpus:
                assert not snap.quotas[number].most_milli or (
                    held[number][0] <= snap.quotas[number].most_milli
                )
                assert not snap.quotas[number].most_mw or (
                    held[number][1] <= snap.quotas[number].most_mw
                )


@given(snapshots())
def test_the_check_refuses_what_breaks_a_quota(snap: Snapshot) -> None:
    """A plan that was made without quotas is stopped at the first gang that breaks one."""
    free = dataclasses.replace(snap, quotas=tuple(QuotaHeadroom("none") for _ in snap.quotas))
    trial, counted = Trial(snap), {w.job: w for w in snap.waiting}
    quotas = Quotas(trial)
    for placement in plan(free).placements:
        one = counted[placement.job]
        takes(trial, placement, one.shape, one.quotas, quotas)
        for before, room in zip(snap.quotas, quotas.left, strict=True):
            assert room == before or not room.closed
            grew = room.used_milli > before.used_milli
            assert not (grew and room.most_milli) or room.used_milli <= room.most_milli
            grew = room.used_mw > before.used_mw
            assert not (grew and room.most_mw) or room.used_mw <= room.most_mw


@given(snapshots())
def test_trying_and_rolling_back_leaves_no_trace(snap: Snapshot) -> None:
    trial = Trial(snap)
    for at in range(len(snap.nodes)):
        for one in {w.shape for w in snap.waiting}:
            mark = trial.checkpoint()
            trial.place(at, one)
            trial.rollback(mark)
    assert same_columns(trial.columns, snap.columns)


def _by_looking_at_all(trial: Trial, shape: Shape) -> list[str] | None:
    """What `place_gang` must decide, without anything remembered."""
    mark = trial.checkpoint()
    nodes: list[str] = []
    for count in range(shape.most_nodes):
        ask = ask_of(shape, trial.columns.classes)
        seen = trial.snapshot
        cost = costs(trial.columns, ask, shape.priority, seen.weights, seen.prices)
        if not np.isfinite(cost).any():
            if count >= shape.nodes:
                break
            trial.rollback(mark)
            return None
        nodes.append(trial.place(int(cost.argmin()), shape).node)
    trial.finish_gang(mark)
    return nodes


@given(snapshots())
def test_what_is_remembered_decides_as_if_all_nodes_were_looked_at(snap: Snapshot) -> None:
    snap = dataclasses.replace(snap, weights=Weights(locality=0.0))
    remembering, plain = Trial(snap), Trial(snap)
    for one in (w.shape for w in snap.waiting for _ in w.gangs):
        if one.same_rack and one.most_nodes > 1:
            continue
        able = np.isfinite(remembering.costs(one)).tolist()
        assert [remembering.fits_now(at, one) for at in range(len(snap.nodes))] == able
        places = place_gang(remembering, one)
        assert (places and [p.node for p in places]) == _by_looking_at_all(plain, one)


@given(snapshots(), st.data())
def test_a_plan_is_the_same_with_the_cache_of_earlier_cycles(
    snap: Snapshot, data: st.DataObject
) -> None:
    """Cycle after cycle with the same cache, while nodes change between them."""
    cache = ScoreCache()
    for _ in range(3):
        assert plan(snap, cache=cache) == plan(snap)
        if not snap.nodes:
            return
        at = data.draw(st.integers(0, len(snap.nodes) - 1))
        offer = snap.nodes[at]
        offer = dataclasses.replace(offer, free=offer.gpus if data.draw(st.booleans()) else ())
        put_node(snap.columns, at, offer)
        cache.touch(at)


@given(snapshots())
def test_nobody_gets_what_somebody_before_was_refused(snap: Snapshot) -> None:
    """Before each placement: whoever is before it in the queue and waits does not fit any more.

    Of gangs of one node: a larger one that was tried node by node may fit in another way later. Not
    of those below quotas: they may wait for these where nodes would do. Nor of those behind the
    first that room is kept for: they may wait for that.
    """
    result, trial = plan(snap), Trial(snap)
    place_of = {w.job: at for at, w in enumerate(snap.waiting)}
    kept_from = min((place_of[job] + 1 for job in result.promised), default=len(place_of))
    for placement in result.placements:
        before = snap.waiting[: min(place_of[placement.job], kept_from)]
        waiting = (w for w in before if w.job in result.waits and not w.quotas)
        for refused in (w for w in waiting if w.shape.nodes == 1):
            assert place_gang(trial, refused.shape) is None
        assert takes(trial, placement, snap.waiting[place_of[placement.job]].shape)
