"""The queue: running jobs, and pending ones with their reasons."""

from wattline_protocol.text.wording import digits
from wattline_protocol.views.site_views import JobView, SiteView
from wattline_tui.model import waiting_and_running
from wattline_tui.units import duration
from wattline_tui.widgets.tables import Row, SteadyTable


class JobTable(SteadyTable):
    """Jobs in queue order. REASON shows why a job is pending or how it ended."""

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's own parameter name
        columns = ("job", "name", "state", "GPUs", "run", "reason", "kind", "prio", "gangs", "kWh")
        super().__init__(columns, id=id)
        self.with_ended = True

    def show_site(self, site: SiteView) -> None:
        """Draw this snapshot."""
        jobs = waiting_and_running(site, with_ended=self.with_ended)
        running = sum(j.state == "RUNNING" for j in jobs)
        waiting = sum(j.state in {"PENDING", "HELD"} for j in jobs)
        self.border_title = "queue"
        self.border_subtitle = f"{running} running · {waiting} waiting"
        self.show([_row(job, site.unix_s) for job in jobs])


def _row(job: JobView, now_unix_s: float) -> Row:
    gangs = f"{job.gangs_running}/{job.gangs}" if job.gangs > 1 else str(job.gangs)
    where = ",".join(job.nodes) if job.state == "RUNNING" and not job.reason else job.reason
    return str(job.id), (
        str(job.id),
        job.name,
        job.state,
        job.gpu_count,
        duration(job.elapsed_s(now_unix_s)),
        where,
        job.kind,
        str(job.priority),
        gangs,
        digits(job.energy_kwh),
    )
