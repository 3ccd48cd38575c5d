"""Problems as text: those counted by the badge of alarms, and warnings below."""

from wattline_protocol.text.visible import visible_line
from wattline_protocol.text.wording import counted
from wattline_protocol.views.site_views import SiteView
from wattline_protocol.wire.problem_kinds import KINDS
from wattline_protocol.wire.problems import ProblemView
from wattline_tui.units import duration


def problems_text(site: SiteView) -> str:
    """The open problems, worst first, each with meaning and remedy."""
    if not site.problems:
        return "No open problems."
    lines = [_counted(site), ""]
    for one in site.problems:
        lines += _lines(one, site.unix_s)
    unlisted = site.open_alarms + site.open_warnings - len(site.problems)
    if unlisted > 0:
        lines.append(f"and {unlisted} more: wattline problems")
    return "\n".join(lines)


def _counted(site: SiteView) -> str:
    alarms = counted(site.open_alarms, "alarm")
    return f"{alarms}, {counted(site.open_warnings, 'warning')} open"


def _lines(one: ProblemView, now_unix_s: float) -> list[str]:
    mark = "‼" if one.severity == "alarm" else "!"
    since = duration(max(0.0, now_unix_s - one.since_unix_s))
    times = f", {one.occurrences} times" if one.occurrences > 1 else ""
    lines = [f"{mark} {visible_line(one.subject)}, for {since}{times}"]
    lines.append(f"    {visible_line(one.evidence)}")
    kind = KINDS.get(one.kind)
    return lines if kind is None else [*lines, f"    {kind.remedy}"]
