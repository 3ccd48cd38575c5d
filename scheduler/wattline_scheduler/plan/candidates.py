"""The nodes a task of one shape could take, best first, without looking at all of them each time.

Within a cycle room only shrinks, so a score only gets worse, except on nodes that a placement (or
its taking back) touched. So a heap of old scores is enough: the best old score is looked at anew,
and is taken if it is still no worse than the next (lazy greedy evaluation, Minoux 1978). Nodes
touched since the last look are entered again.
"""

from collections.abc import Iterable
from heapq import heapify, heappop, heappush

from wattline_scheduler.plan.feasible import refusal
from wattline_scheduler.plan.rank import Score, score
from wattline_scheduler.plan.snapshot import Shape
from wattline_scheduler.plan.trial import Trial


class Candidates:
    """Feasible nodes for one shape, of all nodes or of some."""

    def __init__(self, trial: Trial, shape: Shape, among: Iterable[int] | None = None) -> None:
        self._trial = trial
        self._shape = shape
        self._among = None if among is None else frozenset(among)
        self._seen = len(trial.touched)
        at_all = range(len(trial.offers)) if among is None else sorted(self._among or ())
        self._heap: list[Score] = [
            score(trial, at, shape) for at in at_all if refusal(trial, at, shape) is None
        ]
        heapify(self._heap)

    def take(self) -> int | None:
        """The best node now, which leaves the heap; None = no node is feasible any more."""
        self._look_at_touched()
        while self._heap:
            at = heappop(self._heap)[-1]
            if refusal(self._trial, at, self._shape) is not None:
                continue
            now = score(self._trial, at, self._shape)
            if not self._heap or now <= self._heap[0]:
                return at
            heappush(self._heap, now)
        return None

    def _look_at_touched(self) -> None:
        touched = self._trial.touched
        for at in sorted(set(touched[self._seen :])):
            is_ours = self._among is None or at in self._among
            if is_ours and refusal(self._trial, at, self._shape) is None:
                heappush(self._heap, score(self._trial, at, self._shape))
        self._seen = len(touched)
