"""All tasks of a gang or none: tried on a Trial, taken back when one does not fit."""

from wattline_scheduler.plan.feasible import feasible, refusal
from wattline_scheduler.plan.rank import best
from wattline_scheduler.plan.snapshot import Shape, TaskPlace
from wattline_scheduler.plan.trial import Trial


def place_gang(trial: Trial, shape: Shape) -> tuple[TaskPlace, ...] | None:
    """Places for all tasks by rank, already taken in `trial`; None and nothing taken if not all.

    Greedy: each task goes to the best node left. With `same_rack` the racks are tried in turn,
    the one with the fewest suitable nodes first, so that larger racks stay whole.
    """
    candidates = feasible(trial, shape)
    if len(candidates) < shape.nodes:
        return None
    if not shape.same_rack or shape.nodes == 1:
        return _place_among(trial, candidates, shape)
    for rack in _racks(trial, candidates, shape.nodes):
        places = _place_among(trial, rack, shape)
        if places is not None:
            return places
    return None


def _racks(trial: Trial, candidates: list[int], nodes: int) -> list[list[int]]:
    by_rack: dict[str, list[int]] = {}
    for at in candidates:
        by_rack.setdefault(trial.offers[at].rack, []).append(at)
    return sorted((r for r in by_rack.values() if len(r) >= nodes), key=lambda r: (len(r), r))


def _place_among(trial: Trial, candidates: list[int], shape: Shape) -> tuple[TaskPlace, ...] | None:
    mark = trial.checkpoint()
    places: list[TaskPlace] = []
    left = candidates
    while len(places) < shape.nodes:
        if places:
            left = [at for at in left if refusal(trial, at, shape) is None]
        if len(places) + len(left) < shape.nodes:
            trial.rollback(mark)
            return None
        places.append(trial.place(best(trial, left, shape), shape))
    trial.finish_gang(mark)
    return tuple(places)
