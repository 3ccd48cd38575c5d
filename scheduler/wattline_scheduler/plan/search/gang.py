"""All-or-nothing placement of a gang: tried on a Trial, rolled back if a task does not fit."""

from collections.abc import Sequence

import numpy as np

from wattline_scheduler.plan.model.shape import Shape
from wattline_scheduler.plan.model.snapshot import TaskPlace
from wattline_scheduler.plan.search.trial import Trial
from wattline_scheduler.power.topology.matrix import Bools, Floats, Ints

Places = tuple[TaskPlace, ...]


def place_gang(
    trial: Trial, shape: Shape, replicas: Sequence[int] = (), barred: Bools | None = None
) -> Places | None:
    """Places for all tasks by rank, already taken in the trial; None and nothing taken otherwise.

    Of a range of nodes as many as fit, at least `shape.nodes`.

    Greedy: each task goes to the best remaining node. With `same_rack` the racks are tried in turn,
    the one with the fewest suitable nodes first, so that larger racks stay whole. `replicas`: nodes
    with others of the same service, which are kept apart where that costs little. `barred`: [node]
    excluded.
    """
    if shape.most_nodes == 1 and not replicas:
        place = trial.place_best(shape, barred)
        return (place,) if place is not None else None
    if not shape.same_rack or shape.most_nodes == 1:
        return _place(trial, shape, replicas, None, barred)
    for rack in racks_for(trial, shape, barred):
        places = _place(trial, shape, replicas, trial.columns.rack != rack, barred)
        if places is not None:
            return places
    return None


def racks_for(trial: Trial, shape: Shape, barred: Bools | None = None) -> list[int]:
    """Racks with enough suitable nodes, the one with the fewest first; for a range of nodes, of
    those in which it is largest."""
    fits_on = np.isfinite(trial.costs(shape))
    fitting = np.flatnonzero(fits_on if barred is None else fits_on & ~barred)
    racks, first, count = np.unique(
        trial.columns.rack[fitting], return_index=True, return_counts=True
    )
    order = np.lexsort((first, count, -np.minimum(count, shape.most_nodes)))
    return [int(rack) for rack in racks[order[count[order] >= shape.nodes]]]


def _place(
    trial: Trial,
    shape: Shape,
    replicas: Sequence[int],
    elsewhere: Bools | None,
    barred: Bools | None,
) -> Places | None:
    mark = trial.checkpoint()
    places = place_most(trial, shape, replicas, elsewhere, barred)
    if len(places) < shape.nodes:
        trial.rollback(mark)
        return None
    trial.finish_gang(mark)
    return places


def place_most(
    trial: Trial,
    shape: Shape,
    replicas: Sequence[int] = (),
    elsewhere: Bools | None = None,
    barred: Bools | None = None,
) -> Places:
    """Place tasks until one does not fit. `elsewhere`: nodes of other racks."""
    taken: list[int] = []
    places: list[TaskPlace] = []
    while len(places) < shape.most_nodes:
        costs = trial.costs(shape)
        if barred is not None:
            costs[barred] = np.inf
        if elsewhere is not None:
            costs[elsewhere] = np.inf
        elif shape.most_nodes > 1:
            _together(trial, costs, shape.most_nodes - len(places), taken)
        if replicas:
            costs += trial.weights.spread * _beside(trial, [*replicas])
        at = int(costs.argmin())
        if costs[at] == np.inf:
            break
        places.append(trial.place(at, shape))
        taken.append(at)
    return tuple(places)


def _together(trial: Trial, costs: Floats, left: int, taken: list[int]) -> None:
    """Lower the cost of racks that can take the rest of the gang, and of racks it already uses."""
    rack = trial.columns.rack
    fitting = np.bincount(rack[np.isfinite(costs)], minlength=int(rack.max()) + 1)
    costs[(fitting >= left)[rack]] -= trial.weights.locality
    if taken:
        costs[rack == rack[taken[-1]]] -= trial.weights.locality


def _beside(trial: Trial, replicas: list[int]) -> Ints:
    """[node] number of replicas in its rack, those on the node itself counted twice."""
    rack = trial.columns.rack
    count: Ints = np.bincount(rack[replicas], minlength=int(rack.max()) + 1)[rack]
    return count + np.bincount(replicas, minlength=len(rack))


def either(one: Bools | None, other: Bools | None) -> Bools | None:
    """[node] barred by any of them; None: no node is."""
    if one is None or other is None:
        return one if other is None else other
    return one | other
