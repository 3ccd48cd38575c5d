"""How much service a job is expected to take: learned from how long such jobs held their GPUs.

Alike are all jobs, those of an account with as many GPUs, and those of a kind (see `kinds`); the
narrower one counts the more the more is known of it (`plan.runtimes`). It is learned again from the
jobs in memory after a restart.
"""

from wattline_protocol.job.spec import WHOLE_GPU
from wattline_scheduler.core.model.jobs.job import Gang
from wattline_scheduler.core.model.queue.job_class import LineKey
from wattline_scheduler.plan.learning.gittins import Groups, Runtimes, alike, bin_of
from wattline_scheduler.plan.learning.service_order import later_s
from wattline_scheduler.plan.model.columns import GpuClasses
from wattline_scheduler.plan.model.device_classes import size_milli
from wattline_scheduler.plan.model.shape import Shape
from wattline_scheduler.plan.model.task_request import is_of_type


class Service:
    """What is expected of the jobs of a line. `classes`: GPUs and MIG devices that are known."""

    def __init__(self, overtake_s: float, classes: GpuClasses) -> None:
        self._overtake_s, self._classes = overtake_s, classes
        self._runtimes = Runtimes()

    def held(self, gang: Gang, held_s: float, *, is_end: bool) -> None:
        """A try held its GPUs so long; `is_end`: then its work was done, or had failed."""
        job = gang.job
        if job.spec.kind != "service" and (held_s or is_end):
            self.learn(job.account, job.shape, job.kind, held_s, is_end=is_end)

    def learn(self, account: str, shape: Shape, kind: str, held_s: float, *, is_end: bool) -> None:
        """The same of a job by what it is known for."""
        groups, last = _groups(account, shape, kind), bin_of(held_s)
        if last:
            self._runtimes.survived(groups, 0, last)
        if is_end:
            self._runtimes.ended(groups, last)

    def later_s(self, key: LineKey) -> float:
        """As if it had been submitted so much later: what it is expected to take, up to a bound.

        Only a kind of which enough is known may come earlier than by its age: that others ran
        short says too little of a new one to let it go before a gang that waits.
        """
        if not key.kind or not self._overtake_s:
            return self._overtake_s
        groups = _groups(key.account, key.shape, key.kind)
        index_s = self._runtimes.index_s(groups, 0.0)
        shape = key.shape
        gpus = shape.nodes * shape.gpus * self._each_milli(shape) / WHOLE_GPU
        return later_s(index_s, gpus, self._overtake_s)

    def _each_milli(self, shape: Shape) -> int:
        """Of a MIG device the slices of the largest that suits, as in quotas; until one is known it
        counts as a GPU."""
        if not shape.mig:
            return shape.gpu_milli
        known = (gpu for gpu in self._classes.examples if gpu is not None)
        return max((size_milli(gpu) for gpu in known if is_of_type(gpu, shape)), default=WHOLE_GPU)


def _groups(account: str, shape: Shape, kind: str) -> Groups:
    """Widest first."""
    gpus = shape.nodes * shape.gpus
    return alike(gpus, (account, gpus), kind)
