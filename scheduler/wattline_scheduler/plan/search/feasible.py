"""Named filters, in order: the nodes that fit a task now, and what the others lack."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from wattline_protocol.job.spec import WHOLE_GPU
from wattline_protocol.site.labels import labels_text, of_site_file
from wattline_protocol.site.model import DomainKind
from wattline_protocol.text.wording import counted, gib, listed, power_text
from wattline_protocol.wire.agent_messages import GpuInfo
from wattline_scheduler.plan.model import task_request
from wattline_scheduler.plan.model.device_classes import profile_of
from wattline_scheduler.plan.model.node_fit import (
    CONDITIONS,
    Available,
    Condition,
    Truth,
    fits_each,
)
from wattline_scheduler.plan.model.reserved_nodes import ANY_STAY, Stay
from wattline_scheduler.plan.model.shape import Shape
from wattline_scheduler.plan.model.snapshot import FilterName
from wattline_scheduler.plan.model.task_request import FreeOn
from wattline_scheduler.plan.search.trial import Trial
from wattline_scheduler.power.topology.matrix import Bools, Ints
from wattline_scheduler.power.topology.rows import counted_mw


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition on nodes; `missing` describes what a refused node lacks."""

    name: FilterName
    passes: Callable[[Trial, Shape], Truth]
    """[node]"""
    missing: Callable[[Trial, int, Shape], str]


def filters_of(stay: Stay, *, is_alike: bool = False) -> tuple[Filter, ...]:
    """In evaluation order; the first refusal counts. `is_alike`: with texts valid for all stays
    with its key.

    Reservations are checked last, so that a node lacking nothing else reports them; for a gang that
    requests a reservation, other nodes are excluded first.
    """

    def is_inside(trial: Trial, shape: Shape) -> Bools:
        del shape
        reservations = trial.snapshot.reservations
        if reservations is None:
            return np.ones(trial.columns.node_count, np.bool_)
        return ~reservations.outside(stay)

    def passes(trial: Trial, shape: Shape) -> Bools:
        del shape
        barred = trial.barred(stay)
        return np.ones(trial.columns.node_count, np.bool_) if barred is None else ~barred

    def missing(trial: Trial, at: int, shape: Shape) -> str:
        del shape
        reservations = trial.snapshot.reservations
        if reservations is None:
            return ""
        return reservations.why_alike(at, stay) if is_alike else reservations.why(at, stay)

    reserved = Filter("reservation", passes, missing)
    after = (_data_filter(stay), reserved) if stay.data else (reserved,)
    if not stay.reservation:
        return (*FILTERS, *after)
    return (Filter("reservation", is_inside, missing), *FILTERS, *after)


def _data_filter(stay: Stay) -> Filter:
    def passes(trial: Trial, shape: Shape) -> Bools:
        del shape
        return ~trial.lacks_data(stay)

    def missing(trial: Trial, at: int, shape: Shape) -> str:
        del shape
        known = trial.snapshot.data
        return listed([one for one in stay.data if one not in known or not known[one][at]])

    return Filter("data", passes, missing)


def refusing(trial: Trial, shape: Shape, stay: Stay = ANY_STAY) -> Ints:
    """[node] number of the first refusing filter; the number of filters = it fits."""
    passed = np.ones(trial.columns.node_count, np.bool_)
    return _refusing(trial, shape, filters_of(stay), 0, passed)


def fitting_count(trial: Trial, shape: Shape, stay: Stay = ANY_STAY) -> int:
    """Number of nodes that fit."""
    return int((refusing(trial, shape, stay) == len(filters_of(stay))).sum())


def furthest(trial: Trial, shape: Shape, stay: Stay = ANY_STAY) -> Ints:
    """As `refusing`, but nodes other than those that got furthest may have an earlier filter.

    So only the rows are checked if any node passes all node filters.
    """
    passed, filters = np.isfinite(trial.scores(shape).cost), filters_of(stay)
    first = NODE_FILTERS
    if stay.reservation:
        first += 1
        passed = passed & filters[0].passes(trial, shape)
    number = _refusing(trial, shape, filters, first, passed)
    is_told = (number[passed] < len(filters)).any() or passed.sum() >= shape.nodes
    return number if is_told else refusing(trial, shape, stay)


def _refusing(
    trial: Trial, shape: Shape, filters: Sequence[Filter], first: int, passed: Bools
) -> Ints:
    passed, count = passed.copy(), np.where(passed, first, 0)
    for one in filters[first:]:
        passed &= one.passes(trial, shape)
        count += passed
    return count


def fits_when_empty(trial: Trial, shape: Shape) -> Bools:
    """[node] would fit if empty; watts are not checked."""
    return _suits(trial, shape, is_open=trial.columns.is_open)


def may_fit_once(trial: Trial, shape: Shape) -> Bools:
    """[node] would fit if empty and open, or its resources are not known yet."""
    columns, has_labels = trial.columns, task_request.has_labels(trial.columns, shape.labels)
    is_unknown = (columns.cpus == 0) & ~columns.is_open
    may: Bools = _suits(trial, shape, is_open=True) | (is_unknown & has_labels)
    return may


def _suits(trial: Trial, shape: Shape, *, is_open: Truth) -> Bools:
    columns = trial.columns
    when_empty = Available(
        is_open=is_open,
        has_labels=task_request.has_labels(columns, shape.labels),
        gpus=trial.usable(shape),
        cpus=columns.cpus,
        memory_bytes=columns.memory_bytes,
    )
    return np.asarray(fits_each(when_empty, shape), np.bool_)


def _holds(condition: Condition) -> Callable[[Trial, Shape], Truth]:
    def holds(trial: Trial, shape: Shape) -> Truth:
        return CONDITIONS[condition](FreeOn(trial.columns, trial.ask(shape)), shape)

    return holds


def _has_type(trial: Trial, shape: Shape) -> Bools:
    return _has_class(trial, shape, task_request.is_of_type)


def _has_gpu_memory(trial: Trial, shape: Shape) -> Bools:
    return _has_class(trial, shape, task_request.suits)


def _has_class(trial: Trial, shape: Shape, is_wanted: Callable[[GpuInfo, Shape], bool]) -> Bools:
    columns = trial.columns
    if not shape.gpus:
        return np.ones(columns.node_count, np.bool_)
    examples = columns.classes.examples
    wanted = np.array([gpu is not None and is_wanted(gpu, shape) for gpu in examples], np.bool_)
    has_any: Bools = np.logical_or.reduce(wanted[columns.gpu_class], axis=1)
    return has_any


def _has_watts(trial: Trial, shape: Shape) -> Bools:
    return _has_headroom(trial, shape, "power")


def _has_cooling(trial: Trial, shape: Shape) -> Bools:
    return _has_headroom(trial, shape, "cooling")


def _has_headroom(trial: Trial, shape: Shape, kind: DomainKind) -> Bools:
    most = trial.most_mw(shape.priority, kind)[trial.columns.group]
    has_headroom: Bools = trial.scores(shape).needed_mw <= most
    return has_headroom


def lacking(trial: Trial, at: int, shape: Shape, kind: DomainKind) -> list[tuple[int, int]]:
    """Rows of `kind` without headroom for the task: (position, missing milliwatts)."""
    columns, names = trial.columns, trial.snapshot.rows
    needed_mw = int(trial.scores(shape).needed_mw[at])
    headroom_mw = trial.headroom_for(shape.priority)
    group = columns.group[at]
    rows, shares = columns.group_rows[:, group].tolist(), columns.group_share[:, group].tolist()
    return [
        (row, lacks_mw)
        for row, share in zip(rows, shares, strict=True)
        if row < len(names)
        and names[row].kind == kind
        and (lacks_mw := counted_mw(needed_mw, share) - int(headroom_mw[row])) > 0
    ]


def _say_state(trial: Trial, at: int, shape: Shape) -> str:
    del shape
    return trial.snapshot.nodes[at].closed or "already has a task of this gang"


def _say_labels(trial: Trial, at: int, shape: Shape) -> str:
    there = trial.snapshot.nodes[at].labels
    has = labels_text(of_site_file(there)) or "no labels"
    return f"{labels_text(shape.labels - there)}; it has {has}"


def _say_type(trial: Trial, at: int, shape: Shape) -> str:
    gpus = trial.snapshot.nodes[at].gpus
    present = sorted({gpu.name for gpu in gpus}) or ["none"]
    wanted = " or ".join(shape.gpu_type) or "GPUs"
    if shape.mig:
        wanted = f"{' or '.join(shape.gpu_type)} MIG {shape.mig}".strip()
    elif any(map(profile_of, gpus)):
        wanted += " not in MIG mode"
    return f"{wanted}; it has {', '.join(present)}"


def _say_gpu_memory(trial: Trial, at: int, shape: Shape) -> str:
    gpus = trial.snapshot.nodes[at].gpus
    if shape.gpu_milli < WHOLE_GPU and not any(gpu.can_share for gpu in gpus):
        return "sharable GPUs; their compute mode admits one process only"
    most = max((gpu.memory_bytes for gpu in gpus), default=0) * shape.gpu_milli // WHOLE_GPU
    part = "" if shape.gpu_milli == WHOLE_GPU else f"{shape.gpu_milli / WHOLE_GPU:g} of "
    wanted = f"{part}GPUs of {gib(shape.gpu_memory_min_bytes, is_wanted=True)}"
    return f"{wanted}; the largest has {gib(most)}"


def _say_gpus(trial: Trial, at: int, shape: Shape) -> str:
    columns, ask = trial.columns, trial.scores(shape).ask
    suited = int(ask.is_suited[columns.gpu_class[at]].sum())
    if suited < shape.gpus:
        return f"{counted(shape.gpus, 'GPU')}; it has {suited} of that kind in service"
    if shape.gpu_milli < WHOLE_GPU:
        most = int(
            columns.free_milli[at].max(where=ask.is_suited[columns.gpu_class[at]], initial=0)
        )
        there = f"at most {most / WHOLE_GPU:g} of one is free" if most else "none is free"
        return f"{shape.gpu_milli / WHOLE_GPU:g} of a GPU; {there}{_not_offered(trial, at)}"
    free = len(task_request.slots_for(columns, ask, at))
    lacks = shape.gpus - free
    what = f"MIG {shape.mig}" if shape.mig else "GPU"
    return f"{counted(lacks, f'more free {what}')}{_not_offered(trial, at)}"


def _not_offered(trial: Trial, at: int) -> str:
    """The GPUs used by foreign processes or cordoned; the first by name."""
    found = trial.snapshot.nodes[at].not_offered
    others = f", and {len(found) - 1} more withheld" if len(found) > 1 else ""
    return f" ({found[0]}{others})" if found else ""


def _say_cpus(trial: Trial, at: int, shape: Shape) -> str:
    lacks = shape.cpus - trial.columns.cpus_free[at]
    return counted(lacks, "more free CPU")


def _say_memory(trial: Trial, at: int, shape: Shape) -> str:
    lacks_bytes = shape.memory_bytes - trial.columns.memory_free_bytes[at]
    return f"{gib(lacks_bytes, is_wanted=True)} more free memory"


def _say_power(trial: Trial, at: int, shape: Shape) -> str:
    return _say_lacking(trial, at, shape, "power")


def _say_cooling(trial: Trial, at: int, shape: Shape) -> str:
    return _say_lacking(trial, at, shape, "cooling")


def _say_lacking(trial: Trial, at: int, shape: Shape, kind: DomainKind) -> str:
    lacks = lacking(trial, at, shape, kind)
    rows = trial.snapshot.rows
    return ", ".join(
        f"{power_text(mw, is_wanted=True)} more in {rows[row].name}" for row, mw in lacks
    )


FILTERS: tuple[Filter, ...] = (
    Filter("state", _holds("state"), _say_state),
    Filter("labels", _holds("labels"), _say_labels),
    Filter("gpu type", _has_type, _say_type),
    Filter("gpu memory", _has_gpu_memory, _say_gpu_memory),
    Filter("gpus", _holds("gpus"), _say_gpus),
    Filter("cpus", _holds("cpus"), _say_cpus),
    Filter("memory", _holds("memory"), _say_memory),
    Filter("watts", _has_watts, _say_power),
    Filter("cooling", _has_cooling, _say_cooling),
)
"""Filters that depend on the shape only, in order."""

NODE_FILTERS = 7
"""Number of filters that check the node only."""
