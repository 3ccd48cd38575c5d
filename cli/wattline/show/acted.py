"""Results of an act for its jobs."""

from rich.console import Group, RenderableType
from rich.text import Text

from wattline.show.styles import state
from wattline.show.tables import Column, Listing
from wattline_protocol.text.wording import counted
from wattline_protocol.wire.client_messages import Acted, JobActed

LINES_SHOWN = 20
"""Maximum of jobs with a line each; for more, the table and the refusals suffice."""


def acted(value: Acted) -> RenderableType:
    """One line a job; a dry run as a table. Many are only counted."""
    if not value.jobs:
        return Text("No job matches.")
    if value.is_dry_run:
        return Group(_table(value.jobs), Text(_summary(value)))
    shown = value.jobs if len(value.jobs) <= LINES_SHOWN else value.refused[:LINES_SHOWN]
    lines: list[RenderableType] = [Text(job.text) for job in shown]
    if len(value.jobs) > 1:
        lines.append(Text(_summary(value)))
    return Group(*lines)


def _table(jobs: tuple[JobActed, ...]) -> Listing:
    return Listing(
        columns=(
            Column("JOB", [f"{j.job}[{j.indices}]" if j.indices else str(j.job) for j in jobs]),
            Column("NAME", [j.name for j in jobs], weight=2),
            Column("USER", [j.owner for j in jobs], weight=1),
            Column("STATE", [state(j.state or "") for j in jobs]),
            Column("WHAT", [j.text for j in jobs], grows=True),
        ),
        empty="",
    )


def _summary(value: Acted) -> str:
    refused = len(value.refused)
    done = len(value.jobs) - refused
    tasks = sum(job.tasks for job in value.jobs)
    summed = counted(done, "job")
    if tasks > done:
        summed += f" ({counted(tasks, 'task')})"
    would = "Dry run: " if value.is_dry_run else ""
    return f"{would}{summed}" + (f", {refused} refused" if refused else "") + "."
