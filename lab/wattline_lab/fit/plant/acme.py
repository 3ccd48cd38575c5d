"""How a fleet divides over kinds of work: GPU power of two clusters (Acme, NSDI 2024).

Each kind of work runs alone on the simulated plant (A100, limit at TDP); the distribution of a
mix is the weighted sum of theirs. Shares are those, none negative and together 1, with the least
squared distance to the published distribution function.
"""

from pathlib import Path

import numpy as np

from wattline_lab.fit.traces import rows
from wattline_sim.facility.plant.constants import MixFit
from wattline_sim.facility.plant.dice import Floats
from wattline_sim.facility.plant.spread import (
    IDLE,
    KINDS,
    PERCENTILES,
    Samples,
    mixed_quantiles,
    power_samples,
)

LEAST = {"serving": 0.10, "light-training": 0.02, "batch": 0.03}
"""Shares of all GPUs that a mix has at least, so that no kind of work is missing from the site;
the rest is fitted around them."""
CLUSTERS = ("seren", "kalos")
PERCENTILE_WEIGHT = 10.0
"""Of each percentile that must be met, against each of 196 points of the whole function."""
SOURCE = "Acme, NSDI 2024 (CC-BY-4.0): GPU power of {} (A100-80GB), August 2023"


def mixes(traces: Path, seed: int = 1) -> list[MixFit]:
    """The mix of each cluster."""
    samples = power_samples((*KINDS, IDLE), seed)
    table = rows(traces / "acme-2023-power-temp" / "cdf.csv.gz")
    fits = []
    for cluster in CLUSTERS:
        mine = [r for r in table if r["quantity"] == f"{cluster}_gpu_power_w"]
        watts = np.array([float(r["value"]) for r in mine])
        percent = np.array([float(r["cdf_pct"]) for r in mine])
        fits.append(_mix(cluster, watts, percent, samples))
    return fits


def _mix(cluster: str, watts: Floats, percent: Floats, samples: Samples) -> MixFit:
    kinds = list(samples)
    percentiles = np.append(np.linspace(2.0, 99.5, 196), PERCENTILES)
    points = np.interp(percentiles, percent, watts)
    target = np.interp(points, watts, percent / 100.0)
    functions = np.array([_cdf(samples[kind], points) for kind in kinds]).T
    weight = np.ones(len(points))
    weight[-len(PERCENTILES) :] = PERCENTILE_WEIGHT
    least = np.array([LEAST.get(kind, 0.0) for kind in kinds])
    free = 1.0 - float(least.sum())
    rest = simplex_least_squares(
        functions * weight[:, None] * free, (target - functions @ least) * weight
    )
    shares = least + free * rest
    found = mixed_quantiles(samples, dict(zip(kinds, shares, strict=True)), PERCENTILES)
    published = np.interp(PERCENTILES, percent, watts)
    return MixFit(
        name=cluster,
        shares={k: round(float(s), 4) for k, s in zip(kinds, shares, strict=True) if k != IDLE},
        percentiles=PERCENTILES,
        published_w=_rounded(published),
        plant_w=_rounded(found),
        error_pct=_rounded(100.0 * (found / published - 1.0)),
        cdf_error_max=round(float(np.abs(functions @ shares - target).max()), 4),
        source=SOURCE.format(cluster.capitalize()),
    )


def _cdf(ordered: Floats, points: Floats) -> Floats:
    return np.asarray(np.searchsorted(ordered, points, side="right") / len(ordered))


def _rounded(values: Floats) -> tuple[float, ...]:
    return tuple(round(float(v), 1) for v in values)


def simplex_least_squares(columns: Floats, target: Floats, rounds: int = 20_000) -> Floats:
    """Weights >= 0 with sum 1 that bring `columns @ weights` nearest to `target`.

    Projected gradient with Nesterov's step (Beck & Teboulle, 2009) on the simplex.
    """
    square, product = columns.T @ columns, columns.T @ target
    step = 1.0 / float(np.linalg.eigvalsh(square)[-1])
    weights = ahead = np.full(columns.shape[1], 1.0 / columns.shape[1])
    pace = 1.0
    for _ in range(rounds):
        fresh = _onto_simplex(ahead - step * (square @ ahead - product))
        quicker = (1.0 + np.sqrt(1.0 + 4.0 * pace * pace)) / 2.0
        ahead = fresh + (pace - 1.0) / quicker * (fresh - weights)
        weights, pace = fresh, quicker
    return weights


def _onto_simplex(point: Floats) -> Floats:
    """The nearest point with no negative entry and sum 1 (Duchi et al., ICML 2008)."""
    falling = np.sort(point)[::-1]
    excess = (np.cumsum(falling) - 1.0) / np.arange(1, len(point) + 1)
    last = int(np.flatnonzero(falling > excess)[-1])
    return np.asarray(np.maximum(point - excess[last], 0.0))
