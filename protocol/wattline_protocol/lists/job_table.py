"""The columns of jobs: in lists, and in selections that the scheduler evaluates."""

from typing import get_args

from wattline_protocol.job.spec import WHOLE_GPU, JobKind
from wattline_protocol.lists import kinds
from wattline_protocol.lists.column import Column
from wattline_protocol.lists.kinds import Reading
from wattline_protocol.lists.table import Table
from wattline_protocol.lists.where import Where
from wattline_protocol.text.wording import listed
from wattline_protocol.views.diagnosis import Verdict
from wattline_protocol.views.site_views import ENDED_STATES, JobState, JobView

NODES_SHOWN = 3
"""More node names than that are counted, not listed."""


def job_table(now_unix_s: float) -> Table[JobView]:
    """As of that time."""
    own, gpus = Column[JobView], lambda job: job.gpus * job.gpu_share_permille / WHOLE_GPU
    states = kinds.choice(*get_args(JobState))
    return Table(
        (
            own("job", kinds.NUMBER, lambda job: job.id),
            own("name", kinds.TEXT, lambda job: job.name),
            own("kind", kinds.choice(*get_args(JobKind)), lambda job: job.kind, weight=3),
            own("user", kinds.TEXT, lambda job: job.owner, weight=4),
            own("account", kinds.TEXT, lambda job: job.account, weight=7, is_usual=False),
            own("queue", kinds.TEXT, lambda job: job.queue, weight=7),
            own("priority", kinds.PRIORITY, lambda job: job.priority, "PRI", weight=6),
            own("state", states, lambda job: job.state),
            own(
                "elapsed",
                kinds.DURATION,
                lambda job: job.elapsed_s(now_unix_s),
                weight=1,
                is_moving=True,
            ),
            own("tasks", kinds.NUMBER, lambda job: job.gangs, text=progress, weight=5),
            own("gpus", kinds.NUMBER, gpus, text=lambda job: job.gpu_count, weight=2),
            own("nodes", kinds.TEXTS, lambda job: job.nodes, weight=10, is_usual=False),
            *_more(now_unix_s),
            own(
                "reason",
                kinds.TEXT,
                lambda job: job.reason,
                "WHERE / REASON",
                text=where_or_why,
                grows=True,
            ),
        ),
        empty="No jobs.",
    )


def _more(now_unix_s: float) -> tuple[Column[JobView], ...]:
    """Columns that are shown on request."""
    own = Column[JobView]
    return tuple(
        own(name, kind, value, weight=9, is_usual=False, is_moving=name in ("age", "left"))
        for name, kind, value in (
            ("age", kinds.DURATION, lambda job: max(0.0, now_unix_s - job.submitted_unix_s)),
            ("left", kinds.DURATION, lambda job: left_s(job, now_unix_s)),
            ("capped", kinds.SHARE, capped_share),
            ("step", kinds.NUMBER, lambda job: job.checkpoint and job.checkpoint.step),
            ("submitted", kinds.TIME, lambda job: job.submitted_unix_s),
            ("started", kinds.TIME, lambda job: job.started_unix_s),
            ("ended", kinds.TIME, lambda job: job.ended_unix_s),
            ("attempts", kinds.NUMBER, lambda job: job.attempt_count),
            ("gpu-hours", kinds.AMOUNT, lambda job: job.gpu_hours),
            ("energy", kinds.ENERGY, lambda job: job.energy_kwh),
            ("cost", kinds.COST, lambda job: job.cost_usd),
            ("busy", kinds.SHARE, lambda job: job.utilisation),
            ("verdict", kinds.choice(*get_args(Verdict)), lambda job: job.verdict),
            ("exit", kinds.NUMBER, lambda job: job.exit_code),
        )
    )


def left_s(job: JobView, now_unix_s: float) -> float | None:
    """Until its expected end."""
    if job.expected_end_unix_s is None:
        return None
    return max(0.0, job.expected_end_unix_s - now_unix_s)


def capped_share(job: JobView) -> float | None:
    """Share of its GPU time in which a cap slowed its GPUs."""
    gpu_s = job.gpu_hours * 3600
    return min(1.0, job.cap_bound_gpu_s / gpu_s) if gpu_s > 0 else None


def progress(job: JobView) -> str:
    """`4+3/16`: four run, three of sixteen have ended. A single one needs no count."""
    if job.gangs == 1:
        return "1"
    return f"{job.gangs_running}+{job.gangs_ended}/{job.gangs}"


def where_or_why(job: JobView) -> str:
    """Its nodes while it runs, otherwise its reason."""
    if job.reason or not job.nodes:
        return job.reason
    return listed(job.nodes, NODES_SHOWN)


def jobs_where(text: str, reading: Reading) -> Where[JobView]:
    """A condition on whole jobs. Raises ValueError."""
    return job_table(reading.now_unix_s).where(text, reading)


def names_ended(where: Where[JobView]) -> bool:
    """Whether it names a state in which a job has ended: then such jobs are meant, too."""
    return any(
        term.column.name == "state" and term.operator != "!=" and any(map(term.test, ENDED_STATES))
        for term in where.terms
    )
