"""What a job asks of its GPUs over time, as a process that a seed makes concrete.

A workload is a set of states (set-up, iterating, checkpoint, evaluation, idle gap …) that follow
each other at random. Inside a state the draw swings between a busy and a slack level once a
period: the compute and the all-reduce part of a training iteration. A service follows requests
instead. Levels are shares of the range between a GPU's idle draw and its TDP, so that a workload
fits every model; above 1 means more than TDP allows.

Clocks: a training or batch job advances by the work it does, so that a capped job stays longer in
the same iteration; states with `align_s` and services follow the wall clock.
"""

from dataclasses import dataclass

PHASES = ("training_hot", "training_light", "prefill", "decode", "slack")
"""What bounds the work, and so how performance follows a cap (the phases of the fitted curves);
`slack` is set-up, saving, waiting: next to nothing to cap."""


class WorkloadError(ValueError):
    """A workload that contradicts itself; the message says how."""


@dataclass(frozen=True, slots=True)
class State:
    """One state; durations are log-normal with mean `mean_s` and shape `spread`.

    `following` gives (state name, weight); with `align_s` the state ends at the next multiple of
    it on the plant's clock, so that many jobs change state in the same instant.
    """

    name: str
    phase: str
    high: float
    low: float
    period_s: float = 1.0
    busy_share: float = 1.0
    mean_s: float = 600.0
    spread: float = 0.5
    following: tuple[tuple[str, float], ...] = ()
    align_s: float = 0.0
    gpu_percent: int = 99


@dataclass(frozen=True, slots=True)
class Service:
    """An inference replica under a stream of requests, per GPU of the replica.

    Prefill is work that queues; decode holds sequences for `decode_s` each. `decode_levels` is
    (sequences per GPU, level). The rate swings over the day by ±`daily` around its mean, highest
    at `peak_hour`, and over minutes by a log-normal factor of shape `burst`; `load_spread` is the
    shape of a whole replica's share of the traffic.
    """

    requests_per_s: float
    prefill_s: float
    prefill_spread: float
    decode_s: float
    decode_levels: tuple[tuple[float, float], ...]
    prefill_level: float
    daily: float = 0.4
    peak_hour: float = 15.0
    burst: float = 0.3
    load_spread: float = 0.0


@dataclass(frozen=True, slots=True)
class Workload:
    """A named process. `level_spread` is the log-normal shape of a whole job's level; in a
    `synchronous` gang all GPUs go at the pace of the slowest."""

    name: str
    states: tuple[State, ...]
    level_spread: float = 0.0
    synchronous: bool = True
    service: Service | None = None

    def __post_init__(self) -> None:
        names = {state.name for state in self.states}
        if not self.states:
            raise WorkloadError(f"workload {self.name!r} needs at least one state")
        for state in self.states:
            if state.phase not in PHASES:
                raise WorkloadError(
                    f"{self.name}.{state.name}: phase {state.phase!r} is not one of {PHASES}"
                )
            for name, _ in state.following:
                if name not in names:
                    raise WorkloadError(f"{self.name}.{state.name}: no state {name!r} to follow")
            if not state.following and state.align_s == 0.0 and len(self.states) > 1:
                raise WorkloadError(f"{self.name}.{state.name}: says no state that follows")
