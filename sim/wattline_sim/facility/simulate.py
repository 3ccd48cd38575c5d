"""A scenario under a policy, and what it is compared with."""

from collections.abc import Callable
from dataclasses import dataclass

from wattline_sim.facility.building import Building, Shape, build
from wattline_sim.facility.judging.report import FacilityReport
from wattline_sim.facility.judging.score import quantiles
from wattline_sim.facility.plant.population import POPULATIONS
from wattline_sim.facility.policies import Policy, Static, Wattline
from wattline_sim.facility.replay import Replay
from wattline_sim.facility.run import Facility, Progress, Size
from wattline_sim.facility.scenarios import SCENARIOS, Scenario
from wattline_sim.facility.threshold import Threshold

POLICIES: dict[str, Callable[[], Policy]] = {
    Wattline.name: Wattline,
    Static.name: Static,
    Threshold.name: Threshold,
}
OVERSUBSCRIPTION = 1.5
"""Default fleet over what its feed allows at TDP."""
TAKEN_BACK = frozenset({"gang_paused", "gang_preempted"})


@dataclass(frozen=True, slots=True)
class Ask:
    """What to run."""

    scenario: str
    policy: str
    nodes: int
    size: Size
    feed_nodes: float | None = None
    """How many nodes the feed allows at TDP; None: the fleet over `OVERSUBSCRIPTION`."""
    gpu: str = "h100"
    replay: Replay | None = None
    """Real series to use in place of the fitted ones."""


def simulate(
    ask: Ask,
    progress: Progress,
    *,
    versus_static: bool = True,
    watch: Callable[[Facility], None] | None = None,
) -> FacilityReport:
    """Run it, and `static` on the same fleet, jobs and seed to compare with.

    `watch` looks on at the run itself every simulated second.
    """
    scenario = SCENARIOS[ask.scenario]
    building = _building(ask, scenario)
    is_static = ask.policy == "static"
    share = 1.0 if is_static or not versus_static else 0.6
    facility = _run(ask, ask.policy, building, scenario, lambda done: progress(done * share), watch)
    ratio = 1.0 if is_static else None
    if versus_static and not is_static:
        other = _run(
            ask, "static", building, scenario, lambda done: progress(share + done * (1 - share))
        )
        ratio = facility.score.gpu_hours / other.score.gpu_hours
    return report(ask, building, facility, ratio)


def _building(ask: Ask, scenario: Scenario) -> Building:
    return build(
        Shape(
            nodes=ask.nodes,
            feed_nodes=ask.feed_nodes or ask.nodes / OVERSUBSCRIPTION,
            gpu=ask.gpu,
            weather=ask.replay.weather(scenario.weather) if ask.replay else scenario.weather,
            is_redundant=scenario.is_redundant,
        )
    )


def _run(
    ask: Ask,
    policy: str,
    building: Building,
    scenario: Scenario,
    progress: Progress,
    watch: Callable[[Facility], None] | None = None,
) -> Facility:
    facility = Facility(
        building, POLICIES[policy](), POPULATIONS[scenario.population](ask.size.seed), ask.size
    )
    if ask.replay:
        facility.plant.replay_requests(ask.replay.request_rates)
    facility.run(scenario.begin, progress, watch)
    return facility


def report(
    ask: Ask, building: Building, facility: Facility, versus_static: float | None
) -> FacilityReport:
    """What a finished run has shown."""
    score, plant = facility.score, facility.plant
    top = next(d for d in building.site.domains if d.id == building.top)
    return FacilityReport(
        scenario=ask.scenario,
        policy=ask.policy,
        nodes=ask.nodes,
        hours=ask.size.hours,
        seed=ask.size.seed,
        simulated=True,
        replayed=ask.replay is not None,
        gpus=facility.building.layout.gpu_count,
        budget_kw=round(top.budget_mw / 1e6, 3),
        throughput=round(score.gpu_hours, 3),
        throughput_vs_static=None if versus_static is None else round(versus_static, 4),
        slowdown=score.slowdown(),
        seconds_over_budget=round(score.seconds_over, 1),
        seconds_over_lowered_budget=round(score.seconds_over_lowered, 1),
        max_overshoot_pct=round(100.0 * max(0.0, score.max_overshoot), 3),
        trips=facility.trips,
        hw_throttle_events=plant.hw_throttle_events,
        sw_throttle_events=plant.sw_throttle_events,
        max_gpu_temp_c=round(score.max_temp_c, 1),
        max_inlet_c=round(score.max_inlet_c, 1),
        stranded_pct=round(score.stranded_pct, 2),
        shed_to_enforced_s=quantiles(score.enforced_s),
        preempted=_preempted(facility),
        violations=tuple(facility.watch.violations),
        speed=round(facility.now_s / facility.stopwatch.elapsed_s, 1),
        profile=facility.stopwatch.shares(),
    )


def _preempted(facility: Facility) -> int:
    counts = facility.office.disk.event_counts
    return sum(counts.get(kind, 0) for kind in TAKEN_BACK)
