"""Re-checks each placement against the current state when it is applied."""

from collections.abc import Sequence

from wattline_protocol.text.wording import counted
from wattline_scheduler.plan.model.reserved_nodes import ANY_STAY, Stay
from wattline_scheduler.plan.model.shape import Shape
from wattline_scheduler.plan.model.snapshot import Placement, TaskPlace
from wattline_scheduler.plan.model.task_request import Ask
from wattline_scheduler.plan.search.feasible import refusal
from wattline_scheduler.plan.search.quota_room import Quotas
from wattline_scheduler.plan.search.trial import Trial
from wattline_scheduler.power.topology.matrix import Bools


def check(
    trial: Trial,
    placement: Placement,
    shape: Shape,
    counts_in: Sequence[int] = (),
    quotas: Quotas | None = None,
    stay: Stay = ANY_STAY,
) -> str:
    """Why the placement can no longer be applied; empty = it can, and is taken in `trial`.

    `counts_in`: the quotas that count it, whose remainders are in `quotas`. `stay`: its access to
    nodes that are, or will be, reserved.
    """
    problem = quotas.breaks(counts_in, shape, placement) if quotas is not None else ""
    problem = problem or _check(trial, placement, shape, stay)
    if not problem and quotas is not None:
        quotas.take(counts_in, shape, placement)
    return problem


def _check(trial: Trial, placement: Placement, shape: Shape, stay: Stay) -> str:
    if len(placement.tasks) != shape.nodes:
        return f"{counted(len(placement.tasks), 'place')} for {counted(shape.nodes, 'task')}"
    mark, barred = trial.checkpoint(), trial.barred(stay)
    for place in placement.tasks:
        problem = _reserved(trial, place, barred, stay) or _take(trial, place, shape)
        if problem:
            trial.rollback(mark)
            return problem
    if shape.same_rack:
        position, rack = trial.snapshot.position, trial.columns.rack
        racks = {rack[position[place.node]] for place in placement.tasks}
        if len(racks) > 1:
            trial.rollback(mark)
            return f"spread over {len(racks)} racks, wanted one"
    trial.finish_gang(mark)
    return ""


def _reserved(trial: Trial, place: TaskPlace, barred: Bools | None, stay: Stay) -> str:
    at, reservations = trial.snapshot.position.get(place.node), trial.snapshot.reservations
    if barred is None or reservations is None or at is None or not barred[at]:
        return ""
    return f"{place.node}: {reservations.why(at, stay)}"


def _take(trial: Trial, place: TaskPlace, shape: Shape) -> str:
    at = trial.snapshot.position.get(place.node)
    if at is None:
        return f"{place.node} is no node of the site"
    if len(set(place.gpus)) != shape.gpus:
        return f"{len(set(place.gpus))} GPUs on {place.node}, wanted {shape.gpus}"
    ask = trial.ask(shape)
    slots = _free_slots(trial, at, ask)
    for index in place.gpus:
        if index not in slots:
            return f"GPU {index} of {place.node} is not free or not suitable"
    task = trial.task(at, [slots[index] for index in place.gpus], ask)
    if not trial.fits(task, shape.priority):
        refused = refusal(trial, at, shape)
        why = f"{refused.name}: {refused.missing(trial, at, shape)}" if refused else "watts"
        return f"{place.node}: {why}"
    trial.take(task)
    return ""


def _free_slots(trial: Trial, at: int, ask: Ask) -> dict[int, int]:
    """The slot of each GPU that the task may use now, by the GPU's own index."""
    columns = trial.columns
    slots = zip(
        columns.gpu_index[at].tolist(),
        columns.gpu_class[at].tolist(),
        columns.free_milli[at].tolist(),
        strict=True,
    )
    return {
        index: slot
        for slot, (index, number, free_milli) in enumerate(slots)
        if free_milli >= ask.milli and ask.suited[number]
    }
