"""Expected service of jobs, learned from how long such jobs had their GPUs allocated.

The groups are: all jobs, jobs of an account with as many GPUs, jobs of a kind (see `job_kind`); the
narrower one has more weight the more is known of it (`plan.learning.gittins`). After a restart it
is learned again from the jobs in memory.
"""

from wattline_protocol.job.spec import WHOLE_GPU
from wattline_scheduler.core.model.jobs.job import Gang
from wattline_scheduler.core.model.queue.job_class import ClassKey
from wattline_scheduler.plan.learning.gittins import Groups, Runtimes, alike, bin_of
from wattline_scheduler.plan.model.columns import GpuClasses
from wattline_scheduler.plan.model.device_classes import size_milli
from wattline_scheduler.plan.model.shape import Shape
from wattline_scheduler.plan.model.task_request import is_of_type


class Service:
    """Expected service of the jobs of a class. `classes`: known GPUs and MIG devices."""

    def __init__(self, overtake_s: float, classes: GpuClasses) -> None:
        self._overtake_s, self._classes = overtake_s, classes
        self._runtimes = Runtimes()

    def held(self, gang: Gang, held_s: float, *, is_end: bool) -> None:
        """Learns the time a try had its GPUs; `is_end`: its work was completed, or had failed."""
        job = gang.job
        if job.spec.kind != "service" and (held_s or is_end):
            self.learn(job.account, job.shape, job.kind, held_s, is_end=is_end)

    def learn(self, account: str, shape: Shape, kind: str, held_s: float, *, is_end: bool) -> None:
        """The same by account, shape and kind."""
        groups, last = _groups(account, shape, kind), bin_of(held_s)
        if last:
            self._runtimes.survived(groups, 0, last)
        if is_end:
            self._runtimes.ended(groups, last)

    def later_s(self, key: ClassKey) -> float:
        """Expected service of a class, up to a bound, as a delay of its submission time.

        Only a kind with enough observations may rank earlier than by its age: short runs of other
        kinds predict too little of a new one to place it before a gang that waits.
        """
        if not key.kind or not self._overtake_s:
            return self._overtake_s
        groups = _groups(key.account, key.shape, key.kind)
        index_s = self._runtimes.index_s(groups, 0.0)
        shape = key.shape
        gpus = shape.nodes * shape.gpus * self._each_milli(shape) / WHOLE_GPU
        return later_s(index_s, gpus, self._overtake_s)

    def _each_milli(self, shape: Shape) -> int:
        """Thousandths of a GPU; for a MIG device, slices of the largest that suits, as in quotas.
        Until one is known it counts as a GPU."""
        if not shape.mig:
            return shape.gpu_milli
        known = (gpu for gpu in self._classes.examples if gpu is not None)
        return max((size_milli(gpu) for gpu in known if is_of_type(gpu, shape)), default=WHOLE_GPU)


def later_s(index_s: float, gpus: float, most_s: float) -> float:
    """Delay for the queue order: the submission time of a job is shifted by its expected service,
    in seconds of one GPU, but by no more than `most_s`.

    That is the earliest due date of a job that may wait as long as it takes (Bender, Chakrabarti
    and Muthukrishnan, SODA 1998, for the stretch of jobs), bounded: no job is overtaken by one
    submitted more than `most_s` later, so a stream of small work does not starve large work. Work
    without GPUs counts as one, a share of a GPU as its part, a MIG device by its slices.
    """
    return min(index_s * (gpus or 1.0), most_s)


def _groups(account: str, shape: Shape, kind: str) -> Groups:
    """Widest first."""
    gpus = shape.nodes * shape.gpus
    return alike(gpus, (account, gpus), kind)
