"""Jobs as a listing, and the output of `submit` and `logs`."""

from collections.abc import Sequence

from rich.console import RenderableType
from rich.text import Text

from wattline.acts.submit import Declared, Submission
from wattline.show import units
from wattline.show.styles import state
from wattline.show.tables import Column, Listing
from wattline_protocol.text.wording import listed
from wattline_protocol.views.site_views import JobView
from wattline_protocol.wire.client_messages import Log

NODES_SHOWN = 3
"""More node names than that are counted, not listed."""


def submitted(value: Submission | Declared) -> RenderableType:
    """The number alone when quiet; after waiting how the job ended, too. Of routes a line."""
    if isinstance(value, Declared):
        return value.text
    if value.is_quiet:
        return str(value.job)
    if value.ended is None:
        return f"Submitted job {value.job} ({value.name})."
    ended = value.ended
    why = f": {ended.reason}" if ended.reason else ""
    ran_s = elapsed_s(ended)
    took = f" after {units.seconds(ran_s)}" if ran_s is not None else ""  # None: never started
    return Text.assemble(f"Job {value.job} ({value.name}) ", state(ended.state), f"{took}{why}")


def log_text(piece: Log) -> bytes:
    """The bytes as the task wrote them."""
    return piece.data


def listing(jobs: Sequence[JobView]) -> Listing:
    """One line a job; the last column shows where it runs or why it is pending."""
    return Listing(
        columns=(
            Column("JOB", [str(j.id) for j in jobs], is_right=True),
            Column("NAME", [j.name for j in jobs]),
            Column("KIND", [j.kind for j in jobs], weight=3),
            Column("OWNER", [j.owner for j in jobs], weight=4),
            Column("QUEUE", [j.queue for j in jobs], weight=7),
            Column("PRI", [str(j.priority) for j in jobs], is_right=True, weight=6),
            Column("STATE", [state(j.state) for j in jobs]),
            Column("TIME", [units.seconds(elapsed_s(j)) for j in jobs], is_right=True, weight=1),
            Column("TASKS", [progress(j) for j in jobs], is_right=True, weight=5),
            Column("GPUS", [j.gpu_count for j in jobs], is_right=True, weight=2),
            Column("WHERE / REASON", [where(j) for j in jobs], grows=True),
        ),
        empty="No jobs.",
    )


def elapsed_s(job: JobView) -> float | None:
    """Seconds since its first start, as of now or of its end; None while it is pending."""
    from time import time

    return job.elapsed_s(time())


def progress(job: JobView) -> str:
    """`4+3/16`: four run, three of sixteen have ended. A single one needs no count."""
    if job.gangs == 1:
        return "1"
    return f"{job.gangs_running}+{job.gangs_ended}/{job.gangs}"


def where(job: JobView) -> str:
    """Its nodes while it runs, otherwise its reason."""
    if job.reason or not job.nodes:
        return job.reason
    return listed(job.nodes, NODES_SHOWN)
