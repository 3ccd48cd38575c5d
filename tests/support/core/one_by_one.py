"""What `plan/check` decides with arrays, decided for one gang, task by task and GPU by GPU."""

from collections.abc import Sequence

from wattline_scheduler.plan.model.columns import NO_CLASS
from wattline_scheduler.plan.model.reserved_nodes import ANY_STAY, Stay
from wattline_scheduler.plan.model.shape import Shape
from wattline_scheduler.plan.model.snapshot import Placement, TaskPlace
from wattline_scheduler.plan.search.quota_headroom import Quotas
from wattline_scheduler.plan.search.trial import Trial


def takes(
    trial: Trial,
    placement: Placement,
    shape: Shape,
    counts_in: Sequence[int] = (),
    quotas: Quotas | None = None,
    stay: Stay = ANY_STAY,
) -> bool:
    """Whether the gang may start there; it is then taken in `trial` and `quotas`."""
    if quotas is not None and quotas.breaks(counts_in, shape, placement):
        return False
    mark, barred, position = trial.checkpoint(), trial.barred(stay), trial.snapshot.position
    nodes = [position[place.node] for place in placement.tasks]
    is_right = (
        shape.nodes <= len(nodes) <= shape.most_nodes
        and (barred is None or not barred[nodes].any())
        and not (shape.same_rack and len(set(trial.columns.rack[nodes].tolist())) > 1)
        and all(_takes_task(trial, place, shape) for place in placement.tasks)
    )
    if not is_right:
        trial.rollback(mark)
        return False
    trial.finish_gang(mark)
    if quotas is not None:
        quotas.take(counts_in, shape, placement)
    return True


def _takes_task(trial: Trial, place: TaskPlace, shape: Shape) -> bool:
    at, ask, columns = trial.snapshot.position[place.node], trial.ask(shape), trial.columns
    slots = {
        int(columns.gpu_index[at, slot]): slot
        for slot, number in enumerate(columns.gpu_class[at].tolist())
        if number != NO_CLASS and ask.suited[number] and columns.free_milli[at, slot] >= ask.milli
    }
    if len(place.gpus) != shape.gpus or not slots.keys() >= set(place.gpus):
        return False
    task = trial.task(at, [slots[index] for index in place.gpus], ask)
    is_right = (
        columns.is_open[at]
        and ask.labels <= trial.snapshot.nodes[at].labels
        and (not ask.cpus or columns.cpus_free[at] >= ask.cpus)
        and (not ask.memory_bytes or columns.memory_free_bytes[at] >= ask.memory_bytes)
        and trial.has_watts(task, shape.priority)
    )
    if is_right:
        trial.take(task)
    return bool(is_right)
