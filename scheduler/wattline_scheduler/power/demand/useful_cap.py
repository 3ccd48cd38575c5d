"""The useful cap: the knee of a job's curve, or its required performance; below it, pause.

Below the knee the energy per result rises as the cap falls, so the watts do more for other jobs. A
job with a `min_performance` gets the cap that gives it according to its curve, or is paused.
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
    """The power requirements of a job; equal needs are interchangeable to the planner."""

    watts_hint_mw: int = 0
    """Expected uncapped draw of a GPU; 0 = not specified."""
    min_performance_permille: int = 0
    """Minimum share of the uncapped performance; 1000 = never capped; 0 = not specified."""
    is_service: bool = False

    @property
    def is_never_capped(self) -> bool:
        """Whether no cap below the GPU's maximum may bind."""
        return self.min_performance_permille >= PERMILLE


MAX_ADMISSIONS = 4_096
"""Cached admission caps per need and GPU model; jobs have few distinct needs."""

KNOWN_STEP_MW = 10_000
"""The known draw of a job is rounded up to a multiple of this, so that needs stay few."""


def with_known(need: Need, known_mw: int) -> Need:
    """The need of a job known to draw at most `known_mw` (0 = unknown)."""
    if not known_mw:
        return need
    rounded_mw = -(-known_mw // KNOWN_STEP_MW) * KNOWN_STEP_MW
    if need.watts_hint_mw and need.watts_hint_mw <= rounded_mw:
        return need
    return _with_hint(need, rounded_mw)


@lru_cache(maxsize=MAX_ADMISSIONS)
def _with_hint(need: Need, watts_hint_mw: int) -> Need:
    return replace(need, watts_hint_mw=watts_hint_mw)


NOTHING_SAID = Need()


def need_of(spec: JobSpec) -> Need:
    """The power part of a job specification."""
    return Need(
        watts_hint_mw=spec.power.watts_per_gpu * 1000,
        min_performance_permille=round(spec.power.min_performance * PERMILLE),
        is_service=spec.kind == "service",
    )


def phase_of(need: Need, demand_mw: int, cap_max_mw: int) -> Phase:
    """The fitted curve that a job follows."""
    return "decode" if need.is_service else training_phase(demand_mw, cap_max_mw)


def curve_of(gpu: GpuInfo, demand_mw: int, need: Need) -> Curve:
    """The fitted curve of a job that would draw `demand_mw` on this GPU uncapped."""
    return curve(gpu.name, phase_of(need, demand_mw, gpu.cap_max_mw))


class JobCaps(NamedTuple):
    """Caps of one of a job's GPUs, in GPU milliwatts, overshoot not included."""

    asked_mw: int
    """Cap for its `min_performance`; 0 = not specified."""
    useful_mw: int
    """Useful cap, the minimum for running; no less than `asked_mw`."""


def job_caps(gpu: GpuInfo, demand_mw: int, need: Need, steepness: float = 1.0) -> JobCaps:
    """The caps of a job that would draw `demand_mw` uncapped.

    A job that draws more than its user declared is capped: it takes nothing from the useful caps of
    others. So no job's useful cap exceeds the watts admitted at its placement, except for one with
    a `min_performance` that suffers more from caps than the curve predicts.
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
    """The cap to admit before a job is placed: no less than its later useful cap.

    By its expected draw: the user's figure, else the GPU's maximum. A job that turns out to be
    light follows another curve, so the useful cap on that curve is checked too.
    """
    return _admission_mw(gpu.name, gpu.cap_max_mw, need)


@lru_cache(maxsize=MAX_ADMISSIONS)
def _admission_mw(gpu_name: str, cap_max_mw: int, need: Need) -> int:
    if need.is_never_capped:
        return cap_max_mw
    hot_mw = min(need.watts_hint_mw or cap_max_mw, cap_max_mw)
    light_mw = min(hot_mw, cap_max_mw * LIGHT_PERMILLE // PERMILLE)
    return max(
        _job_caps(curve(gpu_name, phase_of(need, mw, cap_max_mw)), mw, need, 1.0).useful_mw
        for mw in (hot_mw, light_mw)
    )


def gain_per_kw(gpu: GpuInfo, demand_mw: int, need: Need, steepness: float = 1.0) -> float:
    """Performance per kW just below the demand, in 1/kW of the uncapped performance."""
    if demand_mw <= 0:
        return 0.0
    return curve_of(gpu, demand_mw, need).slope_at_demand * steepness * MW_PER_KW / demand_mw
