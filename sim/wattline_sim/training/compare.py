"""Wattline beside fixed caps in the same weeks, and Wattline without one of its parts at a time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean

import msgspec

from wattline_scheduler.power.demand.models import node_model
from wattline_sim.facility.building import Building, Shape, build
from wattline_sim.training.feed import Feed
from wattline_sim.training.kinds import GPU, GPUS_PER_NODE, Kind, pace
from wattline_sim.training.run import Policy, Run, Side
from wattline_sim.training.week import week

LEAST_STEPS_PER_KWH, MOST_RECOMPUTED_PCT = 1.25, 0.3
"""Bars."""

Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Ask:
    """What to run."""

    seeds: int
    days: float
    feed: float
    """Contract of the feed, as a share of what the nodes may draw."""
    min_performance: float = 0.0


class Without(msgspec.Struct, frozen=True):
    """Wattline without a part."""

    useful_steps_per_kwh_vs_fixed: float
    recomputed_pct: float


class Ablations(msgspec.Struct, frozen=True):
    """Each removes one part."""

    caps: Without
    """Fixed caps, as the baseline's."""
    goal: Without
    """Caps by the allocator, but for throughput: no `power.goal`."""
    interval: Without
    """A save every half hour."""
    forecast: Without
    """No save before an interruption that is known."""
    freeze: Without
    """Pauses stop a gang, which restarts from its newest save."""


class Seed(msgspec.Struct, frozen=True):
    """Both sides of one week."""

    seed: int
    useful_steps_per_kwh_vs_fixed: float
    node_failures: int
    preemptions: int
    wattline: Side
    fixed: Side


class TrainingReport(msgspec.Struct, frozen=True):
    """Means over the seeds. A step is a second of work of an uncapped GPU."""

    simulated: bool
    gpus: int
    days: float
    feed_share: float
    feed_kw: float
    fixed_cap_w: int
    min_performance: float
    useful_steps_per_kwh_vs_fixed: float
    """At the wall: hosts, idle and lost nodes included."""
    useful_steps_per_gpu_kwh_vs_fixed: float
    """By the energy of the GPUs alone."""
    useful_steps_vs_fixed: float
    """What the energy costs in speed."""
    recomputed_pct: float
    fixed_recomputed_pct: float
    ablations: Ablations
    caps_alone_at_best: float
    """Steps per kWh of the best cap of each gang over those of the fixed cap, without any event: no
    policy of caps can do more at this feed."""
    seeds: tuple[Seed, ...]
    missed_bars: tuple[str, ...]


_FIXED = Policy("fixed", has_interval=False, has_forecast=False, freezes=False)


def compare(ask: Ask, progress: Progress) -> TrainingReport:
    """Run all seeds of all policies."""
    full = Policy(min_performance=ask.min_performance)
    policies = {
        "wattline": full,
        "fixed": _FIXED,
        "caps": replace(full, caps="fixed"),
        "goal": replace(full, caps="throughput"),
        "interval": replace(full, has_interval=False),
        "forecast": replace(full, has_forecast=False),
        "freeze": replace(full, freezes=False),
    }
    weeks = {seed: week(seed, ask.days) for seed in range(1, ask.seeds + 1)}
    nodes = next(iter(weeks.values())).nodes
    building = build(Shape(nodes=nodes, feed_nodes=nodes * ask.feed))
    sides: dict[str, list[Side]] = {name: [] for name in policies}
    for done, one in enumerate(weeks.values()):
        for at, (name, policy) in enumerate(policies.items()):
            sides[name].append(Run(one, building, policy).finish())
            progress((done + (at + 1) / len(policies)) / ask.seeds)
    fixed = sides["fixed"]
    seeds = tuple(
        Seed(
            seed=seed,
            useful_steps_per_kwh_vs_fixed=round(_vs(ours, base), 4),
            node_failures=len(one.faults),
            preemptions=len(one.preemptions),
            wattline=ours,
            fixed=base,
        )
        for (seed, one), ours, base in zip(weeks.items(), sides["wattline"], fixed, strict=True)
    )
    without = {name: _without(sides[name], fixed) for name in Ablations.__struct_fields__}
    return _report(ask, building, seeds, Ablations(**without))


def _report(
    ask: Ask, building: Building, seeds: tuple[Seed, ...], ablations: Ablations
) -> TrainingReport:
    cap_w = Feed(building, _FIXED.caps, 0.0).fixed_mw // 1_000
    steps_per_kwh = fmean(one.useful_steps_per_kwh_vs_fixed for one in seeds)
    recomputed_pct = fmean(one.wattline.recomputed_pct for one in seeds)
    bars = (
        ("useful_steps_per_kwh_vs_fixed", steps_per_kwh >= LEAST_STEPS_PER_KWH),
        ("recomputed_pct", recomputed_pct <= MOST_RECOMPUTED_PCT),
    )
    top = next(one for one in building.site.domains if one.id == building.top)
    return TrainingReport(
        simulated=True,
        gpus=building.layout.gpu_count,
        days=ask.days,
        feed_share=ask.feed,
        feed_kw=round(top.budget_mw / 1e6, 1),
        fixed_cap_w=cap_w,
        min_performance=ask.min_performance,
        useful_steps_per_kwh_vs_fixed=round(steps_per_kwh, 4),
        useful_steps_per_gpu_kwh_vs_fixed=round(
            fmean(one.wattline.steps_per_gpu_kwh / one.fixed.steps_per_gpu_kwh for one in seeds), 4
        ),
        useful_steps_vs_fixed=round(
            fmean(one.wattline.useful_gpu_hours / one.fixed.useful_gpu_hours for one in seeds), 4
        ),
        recomputed_pct=round(recomputed_pct, 4),
        fixed_recomputed_pct=round(fmean(one.fixed.recomputed_pct for one in seeds), 4),
        ablations=ablations,
        caps_alone_at_best=round(caps_at_best(cap_w), 4),
        seeds=seeds,
        missed_bars=tuple(name for name, is_met in bars if not is_met),
    )


def _vs(ours: Side, fixed: Side) -> float:
    return ours.steps_per_kwh / fixed.steps_per_kwh


def _without(sides: list[Side], fixed: list[Side]) -> Without:
    ratios = (_vs(ours, base) for ours, base in zip(sides, fixed, strict=True))
    recomputed_pct = fmean(side.recomputed_pct for side in sides)
    return Without(round(fmean(ratios), 4), round(recomputed_pct, 4))


def caps_at_best(fixed_cap_w: int) -> float:
    """Gain in steps per joule of the fleet by the best cap of each gang, over the fixed one.

    The quotient of two sums is at its maximum where the sum of `rate - maximum x watts` is at its
    own (Dinkelbach 1967).
    """
    kinds = [job.kind for job in week(seed=1, days=1.0).jobs for _ in job.nodes]
    caps_w = range(GPU.limit_min_w, GPU.limit_max_w + 1)
    first = best = _steps_per_joule(dict.fromkeys(kinds, fixed_cap_w), kinds)
    while True:
        caps = {kind: max(caps_w, key=partial(_gain, kind, best)) for kind in dict.fromkeys(kinds)}
        found = _steps_per_joule(caps, kinds)
        if found <= best * (1 + 1e-9):
            return best / first
        best = found


def _gain(kind: Kind, steps_per_joule: float, cap_w: int) -> float:
    return pace(kind, cap_w).rate - steps_per_joule * _wall_w(kind, cap_w)


def _steps_per_joule(caps_w: Mapping[Kind, int], kinds: Sequence[Kind]) -> float:
    rate = sum(pace(kind, caps_w[kind]).rate for kind in kinds)
    return rate / sum(_wall_w(kind, caps_w[kind]) for kind in kinds)


def _wall_w(kind: Kind, cap_w: int) -> float:
    """A GPU at work, its share of the host included."""
    model = node_model(GPU.display_name)
    host_w = (model.base_w + model.cpu_w) / GPUS_PER_NODE
    return (host_w + pace(kind, cap_w).watts) / model.psu_efficiency
