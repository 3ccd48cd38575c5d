"""What needs attention: open problems, domains that limit work, and limits in force."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from wattline_protocol.ids import DomainId, JobId, NodeId
from wattline_protocol.lists.limit_table import limit_line
from wattline_protocol.text.wording import counted, named, watts
from wattline_protocol.views.site_views import DomainView, LimitView, SiteView
from wattline_protocol.wire.problems import ProblemView, Severity
from wattline_tui.render.amounts import short
from wattline_tui.render.lines import Line, Piece, Role, ends, fitted, left, line

SUBJECT_CELLS, SUBJECT_CELLS_WIDE = 16, 28
WIDE_FROM = 110
LIMITS_AHEAD_S = 3_600.0
"""Planned limits are shown this long before they begin."""
MARKS: Mapping[Severity, str] = {"alarm": "‼", "warning": "!"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One line, and what Enter opens."""

    key: str
    role: Role
    mark: str
    subject: str
    text: str
    lasts_s: float | None = None
    node: NodeId | None = None
    job: JobId | None = None
    domain: DomainId | None = None
    problem: int | None = None
    """Number of the problem."""


def attention_entries(site: SiteView) -> list[Entry]:
    """Alarms, then domains that limit work, warnings, lowered budgets, acknowledged problems."""
    now_s = site.unix_s
    problems = [_problem(one, now_s) for one in site.problems]
    urgent = [one for one in problems if one.role == "alarm"]
    others = [one for one in problems if one.role == "warning"]
    seen = [one for one in problems if one.role == "muted"]
    limited = [_limited(one, now_s) for one in site.domains if one.binding is not None]
    return [*urgent, *limited, *others, *_lowered(site), *seen]


def _problem(one: ProblemView, now_s: float) -> Entry:
    times = f" ({one.occurrences} times)" if one.occurrences > 1 else ""
    level: Role = "alarm" if one.severity == "alarm" else "warning"
    mark, text = MARKS[one.severity], one.evidence + times
    if one.acknowledged is not None:
        level, mark, text = "muted", "✓", f"{one.acknowledged.text} · {text}"
    return Entry(
        key=f"problem {one.number}",
        role=level,
        mark=mark,
        subject=one.subject,
        text=text,
        lasts_s=now_s - one.since_unix_s,
        node=one.node,
        job=one.job,
        problem=one.number,
    )


def _limited(domain: DomainView, now_s: float) -> Entry:
    since = None if domain.binding is None else domain.binding.since_unix_s
    return Entry(
        key=f"domain {domain.id}",
        role="warning",
        mark="!",
        subject=domain.id,
        text=limited_text(domain),
        lasts_s=None if since is None else now_s - since,
        domain=domain.id,
    )


def limited_text(domain: DomainView) -> str:
    """`limits 214 jobs: 1,712 GPUs have 91 % of the watts they need, 48 kW short`."""
    binding = domain.binding
    if binding is None:
        return "limits no work"
    gpus = f"{binding.gpus:,} {'GPU has' if binding.gpus == 1 else 'GPUs have'}"
    share = f"{gpus} {binding.given_share * 100:.0f} % of the watts needed (median)"
    which = named("job", binding.first_jobs) if binding.jobs <= 1 else counted(binding.jobs, "job")
    return f"limits {which}: {share}, {watts(binding.short_w, is_wanted=True)} short"


def _lowered(site: SiteView) -> Iterator[Entry]:
    for domain in site.domains:
        for limit in limits_of_interest(domain, site.unix_s, LIMITS_AHEAD_S):
            yield Entry(
                key=f"limit {domain.id} {limit.name}",
                role="",
                mark="▲",
                subject=domain.id,
                text=limit_line(limit, site.unix_s),
                domain=domain.id,
            )


def limits_of_interest(domain: DomainView, now_s: float, within_s: float) -> list[LimitView]:
    """Limits in force or moving, and those that begin within `within_s`."""
    return [
        limit
        for limit in domain.limits
        if limit.phase in ("falling", "in_force", "rising")
        or (limit.phase == "planned" and limit.start_unix_s - now_s < within_s)
    ]


def attention_lines(
    entries: Sequence[Entry], cursor: str | None, width: int, height: int, start: int = 0
) -> list[Line]:
    """The entries from `start` on."""
    if not entries:
        return [fitted(line(("Nothing needs attention.", "muted")), width)]
    wide = SUBJECT_CELLS_WIDE if width >= WIDE_FROM else SUBJECT_CELLS
    return [_line(one, one.key == cursor, wide, width) for one in entries[start : start + height]]


def _line(entry: Entry, is_selected: bool, wide: int, width: int) -> Line:
    role: Role = "cursor" if is_selected else entry.role
    head: list[Piece] = [(f"{entry.mark} ", entry.role), (left(entry.subject, wide), role)]
    lasts = "" if entry.lasts_s is None else short(entry.lasts_s)
    return ends((*head, (" ", ""), (entry.text, "")), ((f" {lasts}", "muted"),), width)
