"""What a replay of a list says."""

from collections.abc import Sequence
from statistics import fmean, stdev

import msgspec

from wattline_lab.replay.openb.run import Curve

AT_PERCENT = 100
"""Where the figures of each seed are taken: as many GPUs have been asked for as there are."""

SHOWN = (5, 10, 14, *range(20, 81, 10), 85, 90, 95, 100, 110, 120, 130)
"""Percents of the curve."""

T_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""Student's t for 95 % on both sides, by degrees of freedom from 1; 1.96 is less than any."""


class SeedFigure(msgspec.Struct, frozen=True):
    """One seed."""

    seed: int
    unallocated_pct: float


class Point(msgspec.Struct, frozen=True):
    """Means over the seeds when so much had arrived."""

    arrived_pct: int
    unallocated_pct: float
    placed_pct: float
    """Of GPUs that arrived (GRAR in the power study)."""
    power_kw: float | None
    """None: no power model."""
    power_saved_pct: float | None
    """Against the other policy."""


class Versus(msgspec.Struct, frozen=True):
    """This policy minus another one, seed by seed, at 100 % arrived."""

    policy: str
    mean_unallocated_pct: float
    mean_difference_pct: float
    ci95_pct: float
    """The mean lies within so much, with 95 % confidence."""
    seeds_better: int


class OpenbReport(msgspec.Struct, frozen=True):
    """Figures of a policy on a list."""

    policy: str
    seeds: list[SeedFigure]
    mean_unallocated_pct: float
    versus: Versus | None
    curve: list[Point]


def report_of(
    policy: str,
    seeds: Sequence[int],
    curves: Sequence[Curve],
    other: tuple[str, Sequence[Curve]] | None,
    *,
    has_watts: bool,
) -> OpenbReport:
    """Figures from the curves of all seeds, and from those of another policy."""
    unallocated = [unallocated_pct(curve, AT_PERCENT) for curve in curves]
    figures = [
        SeedFigure(seed, round(pct, 3)) for seed, pct in zip(seeds, unallocated, strict=True)
    ]
    versus = None if other is None else _versus(other[0], unallocated, other[1])
    others = other[1] if other is not None and has_watts else None
    points = [_point(percent, curves, others, has_watts=has_watts) for percent in SHOWN]
    return OpenbReport(policy, figures, round(fmean(unallocated), 3), versus, points)


def unallocated_pct(curve: Curve, percent: int) -> float:
    """GPUs that nobody holds, of all."""
    return 100.0 - float(curve.at(percent)[1]) / curve.capacity_milli * 100.0


def _versus(policy: str, ours: Sequence[float], curves: Sequence[Curve]) -> Versus:
    theirs = [unallocated_pct(curve, AT_PERCENT) for curve in curves]
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    return Versus(
        policy,
        round(fmean(theirs), 3),
        round(fmean(differences), 3),
        round(half_width(differences), 3),
        sum(difference < 0 for difference in differences),
    )


def half_width(values: Sequence[float]) -> float:
    """Of the 95 % confidence interval of the mean; 0 of a single value."""
    freedom = len(values) - 1
    if freedom < 1:
        return 0.0
    t = T_95[freedom - 1] if freedom <= len(T_95) else 1.96 + 2.72 / freedom
    return float(t * stdev(values) / len(values) ** 0.5)


def _point(
    percent: int, curves: Sequence[Curve], others: Sequence[Curve] | None, *, has_watts: bool
) -> Point:
    power_w = fmean(float(curve.at(percent)[2]) for curve in curves)
    saved = None
    if others is not None:
        saved = 100.0 - 100.0 * power_w / fmean(float(curve.at(percent)[2]) for curve in others)
    placed = [float(curve.at(percent)[1] / curve.at(percent)[0]) for curve in curves]
    return Point(
        percent,
        round(fmean(unallocated_pct(curve, percent) for curve in curves), 3),
        round(100.0 * fmean(placed), 3),
        round(power_w / 1000.0, 3) if has_watts else None,
        None if saved is None else round(saved, 2),
    )
