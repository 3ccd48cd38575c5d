"""How GPU power is distributed: each kind of work alone on the plant, and mixes of them.

The reference is the A100 (limit at TDP), whose fleets have published distributions; levels are
shares of TDP, so other models follow in proportion.
"""

from collections.abc import Sequence

import numpy as np

from wattline_sim.facility.plant.catalogue import WORKLOADS
from wattline_sim.facility.plant.dice import Floats
from wattline_sim.facility.plant.layout import Feed, Layout, NodePlace, Zone
from wattline_sim.facility.plant.plant import Plant

IDLE = "idle"
KINDS = (
    "pretraining",
    "finetuning",
    "light-training",
    "batch",
    "session",
    "waiting",
    "stalled",
    "serving",
)
PERCENTILES = (50.0, 75.0, 95.0, 99.0)
JOBS_PER_KIND = 96
HOURS = 1.5
SAMPLE_S = 14.7
"""Near the 15 s of the source, and no multiple of a period of the model."""

Samples = dict[str, Floats]


def power_samples(
    kinds: Sequence[str], seed: int, jobs: int = JOBS_PER_KIND, hours: float = HOURS
) -> Samples:
    """Sorted GPU watts of each kind of work: `jobs` one-GPU jobs, sampled every 15 s or so."""
    count = len(kinds) * jobs
    nodes = -(-count // 8)
    layout = Layout(
        nodes=(NodePlace(("feed",), "room"),) * nodes,
        feeds=(Feed("feed", nodes * 20_000.0),),
        zones=(Zone("room", 4, nodes * 3_000.0),),
        gpu="a100",
    )
    plant = Plant(layout, seed)
    for at, kind in enumerate(k for k in kinds for _ in range(jobs)):
        if kind != IDLE:
            plant.load([at], WORKLOADS[kind], seed * 100_003 + at)
    plant.step(600.0)
    taken = []
    for _ in range(round(hours * 3600 / SAMPLE_S)):
        plant.step(SAMPLE_S)
        taken.append(plant.power_now_w[:count].copy())
    by_kind = np.array(taken).reshape(len(taken), len(kinds), jobs)
    return {kind: np.sort(by_kind[:, i].ravel()) for i, kind in enumerate(kinds)}


def mixed_quantiles(
    samples: Samples, shares: dict[str, float], percentiles: Sequence[float]
) -> Floats:
    """Quantiles of the weighted union of samples."""
    watts = np.concatenate([samples[kind] for kind in shares])
    weight = np.concatenate(
        [np.full(len(samples[k]), share / len(samples[k])) for k, share in shares.items()]
    )
    order = np.argsort(watts)
    total = np.cumsum(weight[order])
    return np.asarray(np.interp(np.array(percentiles) / 100.0, total / total[-1], watts[order]))
