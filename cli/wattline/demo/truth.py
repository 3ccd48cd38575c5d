"""Judges the budgets by the simulator's own record of power, not by Wattline's measurements."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from wattline_sim.truth import TruthSample

GRACE_S = 1.0
"""How long a lowered budget may be exceeded (I4); reported separately."""

SECOND_S = 1.0
ROUNDING_W = 0.01


@dataclass(frozen=True, slots=True)
class BudgetChange:
    """From `mono_s` on, the budget is `budget_w`."""

    mono_s: float
    budget_w: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one domain met its budget, in seconds and watts at the wall."""

    seconds: int
    """How many seconds were judged."""
    peak_w: float
    over_s: float
    over_after_shed_s: float
    worst_over_w: float


def domain_seconds(
    samples: Mapping[str, Iterable[TruthSample]], members: Sequence[str]
) -> dict[float, float]:
    """Wall watts of a domain by the end of each second for which all its nodes have a record."""
    by_second: dict[float, dict[str, float]] = defaultdict(dict)
    for node in members:
        for sample in samples[node]:
            by_second[sample.monotonic_s][node] = sample.wall_w
    return {
        end_s: sum(watts.values())
        for end_s, watts in sorted(by_second.items())
        if len(watts) == len(members)
    }


def judge(seconds_w: Mapping[float, float], budget: Sequence[BudgetChange]) -> Verdict:
    """Compare 1 s averages with the budget in force, averaged over the same second.

    `budget` is in order of time and its first entry applies from the beginning.
    """
    over_s = after_s = worst_w = 0.0
    for end_s, drawn_w in seconds_w.items():
        allowed_w = mean_budget_w(budget, end_s - SECOND_S, end_s)
        excess_w = drawn_w - allowed_w
        if excess_w <= ROUNDING_W:
            continue
        worst_w = max(worst_w, excess_w)
        grace_s = _grace_overlap_s(budget, end_s - SECOND_S, end_s)
        if grace_s > 0.0:
            after_s += grace_s
        else:
            over_s += SECOND_S
    return Verdict(
        seconds=len(seconds_w),
        peak_w=max(seconds_w.values(), default=0.0),
        over_s=over_s,
        over_after_shed_s=after_s,
        worst_over_w=worst_w,
    )


def mean_budget_w(budget: Sequence[BudgetChange], start_s: float, end_s: float) -> float:
    """The budget's mean from `start_s` to `end_s`."""
    total = 0.0
    for place, change in enumerate(budget):
        since_s = start_s if place == 0 else max(start_s, change.mono_s)
        until_s = budget[place + 1].mono_s if place + 1 < len(budget) else end_s
        total += change.budget_w * max(0.0, min(end_s, until_s) - since_s)
    return total / (end_s - start_s)


def _grace_overlap_s(budget: Sequence[BudgetChange], start_s: float, end_s: float) -> float:
    """Seconds between the two that are within the grace time after a lowering."""
    overlap_s = 0.0
    for before, change in pairwise(budget):
        if change.budget_w < before.budget_w:
            grace_end_s = change.mono_s + GRACE_S
            overlap_s += max(0.0, min(end_s, grace_end_s) - max(start_s, change.mono_s))
    return overlap_s
