"""Resources of a node for a task after preempting some of its gangs, as scalar sums.

The preemption search evaluates hundreds of candidates: sums over a few numbers cost microseconds,
where removing tasks in a trial and rolling back costs a hundred times that. Watts are not checked:
the draw of lower priorities already counts as headroom.
"""

from collections.abc import Iterable

from wattline_scheduler.plan.model.columns import NO_CLASS
from wattline_scheduler.plan.model.node_fit import fits_one
from wattline_scheduler.plan.model.shape import Shape
from wattline_scheduler.plan.model.snapshot import RunningGang, TaskAllocation
from wattline_scheduler.plan.search.trial import Trial

STEPS_PER_TASK = 2
"""Effort of counting one task."""


class NodeRelease:
    """One node in its present trial state, and the request of one task of a shape."""

    def __init__(self, trial: Trial, at: int, shape: Shape) -> None:
        columns, ask = trial.columns, trial.ask(shape)
        self._trial, self._at, self._ask = trial, at, ask
        numbers = columns.gpu_class[at].tolist()
        index = zip(columns.gpu_index[at].tolist(), numbers, strict=True)
        self._slot_of = {
            gpu: slot for slot, (gpu, number) in enumerate(index) if number != NO_CLASS
        }
        self._free_milli: list[int] = columns.free_milli[at].tolist()
        self._suited = [slot for slot, number in enumerate(numbers) if ask.suited[number]]
        self.cpus: int = columns.cpus_free.item(at)
        self.memory_bytes: int = columns.memory_free_bytes.item(at)
        self.is_open = bool(columns.is_open[at])
        self.has_labels = ask.labels <= columns.label_sets[columns.label_set[at]]

    def remove(self, one: RunningGang) -> None:
        """Remove its tasks on the node."""
        for used in self._here(one):
            self._count(used, 1)

    def restore(self, one: RunningGang) -> None:
        """Undo `remove`."""
        for used in self._here(one):
            self._count(used, -1)

    def _here(self, one: RunningGang) -> Iterable[TaskAllocation]:
        return (used for used in one.tasks if used.at == self._at)

    def _count(self, used: TaskAllocation, sign: int) -> None:
        self._trial.effort += STEPS_PER_TASK
        self.cpus += sign * used.cpus
        self.memory_bytes += sign * used.memory_bytes
        for gpu in used.gpus:
            if gpu in self._slot_of:  # a lost GPU is returned to no gang
                self._free_milli[self._slot_of[gpu]] += sign * used.milli

    @property
    def gpus(self) -> int:
        """Number of GPUs that suit and have the requested part free."""
        free_milli, milli = self._free_milli, self._ask.milli
        return len([slot for slot in self._suited if free_milli[slot] >= milli])

    @property
    def fits(self) -> bool:
        """As `Trial.fits_node`."""
        return fits_one(self, self._ask)
