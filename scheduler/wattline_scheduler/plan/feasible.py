"""Named filters, in order: which nodes could take a task now, and what the others lack."""

from collections.abc import Callable
from dataclasses import dataclass

from wattline_protocol.job import WHOLE_GPU
from wattline_protocol.site import DomainKind
from wattline_scheduler.plan.snapshot import FilterName, Shape
from wattline_scheduler.plan.trial import Trial, is_of_type, suits
from wattline_scheduler.power.rows import counted_mw

GIB = 2**30


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition on a node; `missing` says in words what a refused node lacks."""

    name: FilterName
    passes: Callable[[Trial, int, Shape], bool]
    missing: Callable[[Trial, int, Shape], str]


def refusal(trial: Trial, at: int, shape: Shape) -> Filter | None:
    """The first filter that refuses the node at `at`; None = it fits."""
    trial.evaluations += 1
    for one in FILTERS:
        if not one.passes(trial, at, shape):
            return one
    return None


def feasible(trial: Trial, shape: Shape) -> list[int]:
    """Positions of the nodes that could take one task of `shape` now."""
    return [at for at in range(len(trial.offers)) if refusal(trial, at, shape) is None]


def fits_when_empty(trial: Trial, at: int, shape: Shape) -> bool:
    """Whether the node would do if nothing ran on it; watts are not looked at."""
    offer = trial.offers[at]
    return (
        not offer.closed
        and sum(suits(gpu, shape) for gpu in offer.gpus) >= shape.gpus
        and offer.cpus >= shape.cpus
        and offer.memory_bytes >= shape.memory_bytes
    )


def _is_open(trial: Trial, at: int, shape: Shape) -> bool:
    del shape
    return not trial.offers[at].closed and not trial.is_taken[at]


def _has_type(trial: Trial, at: int, shape: Shape) -> bool:
    return not shape.gpus or any(is_of_type(gpu, shape) for gpu in trial.offers[at].gpus)


def _has_gpu_memory(trial: Trial, at: int, shape: Shape) -> bool:
    return not shape.gpus or any(suits(gpu, shape) for gpu in trial.offers[at].gpus)


def _has_gpus(trial: Trial, at: int, shape: Shape) -> bool:
    if trial.part_for(at, shape) is not None:
        return True
    if len(trial.free[at]) < shape.gpus:
        return False
    return sum(suits(gpu, shape) for gpu in trial.free[at]) >= shape.gpus


def _has_cpus(trial: Trial, at: int, shape: Shape) -> bool:
    return trial.cpus[at] >= shape.cpus


def _has_memory(trial: Trial, at: int, shape: Shape) -> bool:
    return trial.memory[at] >= shape.memory_bytes


def lacking(trial: Trial, at: int, shape: Shape, kind: DomainKind) -> list[tuple[int, int]]:
    """Rows of `kind` without room for the task: (position, missing milliwatts)."""
    needed_mw = trial.needed_mw(at, shape)
    if needed_mw <= 0:
        return []
    rows = trial.snapshot.rows
    return [
        (row, lacks_mw)
        for row, share in trial.snapshot.above[at]
        if rows[row].kind == kind
        and (lacks_mw := counted_mw(needed_mw, share) - trial.room_for(row, shape)) > 0
    ]


def _has_watts(trial: Trial, at: int, shape: Shape) -> bool:
    return not shape.gpus or not lacking(trial, at, shape, "power")


def _has_cooling(trial: Trial, at: int, shape: Shape) -> bool:
    return not shape.gpus or not lacking(trial, at, shape, "cooling")


def _say_state(trial: Trial, at: int, shape: Shape) -> str:
    del shape
    return trial.offers[at].closed or "already has a task of this gang"


def _say_type(trial: Trial, at: int, shape: Shape) -> str:
    present = sorted({gpu.name for gpu in trial.offers[at].gpus}) or ["none"]
    return f"wants {' or '.join(shape.gpu_type) or 'GPUs'}; there: {', '.join(present)}"


def _say_gpu_memory(trial: Trial, at: int, shape: Shape) -> str:
    offer = trial.offers[at]
    if shape.gpu_milli < WHOLE_GPU and not any(gpu.can_share for gpu in offer.gpus):
        return "GPUs that can be shared; there: their compute mode is not the default one"
    most = max((gpu.memory_bytes for gpu in offer.gpus), default=0) * shape.gpu_milli // WHOLE_GPU
    part = "" if shape.gpu_milli == WHOLE_GPU else f"{shape.gpu_milli / WHOLE_GPU:g} of "
    wanted = f"{part}GPUs of {shape.gpu_memory_min_bytes / GIB:.0f} GiB"
    return f"{wanted}; there: the largest has {most / GIB:.0f} GiB"


def _say_gpus(trial: Trial, at: int, shape: Shape) -> str:
    usable = sum(suits(gpu, shape) for gpu in trial.offers[at].gpus)
    if usable < shape.gpus:
        return f"{shape.gpus} GPUs; there: {usable} that suit and work"
    if shape.gpu_milli < WHOLE_GPU:
        most = max((p.free_milli for p in trial.parts[at] if suits(p.gpu, shape)), default=0)
        there = f"at most {most / WHOLE_GPU:g} of one is free" if most else "none is free"
        return f"{shape.gpu_milli / WHOLE_GPU:g} of a GPU; {there}"
    return f"{shape.gpus - sum(suits(g, shape) for g in trial.free[at])} more free GPUs"


def _say_cpus(trial: Trial, at: int, shape: Shape) -> str:
    return f"{shape.cpus - trial.cpus[at]} more free CPUs"


def _say_memory(trial: Trial, at: int, shape: Shape) -> str:
    return f"{(shape.memory_bytes - trial.memory[at]) / GIB:.1f} GiB more free memory"


def _say_power(trial: Trial, at: int, shape: Shape) -> str:
    return _say_lacking(trial, at, shape, "power")


def _say_cooling(trial: Trial, at: int, shape: Shape) -> str:
    return _say_lacking(trial, at, shape, "cooling")


def _say_lacking(trial: Trial, at: int, shape: Shape, kind: DomainKind) -> str:
    lacks = lacking(trial, at, shape, kind)
    rows = trial.snapshot.rows
    return ", ".join(f"{mw / 1_000_000:.2f} kW more in {rows[row].name}" for row, mw in lacks)


FILTERS: tuple[Filter, ...] = (
    Filter("state", _is_open, _say_state),
    Filter("gpu type", _has_type, _say_type),
    Filter("gpu memory", _has_gpu_memory, _say_gpu_memory),
    Filter("gpus", _has_gpus, _say_gpus),
    Filter("cpus", _has_cpus, _say_cpus),
    Filter("memory", _has_memory, _say_memory),
    Filter("watts", _has_watts, _say_power),
    Filter("cooling", _has_cooling, _say_cooling),
)
"""In the order in which they are asked; the first refusal counts."""
