"""Watts move inside a gang to the rank that its cap slows; its sum stays, others notice nothing."""

from random import Random

import msgspec
import pytest

from support.core.harness import Harness, joined, running
from support.core.sites import job, site
from wattline.task.steps import WINDOW
from wattline_protocol.ids import DomainId, GpuIndex, Instant, JobId, NodeId, TaskRef
from wattline_protocol.wire.agent_messages import Lease
from wattline_protocol.wire.client_messages import Restore, Shed
from wattline_protocol.wire.task_reports.rank_steps import RankSteps
from wattline_scheduler.core.model.usage.rank_watch import RankGpu, RankWatch, Shift
from wattline_scheduler.power.allocation.gang_balance import LEAST_WEIGHT, MOST_WEIGHT
from wattline_scheduler.power.demand.models import Curve, curve

NODES, PER_NODE = 2, 4
TIGHT_KW = 7.2
DRAW_MW = 550_000
"""Uncapped draw of the mean GPU; others need up to 8 % more or less for the same work."""

FITTED = curve("NVIDIA H100 80GB HBM3", "training_hot")
STEEPER = Curve(0.9, 6.0, 550)
"""A job that loses far more under a cap than the scheduler's curve tells."""


class Work:
    """A synchronous gang on GPUs that differ by 8 %, of which one needs far more watts."""

    def __init__(self, h: Harness, number: JobId, seed: int, worst: float, p: Curve) -> None:
        self.h, self.number, self.p, self.step = h, number, p, 0
        draw = Random(seed)
        self.demand_mw = [DRAW_MW * draw.uniform(0.92, 1.08) for _ in range(NODES * PER_NODE)]
        self.worst = draw.randrange(len(self.demand_mw))
        self.demand_mw[self.worst] = DRAW_MW * worst
        self._busy_s: list[list[float]] = [[] for _ in self.demand_mw]

    def tasks(self) -> list[tuple[NodeId, TaskRef]]:
        return running(self.h, self.number)

    def gpus(self, node: NodeId, ref: TaskRef) -> tuple[GpuIndex, ...]:
        return self.h.agents[node].tasks[ref].order.gpus

    def caps_mw(self) -> list[int]:
        return [self.h.agents[n].caps_mw[i] for n, ref in self.tasks() for i in self.gpus(n, ref)]

    def step_s(self) -> float:
        """A step takes as long as the slowest rank needs."""
        return max(self.busy_now_s())

    def busy_now_s(self) -> list[float]:
        pairs = zip(self.caps_mw(), self.demand_mw, strict=True)
        return [1 / self.p.performance(cap, demand) for cap, demand in pairs]

    def run(self, steps: int) -> None:
        """One a second."""
        for _ in range(steps):
            self.step += 1
            for times, busy_s in zip(self._busy_s, self.busy_now_s(), strict=True):
                times.append(busy_s)
            for first, (node, ref) in zip((0, PER_NODE), self.tasks(), strict=True):
                agent, ranks = self.h.agents[node], range(first, first + PER_NODE)
                for rank, index in zip(ranks, self.gpus(node, ref), strict=True):
                    agent.wants_of[index] = round(self.demand_mw[rank])
                agent.tasks[ref].ranks = tuple(map(self._report, ranks))
            self.h.run(1, 1.0)

    def _report(self, rank: int) -> RankSteps:
        newest = sorted(self._busy_s[rank][-WINDOW:])
        median_s = newest[len(newest) // 2]
        return RankSteps(rank, 1, self.step, self.step_s(), median_s, len(newest))


def begun(
    seed: int, worst: float, p: Curve = FITTED, kw: float = TIGHT_KW, nodes: int = NODES
) -> Work:
    h = joined(site().rack("a", nodes, kw=kw).build())
    number = h.submit(job().gpus(PER_NODE).nodes(NODES).torchrun().retries(1))
    h.run(5)
    return Work(h, number, seed, worst, p)


def say_busy(work: Work, busy_s: dict[int, float]) -> None:
    """A second in which these ranks report that they compute so long in each step, and the others
    that they have done none yet."""
    work.step += 1
    for first, (node, ref) in zip((0, PER_NODE), work.tasks(), strict=True):
        work.h.agents[node].tasks[ref].ranks = tuple(
            RankSteps(rank, 1, work.step, 2.0, busy_s.get(rank, 1.0), WINDOW * (rank in busy_s))
            for rank in range(first, first + PER_NODE)
        )
    work.h.run(1, 1.0)


def weights_of(work: Work) -> dict[RankGpu, int]:
    watch = work.h.gang(work.number).ranks
    return {} if watch is None else watch.weights


def leases(h: Harness) -> list[tuple[NodeId, int, tuple[int, ...]]]:
    return [(n, m.lease_mw, m.caps_mw) for n, m in h.sent if isinstance(m, Lease)]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_capped_rank_is_named_within_20_steps_and_its_gang_gains_5_percent(seed: int) -> None:
    work = begun(seed, worst=1.25)
    h = work.h
    work.run(12)
    before_s, before_mw = work.step_s(), sum(work.caps_mw())
    work.run(WINDOW - 12)
    (event,) = h.events("straggler")
    assert f"rank {work.worst} on " in event.text
    assert event.text.endswith("its power cap reduces the clocks")
    work.run(3 * WINDOW)
    assert before_s / work.step_s() >= 1.05
    assert sum(work.caps_mw()) == pytest.approx(before_mw, rel=0.005), "but for the dead band"
    assert h.events("straggler_over")
    (shifted,) = h.events("watts_shifted")
    assert f"rank {work.worst} on " in shifted.text


@pytest.mark.parametrize("seed", [1, 3])
def test_a_job_with_a_steeper_curve_is_never_slower_than_before(seed: int) -> None:
    work = begun(seed, worst=1.25, p=STEEPER)
    work.run(3)
    before_s = work.step_s()
    for _ in range(200):
        work.run(1)
        assert work.step_s() <= before_s * 1.001
    assert work.step_s() < before_s / 1.5


def test_without_a_straggler_every_lease_is_the_same_to_the_milliwatt() -> None:
    reports, silent = begun(1, worst=1.0), begun(1, worst=1.0)
    reports.run(60)
    for node, ref in silent.tasks():
        agent, first = silent.h.agents[node], ref.task % NODES * PER_NODE
        for rank, index in enumerate(silent.gpus(node, ref), first):
            agent.wants_of[index] = round(silent.demand_mw[rank])
    for _ in range(60):
        silent.h.run(1, 1.0)
    assert not reports.h.events("straggler")
    assert leases(reports.h) == leases(silent.h)


def test_a_shed_takes_from_all_ranks_and_a_new_attempt_begins_evenly() -> None:
    work = begun(1, worst=1.25)
    h = work.h
    work.run(60)
    before_mw = work.caps_mw()
    h.do(Shed(DomainId("pdu-a"), fraction=0.1, reason="grid event"))
    h.run(5)
    after_mw = work.caps_mw()
    assert all(after < before for after, before in zip(after_mw, before_mw, strict=True))
    assert max(after_mw) == after_mw[work.worst], "it keeps the largest part"
    h.do(Restore(DomainId("pdu-a"), reason="grid event over"))
    h.end_tasks(code=1)
    h.run(40)
    assert len(work.caps_mw()) == NODES * PER_NODE
    assert max(work.caps_mw()) - min(work.caps_mw()) < 2_000, "even, but for roundings"


def test_other_jobs_in_the_same_row_neither_lose_nor_gain() -> None:
    work = begun(1, worst=1.25, kw=TIGHT_KW + 4.2, nodes=NODES + 1)
    h = work.h
    other = h.submit(job().gpus(8))
    h.run(3)
    ((node, _),) = running(h, other)
    assert node not in [name for name, _ in work.tasks()]
    h.agents[node].wants_mw = 690_000
    work.run(10)
    before = h.agents[node].lease_mw, sum(work.caps_mw())
    work.run(60)
    gang = h.gang(work.number)
    assert gang.ranks is not None
    assert gang.ranks.weights
    assert h.agents[node].lease_mw == pytest.approx(before[0], rel=0.005)
    assert sum(work.caps_mw()) == pytest.approx(before[1], rel=0.005)


def shifted(work: Work) -> RankWatch:
    """Just after its first shift."""
    while not (found := work.h.gang(work.number).ranks) or not found.weights:
        work.run(1)
    return found


def test_a_shift_that_returns_may_lack_gpus_of_ranks_that_were_not_judged_for_it() -> None:
    """A program chooses when its ranks have done enough steps, and how long these took."""
    work = begun(1, worst=1.25)
    watch = shifted(work)
    assert watch.shift is not None
    some = dict([*watch.weights.items()][:1])
    watch.shift = Shift(slowest_s=1e-6, sum_mw=watch.shift.sum_mw, before=some)
    watch.weights = {}
    for _ in range(2):  # the first beat's division is still that of the shift
        watch.next_step, watch.next_at = 0, Instant(0.0)
        work.run(1)
    assert watch.weights == some, "what came after it was slower"
    assert len(work.h.events("watts_shifted")) == 2


def test_a_gpu_without_watts_shifts_none() -> None:
    """Its weight was no number, and the division of all watts went by it."""
    work = begun(1, worst=1.0)
    work.run(3)
    (node, ref), _ = work.tasks()
    agent, index = work.h.agents[node], work.gpus(node, ref)[0]
    none = {"cap_min_mw": 0, "cap_default_mw": 1, "cap_max_mw": 1, "idle_mw": 0}
    agent.gpus[index] = msgspec.structs.replace(agent.gpus[index], **none, overshoot_permille=1_000)
    agent.caps_mw[index], agent.wants_of[index] = 1, 10
    agent.restart()
    work.h.settle()
    for _ in range(40):
        say_busy(work, dict.fromkeys(range(8), 1.0) | {0: 1.3})
        assert all(LEAST_WEIGHT <= weight <= MOST_WEIGHT for weight in weights_of(work).values())
