"""How long a planning cycle takes, from the state of the core to placements that were checked.

Budgets (DESIGN 10): at 12,500 nodes of 8 GPUs with 10,000 jobs waiting a cycle ≤ 1 s, one in which
little changed ≤ 100 ms; at 1,000 nodes ≥ 20,000 placements a second. Times are of the processor, so
that what else runs on the machine does not count.

The *first* cycle after a start writes every node, which no other does. A *cycle* looks at the whole
queue, without a limit of work, and nothing is remembered of any shape; a twentieth of all nodes
changed since the one before. A *burst* is the same with what the cycle before remembers, as always
but for the first: its placements are counted, and it is repeated without the compiled loops. An
*incremental* one is as production runs it: few jobs ended, few were submitted, and its limits hold;
then it starts what was placed. As in production what lived through a second is frozen, so that no
collection of garbage looks at it again.
"""

import gc
import resource
import time

import numpy as np

from wattline_bench.rig.packed import NOW, Packed
from wattline_bench.verdict import Figures, judged, over, under
from wattline_protocol.ids import UserName
from wattline_protocol.wire.client_messages import Submit
from wattline_scheduler.core.lifecycle.ending import attempt_over, close
from wattline_scheduler.core.lifecycle.planning import decide, plan_now
from wattline_scheduler.core.model.events import ClientRequest
from wattline_scheduler.core.requests.submit import submit
from wattline_scheduler.plan.cycle import INTERACTIVE, Limits
from wattline_scheduler.plan.model.snapshot import Plan
from wattline_scheduler.plan.search import native_loops
from wattline_scheduler.plan.search.score_cache import ScoreCache
from wattline_scheduler.shell.garbage import YOUNG

SIZES = ((100, 100), (1_000, 1_000), (12_500, 10_000))
CYCLE_MS_MAX = {12_500: 1_000.0}
INCREMENTAL_MS_MAX = {12_500: 100.0}
PLACEMENTS_PER_S_MIN = {1_000: 20_000.0}
CHANGED_SHARE = 0.05
ENDED, SUBMITTED = 16, 16
"""Jobs between two incremental cycles."""

NO_LIMITS = Limits(placements=10**9, effort=10**12)


class Planning(Figures, frozen=True):
    """One size of site."""

    nodes: int
    pending: int
    shapes: int
    """Distinct ones among those that wait."""
    is_traced: bool
    """Shapes are drawn from the public traces, not from shares of our own."""
    first_ms: float
    cycle_ms_p50: float
    cycle_ms_p99: float
    incremental_ms_p50: float
    incremental_ms_p99: float
    apply_ms_per_gang: float
    """Starting what was placed: records, leases, orders."""
    placed: int
    """In a cycle."""
    placements_per_s: float
    """Gangs, of the median burst."""
    loops_gain: float | None
    """Median burst without the compiled loops over that with them; None = not compiled."""
    ms_per_effort: float
    """Of cycles, in ms for each 1,000 steps: what a limit of work means in time."""
    peak_mib: float
    """Of the process, jobs and all."""

    def misses(self) -> tuple[str, ...]:
        """Where a budget is set."""
        name, nodes = f"at {self.nodes:,} nodes", self.nodes
        least = PLACEMENTS_PER_S_MIN.get(nodes, 0.0)
        return (
            *over(f"cycle {name} in ms", self.cycle_ms_p50, CYCLE_MS_MAX.get(nodes, np.inf)),
            *over(
                f"incremental cycle {name} in ms",
                self.incremental_ms_p50,
                INCREMENTAL_MS_MAX.get(nodes, np.inf),
            ),
            *under(f"placements/s {name}", self.placements_per_s, least),
        )


class Plans(Figures, frozen=True):
    """All sizes."""

    rows: tuple[Planning, ...]

    def misses(self) -> tuple[str, ...]:
        """Of every row."""
        return tuple(sentence for row in self.rows for sentence in row.misses())


class _Clock:
    def __init__(self) -> None:
        self.ms: list[float] = []

    def time(self, packed: Packed, limits: Limits) -> Plan:
        """Decide once."""
        state = packed.state
        _settle_garbage()
        began_s = time.process_time()
        waiting = state.work.waiting()
        plan = decide(state, waiting, NOW, limits)
        self.ms.append((time.process_time() - began_s) * 1_000)
        return plan


class _ArraysClock(_Clock):
    def time(self, packed: Packed, limits: Limits) -> Plan:
        """Decide once, without the compiled loops."""
        library, native_loops.LIBRARY = native_loops.LIBRARY, None
        try:
            return super().time(packed, limits)
        finally:
            native_loops.LIBRARY = library


def _planning(nodes: int, pending: int, cycles: int, seed: int) -> Planning:
    packed = Packed(nodes, pending, seed)
    state = packed.state
    shapes = len({waiting.shape for waiting in state.work.waiting()})
    first, whole, burst, little, arrays = _Clock(), _Clock(), _Clock(), _Clock(), _ArraysClock()
    first.time(packed, NO_LIMITS)
    for _ in range(cycles):
        for attempt in packed.running(round(nodes * CHANGED_SHARE)):
            state.nodes[attempt.node].outdate()
        state.fleet_view.cache = ScoreCache()
        plan = whole.time(packed, NO_LIMITS)
        burst.time(packed, NO_LIMITS)
        arrays.time(packed, NO_LIMITS)
    placed = len(plan.placements)
    apply_ms = _settle(packed)
    for _ in range(cycles):
        _change_a_little(packed)
        little.time(packed, INTERACTIVE)
        plan_now(state, NOW)
    burst_ms = float(np.percentile(burst.ms, 50))
    p50 = float(np.percentile(whole.ms, 50))
    return Planning(
        nodes=nodes,
        pending=pending,
        shapes=shapes,
        is_traced=packed.mix.is_traced,
        first_ms=round(first.ms[0], 2),
        cycle_ms_p50=round(p50, 2),
        cycle_ms_p99=round(float(np.percentile(whole.ms, 99)), 2),
        incremental_ms_p50=round(float(np.percentile(little.ms, 50)), 2),
        incremental_ms_p99=round(float(np.percentile(little.ms, 99)), 2),
        apply_ms_per_gang=round(apply_ms, 3),
        placed=placed,
        placements_per_s=round(placed / burst_ms * 1_000),
        loops_gain=_gain(arrays, burst_ms),
        ms_per_effort=round(p50 / max(1, plan.effort) * 1_000, 3),
        peak_mib=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    )


def _gain(arrays: _ArraysClock, burst_ms: float) -> float | None:
    is_compiled = native_loops.LIBRARY is not None
    return round(float(np.percentile(arrays.ms, 50)) / burst_ms, 2) if is_compiled else None


def _settle_garbage() -> None:
    """As production does each second: a full collection between two cycles is not their cost."""
    gc.collect(YOUNG)
    gc.freeze()


def _settle(packed: Packed) -> float:
    """Start what fits, in as many cycles as that takes; ms a gang beyond deciding."""
    state, took_ms, gangs = packed.state, 0.0, 0
    state.wants_plan = True
    _settle_garbage()
    while state.wants_plan:
        before = len(state.work.starting)
        began_s = time.process_time()
        plan_now(state, NOW)
        took_ms += (time.process_time() - began_s) * 1_000
        gangs += len(state.work.starting) - before
        state.journal.take()
    return took_ms / max(1, gangs)


def _change_a_little(packed: Packed) -> None:
    state = packed.state
    for attempt in packed.running(ENDED):
        close(state, attempt, "COMPLETED", NOW)
        attempt_over(state, attempt.gang, "finished", "", NOW)
    for number, spec in enumerate(packed.mix.jobs(SUBMITTED)):
        request = Submit(spec, f"{state.next_job}-{number}")
        submit(
            state, ClientRequest(b"", number, UserName("eve"), "submitter", request), request, NOW
        )
    state.journal.take()


@judged
def measure(*, cycles: int, seed: int) -> Plans:
    """All sizes."""
    return Plans(tuple(_planning(nodes, pending, cycles, seed) for nodes, pending in SIZES))
