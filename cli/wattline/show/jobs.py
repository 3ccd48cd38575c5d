"""Jobs as a listing, and the output of `submit` and `logs`."""

from collections.abc import Sequence

from rich.console import RenderableType
from rich.text import Text

from wattline.acts.submit import Declared, Submission
from wattline.lists.list_of import ListOf
from wattline.show import units
from wattline.show.styles import state
from wattline_protocol.lists.job_table import job_table
from wattline_protocol.views.site_views import JobView
from wattline_protocol.wire.client_messages import Log


def submitted(value: Submission | Declared) -> RenderableType:
    """The number alone when quiet; after waiting how the job ended, too. Of routes a line."""
    if isinstance(value, Declared):
        return value.text
    if value.is_quiet:
        return str(value.job)
    if value.ended is None:
        return f"Submitted job {value.job} ({value.name})."
    return how_it_ended(value.ended)


def how_it_ended(job: JobView) -> Text:
    """State of an ended job, its duration unless it never started, and the reason."""
    why = f": {job.reason}" if job.reason else ""
    ran_s = elapsed_s(job)
    took = f" after {units.seconds(ran_s)}" if ran_s is not None else ""
    return Text.assemble(f"Job {job.id} ({job.name}) ", state(job.state), f"{took}{why}")


def log_text(piece: Log) -> bytes:
    """The bytes as the task wrote them."""
    return piece.data


LIST = ListOf[Sequence[JobView], JobView](job_table)


def elapsed_s(job: JobView) -> float | None:
    """Seconds since its first start, as of now or of its end; None while it is pending."""
    from time import time

    return job.elapsed_s(time())
