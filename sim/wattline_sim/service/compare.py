"""A service scaled by watts first, beside the same with fixed caps."""

from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from wattline_scheduler.power.demand.models import curve
from wattline_sim.facility.building import Building, Shape, build
from wattline_sim.facility.plant.catalogue import PREFILL_LEVEL, PREFILL_S_PER_TOKEN
from wattline_sim.facility.simulate import OVERSUBSCRIPTION
from wattline_sim.service.feed import Feed
from wattline_sim.service.fixed import Fixed, replicas_for
from wattline_sim.service.requests import MINUTE_S, Requests, read_requests, scaled
from wattline_sim.service.run import begun
from wattline_sim.service.side import LEAD_S, Progress, Side, judged
from wattline_sim.service.stage import LOAD_S, SLOT_GPUS, Bounds
from wattline_sim.service.step import Step, seconds_to_more
from wattline_sim.service.wattline import Wattline

PEAK, MEAN = 0.8, 0.3
"""Busiest minute and mean of the requests, as shares of the capacity of all replicas."""
SLO_TIMES_ALONE = 5.0
"""SLO over the time that the 95 % quantile of all prompts takes alone, uncapped."""
LEAST_REPLICAS = 2
VOID_BELOW = 0.01
MOST_MISSES, MOST_JOULES, LEAST_TRAINING, MOST_STEP_S = 1 / 3, 0.85, 0.95, 2.0


@dataclass(frozen=True, slots=True)
class Ask:
    """What to run."""

    trace: Path
    nodes: int
    seed: int


class ServiceReport(msgspec.Struct, frozen=True):
    """Both sides, and their ratios."""

    trace: str
    seed: int
    simulated: bool
    gpus: int
    feed_kw: float
    fixed_cap_w: float
    minutes: int
    replicas_least: int
    replicas_most: int
    load_s: float
    slo_p95_s: float
    wattline: Side
    fixed: Side
    joules_per_1000_vs_fixed: float
    slo_misses_vs_fixed: float
    training_vs_fixed: float
    step_to_more_tokens_s: float
    """From a doubled load to a tenth more tokens worked off a second."""
    step_to_more_ability_s: float
    """To a tenth more that the replicas could do: by watts alone."""
    learned_tokens_per_s: float
    """What the scaler took for the capacity of an uncapped replica at the end."""
    true_tokens_per_s: float
    is_void: bool
    """The baseline missed too little to compare with."""
    missed_bars: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Setting:
    """What both sides have in common."""

    building: Building
    lengths: Requests
    requests: Requests
    """With the lead-in."""
    bounds: Bounds
    cap_w: float
    capacity: float
    """Input tokens a second of a replica at that cap."""
    p95_s: float

    @property
    def start_count(self) -> int:
        """Replicas at the start: the baseline's number for the first minute."""
        first = self.requests.by_minute()[0] / MINUTE_S
        return replicas_for(first, self.capacity, self.bounds)

    def fixed(self) -> Fixed:
        """The baseline."""
        return Fixed(Feed(self.building), self.bounds, self.capacity)

    def wattline(self) -> Wattline:
        """The product."""
        model = self.building.layout.gpu_model
        return Wattline(Feed(self.building), model, self.bounds, self.p95_s)


def compare(ask: Ask, progress: Progress) -> ServiceReport:
    """Run both sides. Raises TraceUnusable."""
    setting = setting_of(ask)
    scaling = setting.wattline()
    sides = [
        judged(
            begun(setting.building, setting.requests, ask.seed, one, setting.start_count),
            setting.requests,
            setting.p95_s,
            progress,
        )
        for one in (scaling, setting.fixed())
    ]
    return _report(ask, setting, scaling, (sides[0], sides[1]), _step(ask, setting))


def _step(ask: Ask, setting: Setting) -> Step:
    """The doubled load is twice the mean that the requests are scaled to."""
    rate = MEAN * setting.capacity * setting.bounds.most
    count = replicas_for(rate, setting.capacity, setting.bounds)
    return seconds_to_more(
        setting.building, setting.lengths, setting.wattline(), rate, count, ask.seed
    )


def setting_of(ask: Ask) -> Setting:
    """What the trace is scaled to. Raises TraceUnusable."""
    shape = Shape(nodes=ask.nodes, feed_nodes=ask.nodes / OVERSUBSCRIPTION)
    building = build(shape)
    nothing = np.zeros(building.layout.gpu_count, dtype=np.int64)
    cap_w = float(Feed(building).caps_w(nothing).min())
    capacity = _tokens_per_s(building, cap_w)
    bounds = Bounds(LEAST_REPLICAS, ask.nodes)
    read = read_requests(ask.trace)
    most = capacity * bounds.most
    alone_s = float(np.quantile(read.input_tokens, 0.95)) * PREFILL_S_PER_TOKEN / SLOT_GPUS
    requests = scaled(read, PEAK * most, MEAN * most, ask.seed).after_lead(LEAD_S)
    p95_s = SLO_TIMES_ALONE * alone_s
    return Setting(building, read, requests, bounds, cap_w, capacity, p95_s)


def _tokens_per_s(building: Building, cap_w: float) -> float:
    """Input tokens a second of a replica that does nothing but prefill, at that cap."""
    model = building.layout.gpu_model
    demand_w = model.idle_w + PREFILL_LEVEL * (model.limit_default_w - model.idle_w)
    performance = curve(model.display_name, "prefill").performance(cap_w, demand_w)
    return performance * SLOT_GPUS / PREFILL_S_PER_TOKEN


def _report(
    ask: Ask, setting: Setting, scaling: Wattline, sides: tuple[Side, Side], step: Step
) -> ServiceReport:
    ours, fixed = sides
    is_void = fixed.missed_share < VOID_BELOW
    misses = ours.missed / max(fixed.missed, 1)
    joules = ours.joules_per_1000 / fixed.joules_per_1000
    training = ours.training_gpu_hours / fixed.training_gpu_hours
    site = setting.building.site
    feed = next(domain for domain in site.domains if domain.id == setting.building.top)
    return ServiceReport(
        trace=ask.trace.name,
        seed=ask.seed,
        simulated=True,
        gpus=setting.building.layout.gpu_count,
        feed_kw=round(feed.budget_mw / 1e6, 3),
        fixed_cap_w=round(setting.cap_w, 1),
        minutes=setting.requests.minutes - round(LEAD_S / MINUTE_S) + 1,
        replicas_least=setting.bounds.least,
        replicas_most=setting.bounds.most,
        load_s=LOAD_S,
        slo_p95_s=round(setting.p95_s, 3),
        wattline=ours,
        fixed=fixed,
        joules_per_1000_vs_fixed=round(joules, 4),
        slo_misses_vs_fixed=round(misses, 4),
        training_vs_fixed=round(training, 4),
        step_to_more_tokens_s=step.tokens_s,
        step_to_more_ability_s=step.ability_s,
        learned_tokens_per_s=round(scaling.scaler.rate.constants[0]),
        true_tokens_per_s=round(SLOT_GPUS / PREFILL_S_PER_TOKEN),
        is_void=is_void,
        missed_bars=tuple(_missed(misses, joules, training, step.tokens_s)),
    )


def _missed(misses: float, joules: float, training: float, step_s: float) -> list[str]:
    bars = (
        ("slo_misses_vs_fixed", misses <= MOST_MISSES),
        ("joules_per_1000_vs_fixed", joules <= MOST_JOULES),
        ("training_vs_fixed", training >= LEAST_TRAINING),
        ("step_to_more_tokens_s", step_s <= MOST_STEP_S),
    )
    return [name for name, is_met in bars if not is_met]
