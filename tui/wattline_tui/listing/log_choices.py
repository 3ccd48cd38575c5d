"""The logs of a job: one a task, and with torchrun one a rank."""

from dataclasses import dataclass

from wattline_protocol.ids import TaskNo
from wattline_protocol.job.ranks import procs_per_node, ranks_of
from wattline_protocol.views.site_views import AttemptView, JobView
from wattline_protocol.views.training_views import RankView


@dataclass(frozen=True, slots=True)
class LogChoice:
    """A log."""

    task: TaskNo
    rank: int | None
    """None: of all ranks of the task."""
    note: str
    """Where it is written, and how its writer does."""

    @property
    def id(self) -> str:
        """Unique in its job."""
        return f"{self.task}" if self.rank is None else f"{self.task}/{self.rank}"

    @property
    def label(self) -> str:
        """`task 2`, `rank 17`."""
        return f"task {self.task}" if self.rank is None else f"rank {self.rank}"


def log_choices(job: JobView) -> list[LogChoice]:
    """Of the newest attempt of each task, by task; each followed by its ranks."""
    newest = {one.task: one for one in sorted(job.attempts, key=lambda one: one.attempt)}
    ranks = {(one.gang, one.rank): one for one in job.ranks}
    found: list[LogChoice] = []
    for task, attempt in sorted(newest.items()):
        found.append(LogChoice(task, None, _note(attempt)))
        spec = job.spec
        if spec is None or spec.launch.how != "torchrun" or procs_per_node(spec) == 1:
            continue
        gang = task // spec.gang_size
        index = spec.array.indices[gang] if spec.array is not None else 0
        found += [
            LogChoice(task, rank, _rank_note(attempt, ranks.get((index, rank))))
            for rank in ranks_of(spec, task)
        ]
    return found


def _note(attempt: AttemptView) -> str:
    return f"attempt {attempt.attempt} on {attempt.node} · {attempt.state}"


def _rank_note(attempt: AttemptView, rank: RankView | None) -> str:
    if rank is None:
        return f"on {attempt.node}"
    step = "" if rank.step is None else f" · step {rank.step}"
    return f"on {rank.node} · {rank.state}{step}"
