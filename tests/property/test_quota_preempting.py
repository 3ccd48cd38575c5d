"""Arbitrary work, quotas and a gang above it: who is sent away is enough, and nobody is in vain."""

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from hypothesis import assume, event, given
from hypothesis import strategies as st

from support.core.running import runs, with_work
from support.core.sites import PSU_PERMILLE, gpu, job
from support.core.snapshots import offer, shape, snapshot, waits
from wattline_protocol.ids import JobId
from wattline_protocol.job.spec import PRIORITIES
from wattline_scheduler.plan.check import passing
from wattline_scheduler.plan.cycle import plan
from wattline_scheduler.plan.model.shape import Waiting
from wattline_scheduler.plan.model.snapshot import (
    ENDING_PRIORITY,
    NodeOffer,
    Plan,
    QuotaHeadroom,
    RunningGang,
    Snapshot,
)
from wattline_scheduler.plan.search.quota_headroom import Quotas, lacks, task_held
from wattline_scheduler.plan.search.trial import Trial

GPUS = 4
GANG = JobId(1000)
ORDER = ("low", "normal", "high")
MW = task_held([gpu(0)], shape(job()), PSU_PERMILLE).mw


@dataclass
class Scene:
    """Nodes of four GPUs with work, quotas that count it, and one gang that waits."""

    nodes: int
    busy: list[RunningGang]
    protected: set[JobId]
    """Jobs that may not be sent away."""
    quotas: list[QuotaHeadroom]
    """With nothing used."""
    gang: Waiting

    def seen(
        self, gone: Sequence[RunningGang] = (), only: Collection[int] | None = None
    ) -> Snapshot:
        """Where these have gone; and where only these nodes are open."""
        here = [one for one in self.busy if one not in gone]
        quotas = tuple(
            replace(
                room,
                used_milli=sum(one.quota_milli for one in here if number in one.quotas),
                used_mw=sum(one.quota_mw for one in here if number in one.quotas),
            )
            for number, room in enumerate(self.quotas)
        )
        offers = [self._offer(at, here, only) for at in range(self.nodes)]
        snap = replace(snapshot(*offers, waiting=(self.gang,)), quotas=quotas)
        return with_work(snap, [one for one in here if one.key[0] not in self.protected])

    def _offer(
        self, at: int, here: Sequence[RunningGang], only: Collection[int] | None
    ) -> NodeOffer:
        taken = {g for one in here for task in one.tasks if task.at == at for g in task.gpus}
        closed = "" if only is None or at in only else "not one of those"
        whole = offer(f"a{at}", gpus=GPUS, closed=closed)
        return replace(whole, free=tuple(g for g in whole.gpus if g.index not in taken))

    def starts(self, gone: Sequence[RunningGang], only: Collection[int] | None = None) -> bool:
        """Whether the gang starts once these have gone."""
        return bool(plan(self.seen(gone, only)).placements)

    def lower(self) -> list[RunningGang]:
        """Who may be sent away for it."""
        free = (one for one in self.busy if one.key[0] not in self.protected)
        return [one for one in free if one.priority < self.gang.priority]


@st.composite
def works(draw: st.DrawFn, nodes: int, quotas: int) -> list[RunningGang]:
    """Gangs on one node or two that count in some of the quotas; some end anyhow."""
    left = {at: list(range(GPUS)) for at in range(nodes)}
    some = st.lists(st.integers(0, quotas - 1), unique=True, min_size=1, max_size=quotas)
    busy = []
    for number in range(draw(st.integers(2, 9))):
        wide, each = draw(st.sampled_from([1, 1, 2])), draw(st.sampled_from([1, 1, 2, 3, GPUS]))
        on = [at for at in draw(st.permutations(range(nodes))) if len(left[at]) >= each][:wide]
        if len(on) < wide:
            continue
        places = [(at, [left[at].pop() for _ in range(each)]) for at in on]
        lost, priority = float(draw(st.integers(0, 9))), draw(st.sampled_from(ORDER))
        counts_in = draw(some) if draw(st.integers(0, 3)) else []
        one = runs(number, *places, priority=priority, lost=lost, quotas=counts_in, each_mw=MW)
        is_leaving = draw(st.integers(0, 5)) == 0
        busy.append(replace(one, priority=ENDING_PRIORITY, lost_gpu_s=0.0) if is_leaving else one)
    return busy


@st.composite
def scenes(draw: st.DrawFn, max_nodes: int = 2) -> Scene:
    """The quotas have little left or nothing, one of them may be used up for today."""
    nodes, count = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    busy = draw(works(nodes, count))
    protected = {one.key[0] for one in busy if draw(st.integers(0, 5)) == 0}
    quotas = []
    for number in range(count):
        used = sum(one.quota_milli for one in busy if number in one.quotas) // 1000
        gpus, watts = (max(0, used + draw(st.integers(-1, 2))) for _ in range(2))
        gpus, watts = draw(st.sampled_from([(gpus, 0), (gpus, 0), (0, watts), (gpus, watts)]))
        closed = "used up" if draw(st.integers(0, 9)) == 0 else ""
        quotas.append(QuotaHeadroom(f"queue q{number}", gpus * 1000, 0, watts * MW, 0, closed))
    wanted = (
        job()
        .nodes(draw(st.integers(1, max_nodes)))
        .gpus(draw(st.sampled_from([1, 2, 3, GPUS, GPUS])))
    )
    wanted = wanted.priority(PRIORITIES[draw(st.sampled_from(["high", "high", "normal"]))])
    counted = draw(st.lists(st.integers(0, count - 1), unique=True, min_size=1, max_size=count))
    return Scene(
        nodes, busy, protected, quotas, replace(waits(GANG, wanted), quotas=tuple(counted))
    )


def chosen(scene: Scene, result: Plan) -> list[RunningGang]:
    (one,) = result.preemptions
    return [each for each in scene.busy if each.key in one.victims]


def refusing(scene: Scene) -> set[int]:
    """Quotas that have too little left for the gang now."""
    snap = scene.seen()
    wants = Quotas(Trial(snap)).wants(scene.gang.shape)
    return {number for number in scene.gang.quotas if lacks(snap.quotas[number], wants)}


@given(scenes())
def test_who_is_sent_away_is_enough_and_each_of_them_is_needed(scene: Scene) -> None:
    snap = scene.seen()
    result = plan(snap)
    if not result.preemptions:
        return
    (one,), victims, full = result.preemptions, chosen(scene, result), refusing(scene)
    event(f"{len(victims)} for {len(full)} quotas")
    assert set(one.quotas) == full
    nodes = {snap.position[node] for node in one.nodes}
    assert len(victims) == len(one.victims)
    for victim in victims:
        assert victim.priority < scene.gang.priority
        assert victim.key[0] not in scene.protected
        assert victim.counts_in(full) or victim.is_on(nodes)
        rest = [other for other in victims if other is not victim]
        assert not scene.starts(rest, nodes), f"{victim.key} goes in vain"
    after = scene.seen(victims, nodes)
    (placement,) = plan(after).placements
    assert passing(Trial(after), [(placement, scene.gang)])


@given(scenes(max_nodes=1))
def test_nobody_is_left_waiting_for_whom_others_could_make_room(scene: Scene) -> None:
    result = plan(scene.seen())
    assume(not result.placements)
    event(f"{len(result.preemptions)} sent away for {len(refusing(scene))} quotas")
    assert bool(result.preemptions) == scene.starts(scene.lower())


@given(st.data(), st.sampled_from([1, 2, 3, GPUS, GPUS]))
def test_of_no_higher_priority_than_there_must_be_and_the_fewest(
    data: st.DataObject, gpus: int
) -> None:
    """Of one quota, where nodes have room."""
    busy = [one for one in data.draw(works(4, 1)) if one.quotas]
    used = sum(one.quota_milli for one in busy)
    left = data.draw(st.integers(0, gpus - 1)) * 1000
    gang = replace(waits(GANG, job().gpus(gpus).priority(PRIORITIES["high"])), quotas=(0,))
    scene = Scene(5, busy, set(), [QuotaHeadroom("queue q", used + left)], gang)
    result = plan(scene.seen())
    if not result.preemptions:
        return
    victims = chosen(scene, result)
    going = [one for one in victims if one.priority != ENDING_PRIORITY]
    top = max(one.priority for one in victims)
    assert not scene.starts([one for one in busy if one.priority < top])
    lower = [one for one in busy if one.priority <= top]
    ends = [one for one in lower if one.priority == ENDING_PRIORITY]
    others = [one for one in lower if one.priority != ENDING_PRIORITY]
    for fewer in itertools.combinations(others, max(0, len(going) - 1)):
        assert not going or not scene.starts([*ends, *fewer])
    event(f"{len(going)} went, {len(victims) - len(going)} ended anyhow")
