"""All tasks of a gang or none: tried on a Trial, taken back when one does not fit."""

from wattline_scheduler.plan.candidates import Candidates
from wattline_scheduler.plan.feasible import feasible
from wattline_scheduler.plan.snapshot import Shape, TaskPlace
from wattline_scheduler.plan.trial import Trial


class GangPlacer:
    """Places gangs one after the other on a trial; gangs of one shape share their candidates."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self._candidates: dict[Shape, Candidates] = {}

    def place(self, shape: Shape) -> tuple[TaskPlace, ...] | None:
        """Places for all tasks by rank, already taken in the trial; None and nothing taken if not.

        Greedy: each task goes to the best node left. With `same_rack` the racks are tried in turn,
        the one with the fewest suitable nodes first, so that larger racks stay whole.
        """
        if shape.same_rack and shape.nodes > 1:
            for rack in self._racks(shape):
                places = self._place(Candidates(self.trial, shape, rack), shape)
                if places is not None:
                    return places
            return None
        known = self._candidates.get(shape)
        if known is None:
            known = self._candidates[shape] = Candidates(self.trial, shape)
        return self._place(known, shape)

    def _racks(self, shape: Shape) -> list[list[int]]:
        by_rack: dict[str, list[int]] = {}
        for at in feasible(self.trial, shape):
            by_rack.setdefault(self.trial.offers[at].rack, []).append(at)
        large = (nodes for nodes in by_rack.values() if len(nodes) >= shape.nodes)
        return sorted(large, key=lambda nodes: (len(nodes), nodes))

    def _place(self, candidates: Candidates, shape: Shape) -> tuple[TaskPlace, ...] | None:
        trial = self.trial
        mark = trial.checkpoint()
        places: list[TaskPlace] = []
        while len(places) < shape.nodes:
            at = candidates.take()
            if at is None:
                trial.rollback(mark)
                return None
            places.append(trial.place(at, shape))
        trial.finish_gang(mark)
        return tuple(places)


def place_gang(trial: Trial, shape: Shape) -> tuple[TaskPlace, ...] | None:
    """Place a single gang; see `GangPlacer.place`."""
    return GangPlacer(trial).place(shape)
