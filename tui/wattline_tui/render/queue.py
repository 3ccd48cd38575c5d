"""The head of the queue: which jobs wait for how long, for what, and until when."""

from collections.abc import Sequence
from dataclasses import dataclass

from wattline_protocol.ids import JobId
from wattline_protocol.text.moments import clock
from wattline_protocol.views.site_views import JobView, SiteView
from wattline_tui.render.amounts import short
from wattline_tui.render.lines import Line, Piece, Role, fitted, left, line, right

WIDE_FROM = 110
UNKNOWN = "–"


@dataclass(frozen=True, slots=True)
class Queued:
    """A job that waits."""

    job: JobView
    waits_s: float
    starts_unix_s: float | None


def queued_jobs(site: SiteView) -> list[Queued]:
    """Those of the head of the queue that the snapshot describes, in its order."""
    jobs = {job.id: job for job in site.jobs}
    return [
        Queued(job, max(0.0, site.unix_s - job.submitted_unix_s), one.starts_unix_s)
        for one in site.queue
        if (job := jobs.get(one.job)) is not None
    ]


def queue_lines(
    queued: Sequence[Queued],
    cursor: JobId | None,
    now_s: float,
    width: int,
    height: int,
    start: int = 0,
) -> list[Line]:
    """A heading, then the jobs from `start` on."""
    if not queued:
        return [fitted(line(("No job waits.", "muted")), width)]
    is_wide = width >= WIDE_FROM
    columns = _columns(queued, is_wide=is_wide)
    heading = fitted(((_row(columns, [title for title, _ in columns]) + "why", "title"),), width)
    shown = queued[start : start + max(0, height - 1)]
    return [heading, *(_line(one, columns, cursor, now_s, width) for one in shown)]


_Columns = list[tuple[str, int]]
"""Title and cells; negative: at the right."""


def _columns(queued: Sequence[Queued], *, is_wide: bool) -> _Columns:
    def widest(texts: list[str], title: str, most: int) -> int:
        return min(most, max(len(title), *(len(text) for text in texts)))

    users = widest([one.job.owner for one in queued], "user", 16 if is_wide else 8)
    accounts = widest([one.job.account for one in queued], "account", 16)
    numbers = widest([str(one.job.id) for one in queued], "job", 10)
    columns = [("job", -numbers), ("user", users)]
    columns += [("account", accounts)] if is_wide else []
    return [*columns, ("GPUs", -5), ("waits", -6), ("start", -6)]


def _row(columns: _Columns, cells: Sequence[str]) -> str:
    shown = (
        left(cell, cells_of) if cells_of > 0 else right(cell, -cells_of)
        for cell, (_, cells_of) in zip(cells, columns, strict=True)
    )
    return "".join(f"{cell} " for cell in shown)


def _line(one: Queued, columns: _Columns, cursor: JobId | None, now_s: float, width: int) -> Line:
    job = one.job
    starts = UNKNOWN if one.starts_unix_s is None else f"~{clock(one.starts_unix_s, now_s)}"
    values = {
        "job": str(job.id),
        "user": job.owner,
        "account": job.account,
        "GPUs": job.gpu_count,
        "waits": short(one.waits_s),
        "start": starts,
    }
    role: Role = "cursor" if job.id == cursor else ""
    pieces: list[Piece] = [(_row(columns, [values[title] for title, _ in columns]), role)]
    return fitted((*pieces, (job.reason or "queued, not yet evaluated", "")), width)
