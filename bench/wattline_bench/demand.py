"""What knowing the demand of every GPU costs the scheduler, once a beat.

The draw of 1,000 nodes of 8 GPUs jumps at random and a quarter of the samples lie under a binding
cap, so that peaks, histograms and quantiles all have work; every GPU's load is made anew, which in
the scheduler happens only where demand has moved. Counted is processor time, the median of rounds.
"""

import random
import statistics
import time

from wattline_bench.verdict import Figures, judged, over
from wattline_protocol.ids import GpuIndex, Instant, NodeId
from wattline_protocol.wire.agent_messages import GpuInfo, GpuSample
from wattline_scheduler.power.demand.demand import Demand
from wattline_scheduler.power.demand.node_load import busy_gpu
from wattline_scheduler.power.demand.useful_cap import Need

BUDGET_US = 10.0
"""A GPU and beat, of sample, question and load together: 8,000 GPUs then take 0.08 of a core."""
GPUS_PER_NODE = 8
KINDS = 300
WARM_UP_ROUNDS = 20
PRIORITY = 50


class DemandCost(Figures, frozen=True):
    """Microseconds of processor time for one GPU and beat."""

    gpus: int
    kinds: int
    sample_us: float
    """To take a sample in."""
    ask_us: float
    """To say what the GPU would draw uncapped."""
    load_us: float
    """To make its load from that: floor, keep, target, gain."""
    core_pct: float
    """Of one core, at a beat a second."""

    def misses(self) -> tuple[str, ...]:
        """A thousand nodes must leave room for everything else."""
        each_us = self.sample_us + self.ask_us + self.load_us
        return over("the demand of a GPU, in µs a beat,", each_us, BUDGET_US)


def h100(index: int) -> GpuInfo:
    """As its agent describes it."""
    return GpuInfo(
        index=GpuIndex(index),
        uuid=f"GPU-{index}",
        name="NVIDIA H100 80GB HBM3",
        memory_bytes=80 * 2**30,
        cap_min_mw=200_000,
        cap_default_mw=700_000,
        cap_max_mw=700_000,
        idle_mw=80_000,
        overshoot_permille=1_000,
        can_cap=True,
        managed=True,
    )


@judged
def measure(*, nodes: int, rounds: int) -> DemandCost:
    """`nodes` of 8 GPUs that run 300 kinds of jobs."""
    gpus = [h100(index) for index in range(GPUS_PER_NODE)]
    places = [(NodeId(f"n{at}"), gpu) for at in range(nodes) for gpu in gpus]
    demand, dice, need = Demand(1.0), random.Random(1), Need()
    for at, (node, gpu) in enumerate(places):
        demand.begin(node, gpu, f"{at % KINDS}/h100", "bench", Instant(0.0))
    took_s: list[tuple[float, float, float]] = []
    for beat in range(1, WARM_UP_ROUNDS + rounds + 1):
        now, samples = Instant(float(beat)), [_sample(gpu, dice) for gpu in gpus]
        began_s = time.process_time()
        for node, gpu in places:
            demand.observe(node, gpu, samples[gpu.index], now)
        sampled_s = time.process_time()
        wanted = [demand.of(node, gpu, 0, now) for node, gpu in places]
        asked_s = time.process_time()
        for (_, gpu), mw in zip(places, wanted, strict=True):
            busy_gpu(gpu, mw, PRIORITY, need)
        took_s.append((sampled_s - began_s, asked_s - sampled_s, time.process_time() - asked_s))
    columns = zip(*took_s[WARM_UP_ROUNDS:], strict=True)
    sample_us, ask_us, load_us = (1e6 * statistics.median(c) / len(places) for c in columns)
    return DemandCost(
        gpus=len(places),
        kinds=KINDS,
        sample_us=round(sample_us, 2),
        ask_us=round(ask_us, 2),
        load_us=round(load_us, 2),
        core_pct=round((sample_us + ask_us + load_us) * len(places) / 1e4, 1),
    )


def _sample(gpu: GpuInfo, dice: random.Random) -> GpuSample:
    return GpuSample(
        index=gpu.index,
        power_mw=dice.randrange(gpu.idle_mw, gpu.cap_max_mw),
        cap_mw=500_000,
        cap_bound_ms=dice.choice((0, 0, 0, 900)),
    )
