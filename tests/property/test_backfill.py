"""Short jobs fill holes, and the gang that room is kept for never starts later for it."""

import dataclasses
import math
from collections.abc import Iterator, Sequence

from hypothesis import given
from hypothesis import strategies as st

from support.core.reserved import may_start, span_of
from support.core.sites import job
from support.core.snapshots import offer, snapshot, waits
from wattline_protocol.ids import GpuIndex, Instant, JobId
from wattline_scheduler.plan.cycle import PATIENCE_S, plan
from wattline_scheduler.plan.model.reserved_nodes import MARGIN_S, Reservations, Span
from wattline_scheduler.plan.model.shape import Waiting
from wattline_scheduler.plan.model.snapshot import NodeOffer, Plan
from wattline_scheduler.power.demand.node_load import gpu_admission_mw
from wattline_scheduler.power.demand.useful_cap import Need

GANG = JobId(0)
HORIZON_S = 100_000.0


@dataclasses.dataclass
class Work:
    """One job that runs: where, and when it is expected to end and does."""

    places: dict[str, tuple[GpuIndex, ...]]
    expected: float
    ends: float


class Site:
    """Nodes of eight GPUs, what runs there, and a queue; time goes from end to end."""

    def __init__(
        self, nodes: int, work: list[Work], room_kw: float, spans: Sequence[Span] = ()
    ) -> None:
        self.now = PATIENCE_S
        self.spans = spans
        self.work = work
        self.nodes = [offer(f"n{at}", rack=f"r{at // 2}") for at in range(nodes)]
        self.room_kw = room_kw
        self.started: dict[JobId, float] = {}

    def offers(self) -> list[NodeOffer]:
        return [self._offer(node) for node in self.nodes]

    def _offer(self, node: NodeOffer) -> NodeOffer:
        ends = {gpu: one.expected for one in self.work for gpu in one.places.get(node.node, ())}
        free = tuple(gpu for gpu in node.gpus if gpu.index not in ends)
        known = tuple((g, Instant(s)) for g, s in ends.items() if math.isfinite(s))
        drawn = tuple((g, gpu_admission_mw(node.gpus[g], Need())) for g in ends)
        booking = dataclasses.replace(node.booking, held=drawn)
        return dataclasses.replace(node, free=free, ends=known, booking=booking)

    def plan(self, queue: list[Waiting]) -> Plan:
        """Everything that draws counts in the room of the site."""
        gpu = self.nodes[0].gpus[0]
        rise_kw = (gpu_admission_mw(gpu, Need()) - gpu.idle_mw) / 0.95 / 1e6
        busy = sum(len(gpus) for one in self.work for gpus in one.places.values())
        waiting = tuple(queue)
        left_kw = self.room_kw - busy * (rise_kw + 1e-6)
        seen = snapshot(*self.offers(), waiting=waiting, now=self.now, room_kw=left_kw)
        if self.spans:
            reservations = Reservations(self.spans, len(self.nodes), self.now)
            seen = dataclasses.replace(seen, reservations=reservations)
        return plan(seen)

    def start(self, result: Plan, true_s: dict[JobId, tuple[float, float]]) -> None:
        for placement in result.placements:
            known_s, ran_s = true_s[placement.job]
            places: dict[str, tuple[GpuIndex, ...]] = {
                task.node: task.gpus for task in placement.tasks
            }
            self.work.append(Work(places, self.now + known_s, self.now + ran_s))
            self.started[placement.job] = self.now

    def to_next_end(self) -> bool:
        """Of work or of a reservation; False: nothing runs any more."""
        if not self.work:
            return False
        over = (span.end_unix_s for span in self.spans if span.end_unix_s > self.now)
        self.now = max(self.now, min([*(one.ends for one in self.work), *over]))
        self.work = [one for one in self.work if one.ends > self.now]
        return True


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Site, list[Waiting], dict[JobId, tuple[float, float]]]:
    """Work that runs, a gang that waited long, and jobs behind it, some of which waited long too;
    estimates are upper bounds."""
    nodes = draw(st.integers(2, 5))
    work = []
    for at in range(nodes):
        busy = draw(st.integers(0, 8))
        for first in range(0, busy, 2):
            gpus = tuple(GpuIndex(i) for i in range(first, min(first + 2, busy)))
            expected = PATIENCE_S + draw(st.integers(1, 500))
            work.append(Work({f"n{at}": gpus}, expected, draw(st.floats(PATIENCE_S, expected))))
    size, each = draw(st.integers(1, nodes)), draw(st.integers(1, 8))
    queue = [waits(GANG, job().nodes(size).gpus(each))]
    true_s = {GANG: (math.inf, HORIZON_S)}
    for number in range(1, draw(st.integers(1, 12))):
        known = draw(st.one_of(st.none(), st.integers(1, 600)))
        wanted = job().gpus(draw(st.integers(1, 4))).nodes(draw(st.integers(1, 2)))
        one = waits(number, wanted, since=draw(st.sampled_from([0.0, PATIENCE_S])))
        queue.append(dataclasses.replace(one, runs_s=known))
        ran_s = draw(st.floats(1, known)) if known is not None else HORIZON_S
        true_s[JobId(number)] = (known if known is not None else math.inf, ran_s)
    needs_kw = size * each * 0.31
    room_kw = draw(st.sampled_from([1_000.0, needs_kw + 2, needs_kw + 8]))
    return Site(nodes, work, room_kw), queue, true_s


def until_it_starts(
    site: Site, queue: list[Waiting], true_s: dict[JobId, tuple[float, float]]
) -> Iterator[tuple[Plan, list[Waiting]]]:
    """Plan after plan, each with the queue it was made for, until the gang has started or nothing
    ends any more. The gang starts by the first time that it was promised."""
    promised: float | None = None
    while queue and GANG not in site.started:
        result = site.plan(queue)
        promised = result.promised.get(GANG) if promised is None else promised
        yield result, queue
        site.start(result, true_s)
        queue = [w for w in queue if w.job not in site.started]
        if not site.to_next_end():
            break
    if promised is not None and math.isfinite(promised):
        assert site.started.get(GANG, math.inf) <= promised


@given(scenes())
def test_backfill_never_delays_the_promise(
    scene: tuple[Site, list[Waiting], dict[JobId, tuple[float, float]]],
) -> None:
    assert list(until_it_starts(*scene))


@given(scenes(), st.data())
def test_a_promise_is_kept_beside_reservations(
    scene: tuple[Site, list[Waiting], dict[JobId, tuple[float, float]]], data: st.DataObject
) -> None:
    site, queue, true_s = scene
    queue[0] = dataclasses.replace(queue[0], runs_s=data.draw(st.sampled_from([10.0, 300.0])))
    nodes, spans = range(len(site.nodes)), list[Span]()
    for one in data.draw(st.sets(st.sampled_from(nodes))):
        start = data.draw(st.integers(0, 900))
        length = data.draw(st.integers(1, 600))
        spans.append(span_of(f"r{one}", start, start + length, [one]))
    site.spans = spans
    for result, waiting in until_it_starts(site, queue, true_s):
        for placement in result.placements:
            stay = next(w.stay for w in waiting if w.job == placement.job)
            at = [int(task.node[1:]) for task in placement.tasks]
            assert all(may_start(spans, where, stay, site.now) for where in at)


def test_nothing_is_promised_on_nodes_that_are_reserved_before_the_start() -> None:
    a1, a2 = offer("a1", free=4), offer("a2", free=4)
    soon, later = PATIENCE_S + 100, PATIENCE_S + 500
    ends = [tuple((gpu.index, Instant(at)) for gpu in a1.gpus[:4]) for at in (soon, later)]
    nodes = [dataclasses.replace(one, ends=e) for one, e in zip((a1, a2), ends, strict=True)]
    gang = dataclasses.replace(waits(GANG, job().gpus(8)), runs_s=60.0)
    seen = snapshot(*nodes, waiting=(gang,), now=PATIENCE_S)
    spans = [span_of("early", soon + 60, soon + 4_000, [0])]
    reserved = dataclasses.replace(seen, reservations=Reservations(spans, 2, PATIENCE_S))
    assert plan(seen).promised == {GANG: soon}
    assert plan(reserved).promised == {GANG: later}


def late(*queue: Waiting, ends: float, held: int = 4, room_kw: float = 1_000.0) -> Plan:
    """Half of the only node is held until `ends`."""
    a1 = offer("a1")
    known = tuple((gpu.index, Instant(ends)) for gpu in a1.gpus[:held])
    drawn = tuple((gpu.index, gpu_admission_mw(gpu, Need())) for gpu in a1.gpus[:held])
    booking = dataclasses.replace(a1.booking, held=drawn)
    half = dataclasses.replace(a1, free=a1.gpus[held:], ends=known, booking=booking)
    return plan(snapshot(half, waiting=queue, now=PATIENCE_S, room_kw=room_kw))


def short(number: int, runs_s: float | None, gpus: int = 2) -> Waiting:
    return dataclasses.replace(waits(number, job().gpus(gpus), since=PATIENCE_S), runs_s=runs_s)


def test_who_ends_before_the_room_is_needed_may_use_it() -> None:
    gang, needed = waits(GANG, job().gpus(8)), PATIENCE_S + 100
    just, over = 100 - MARGIN_S, 101 - MARGIN_S
    result = late(gang, short(1, over), short(2, None), short(3, just), ends=needed)
    assert [p.job for p in result.placements] == [3]
    assert result.promised == {GANG: needed}
    assert result.waits.keys() == {GANG, 1, 2}


def test_no_date_is_promised_while_a_domain_is_over_its_budget() -> None:
    """The watts of what ends are not there for the next: they are what is too much."""
    gang, ends = waits(GANG, job().gpus(2)), PATIENCE_S + 100
    assert late(gang, ends=ends, held=8, room_kw=0.0).promised == {GANG: ends}
    assert late(gang, ends=ends, held=8, room_kw=-1.0).promised == {GANG: math.inf}


def test_what_runs_without_a_known_end_lets_nobody_use_the_room() -> None:
    gang = waits(GANG, job().gpus(8))
    result = late(gang, short(1, 1.0), ends=math.inf)
    assert result.placements == ()
    assert result.promised == {GANG: math.inf}


def test_short_jobs_share_the_room_until_it_is_full() -> None:
    gang = waits(GANG, job().gpus(8))
    result = late(gang, *(short(number, 1.0) for number in (1, 2, 3)), ends=PATIENCE_S + 100)
    assert [p.job for p in result.placements] == [1, 2]
    assert 3 in result.waits


def two_nodes(*queue: Waiting, ends: tuple[float, float]) -> Plan:
    """Half of each of two nodes is held until its time."""
    nodes = []
    for name, end in zip(("a1", "a2"), ends, strict=True):
        one = offer(name)
        known = tuple((gpu.index, Instant(end)) for gpu in one.gpus[:4] if math.isfinite(end))
        nodes.append(dataclasses.replace(one, free=one.gpus[4:], ends=known))
    return plan(snapshot(*nodes, waiting=queue, now=PATIENCE_S))


def test_each_gang_that_waited_long_has_room_kept_on_nodes_of_its_own() -> None:
    first, second = (waits(number, job().gpus(8)) for number in (0, 1))
    soon, later = PATIENCE_S + 100, PATIENCE_S + 1_000
    result = two_nodes(first, second, short(2, 500.0, gpus=4), short(3, 50.0), ends=(soon, later))
    assert result.promised == {0: soon, 1: later}
    assert {p.job: p.tasks[0].node for p in result.placements} == {2: "a2", 3: "a1"}


def test_a_later_gang_keeps_nothing_whose_time_is_not_known() -> None:
    first, second = (waits(number, job().gpus(8)) for number in (0, 1))
    soon = PATIENCE_S + 100
    result = two_nodes(first, second, short(2, None), ends=(soon, math.inf))
    assert result.promised == {0: soon}
    assert [p.tasks[0].node for p in result.placements] == ["a2"]


def test_where_cpus_are_short_all_that_runs_there_must_have_ended() -> None:
    """Who holds how many of them is not known."""
    a1, soon, later = offer("a1", free=4), PATIENCE_S + 100, PATIENCE_S + 500
    known = tuple((gpu.index, Instant((soon, later)[gpu.index % 2])) for gpu in a1.gpus[:4])
    for cpus_free, start in ((5, later), (6, soon)):
        one = dataclasses.replace(a1, ends=known, cpus_free=cpus_free)
        gang = waits(GANG, job().gpus(6).cpus_per_gpu(1))
        assert plan(snapshot(one, waiting=(gang,), now=PATIENCE_S)).promised == {GANG: start}


def test_what_cannot_run_as_the_site_stands_takes_no_promise_from_who_can() -> None:
    gang = waits(GANG, job().gpus(8).nodes(2))
    nowhere = [waits(number, job().gpus(2).labels(fabric="ib")) for number in range(1, 20)]
    unlike = [waits(20 + gpus, job().gpus(gpus).labels(fabric="ib")) for gpus in range(1, 9)]
    soon, later = PATIENCE_S + 100, PATIENCE_S + 1_000
    result = two_nodes(*nowhere, *unlike, gang, ends=(soon, later))
    assert result.promised == {GANG: later}
