"""One problem as text: since when, what was observed, what it means, what to do; one event."""

from wattline_protocol.text.moments import when
from wattline_protocol.text.visible import visible_line
from wattline_protocol.views.site_views import EventView
from wattline_protocol.wire.problem_kinds import KINDS
from wattline_protocol.wire.problems import ProblemView
from wattline_tui.units import duration


def problem_text(one: ProblemView, now_unix_s: float) -> str:
    """For the place below the list."""
    mark = "‼" if one.severity == "alarm" else "!"
    since = duration(max(0.0, now_unix_s - one.since_unix_s))
    times = f", {one.occurrences} times" if one.occurrences > 1 else ""
    lines = [f"{mark} {visible_line(one.subject)}, for {since}{times}: {one.evidence}"]
    kind = KINDS.get(one.kind)
    if kind is not None:
        lines += [f"Meanwhile: {kind.meaning}", f"What to do: {kind.remedy}"]
    seen = one.acknowledged
    if seen is not None:
        lines.append(f"Acknowledged {when(seen.unix_s, now_unix_s)} by {seen.text}")
    return "\n".join(lines)


def event_text(one: EventView, now_unix_s: float) -> str:
    """In full: on a narrow screen its row is cut."""
    at, actor = when(one.unix_s, now_unix_s), visible_line(one.actor)
    return f"{at} {one.level} {one.kind}, by {actor}: {visible_line(one.text)}"
