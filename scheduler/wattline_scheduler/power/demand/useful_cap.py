"""The cap below which a job is better paused than run: the knee of its curve, or what it asks for.

Below the knee a result costs more energy the lower the cap, so the watts do more for others. A job
that names a `min_performance` is kept at the cap that its curve says gives that, or paused.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

from wattline_protocol.job.spec import JobSpec
from wattline_protocol.site.wall_power import PERMILLE
from wattline_protocol.wire.agent_messages import GpuInfo
from wattline_scheduler.power.demand.models import (
    HOT_SHARE_PERMILLE,
    Curve,
    Phase,
    curve,
    training_phase,
)

LIGHT_PERMILLE = HOT_SHARE_PERMILLE - 1
MW_PER_W = 1000.0
MW_PER_KW = 1e6


@dataclass(frozen=True, slots=True)
class Need:
    """What a job says of its power; equal needs are interchangeable to the planner."""

    watts_hint_mw: int = 0
    """Expected uncapped draw of a GPU; 0 = nothing said."""
    min_performance_permille: int = 0
    """Share of the uncapped performance that is to be kept; 1000 = never capped; 0 = not said."""
    is_service: bool = False

    @property
    def is_never_capped(self) -> bool:
        """No cap but the GPU's own maximum is ever to bind."""
        return self.min_performance_permille >= PERMILLE


KNOWN_STEP_MW = 10_000
"""What is known of a job is rounded up to this, so that needs stay few."""


def with_known(need: Need, known_mw: int) -> Need:
    """The need of a job that is known to draw no more than `known_mw` (0 = not known)."""
    if not known_mw:
        return need
    rounded_mw = -(-known_mw // KNOWN_STEP_MW) * KNOWN_STEP_MW
    if need.watts_hint_mw and need.watts_hint_mw <= rounded_mw:
        return need
    return replace(need, watts_hint_mw=rounded_mw)


NOTHING_SAID = Need()


def need_of(spec: JobSpec) -> Need:
    """The power part of a job."""
    return Need(
        watts_hint_mw=spec.power.watts_per_gpu * 1000,
        min_performance_permille=round(spec.power.min_performance * PERMILLE),
        is_service=spec.kind == "service",
    )


def phase_of(need: Need, demand_mw: int, cap_max_mw: int) -> Phase:
    """Which of the fitted curves a job follows."""
    return "decode" if need.is_service else training_phase(demand_mw, cap_max_mw)


MAX_ADMISSIONS = 4_096
"""Needs on GPU models of which the answer is remembered; jobs come in few."""


def curve_of(gpu: GpuInfo, demand_mw: int, need: Need) -> Curve:
    """The fitted curve of a job that would draw `demand_mw` on this GPU uncapped."""
    return curve(gpu.name, phase_of(need, demand_mw, gpu.cap_max_mw))


class JobCaps(NamedTuple):
    """Caps of one of a job's GPUs, in GPU milliwatts, overshoot not included."""

    asked_mw: int
    """What its `min_performance` takes; 0 = its user said nothing."""
    keep_mw: int
    """The least at which it is to run at all; no less than `asked_mw`."""


def job_caps(gpu: GpuInfo, demand_mw: int, need: Need, steepness: float = 1.0) -> JobCaps:
    """The caps of a job that would draw `demand_mw` uncapped.

    A job that draws more than its user said is capped: it takes nothing from the others' keeps. So
    none is kept at more than was found for it when it was placed, but for one with a
    `min_performance` that turned out to suffer more from caps than the curve says.
    """
    if need.is_never_capped:
        return JobCaps(gpu.cap_max_mw, gpu.cap_max_mw)
    expected_mw = min(demand_mw, need.watts_hint_mw or gpu.cap_max_mw)
    return _job_caps(curve_of(gpu, expected_mw, need), expected_mw, need, steepness)


def _job_caps(known: Curve, demand_mw: int, need: Need, steepness: float) -> JobCaps:
    asked_mw, knee_mw = 0, demand_mw * known.knee_permille // PERMILLE
    if need.min_performance_permille:
        performance = need.min_performance_permille / PERMILLE
        cap_w = known.cap_for(performance, demand_mw / MW_PER_W, steepness)
        asked_mw = min(int(cap_w * MW_PER_W) + 1, demand_mw)
    return JobCaps(asked_mw, min(max(asked_mw, knee_mw), demand_mw))


def admission_cap_mw(gpu: GpuInfo, need: Need) -> int:
    """The cap that must be found for a job before it is placed: no less than it will be kept at.

    By its expected draw: the user's figure, else the GPU's maximum. A job that turns out to be a
    light one follows another curve, so its keep is looked at too.
    """
    return _admission_mw(gpu.name, gpu.cap_max_mw, need)


@lru_cache(maxsize=MAX_ADMISSIONS)
def _admission_mw(gpu_name: str, cap_max_mw: int, need: Need) -> int:
    if need.is_never_capped:
        return cap_max_mw
    hot_mw = min(need.watts_hint_mw or cap_max_mw, cap_max_mw)
    light_mw = min(hot_mw, cap_max_mw * LIGHT_PERMILLE // PERMILLE)
    return max(
        _job_caps(curve(gpu_name, phase_of(need, mw, cap_max_mw)), mw, need, 1.0).keep_mw
        for mw in (hot_mw, light_mw)
    )


def gain_per_kw(gpu: GpuInfo, demand_mw: int, need: Need, steepness: float = 1.0) -> float:
    """Performance per kW just below the demand, in 1/kW of the uncapped performance."""
    if demand_mw <= 0:
        return 0.0
    return curve_of(gpu, demand_mw, need).slope_at_demand * steepness * MW_PER_KW / demand_mw
