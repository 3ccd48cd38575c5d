"""Problems: what, since when, and the remedy."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from wattline.show import units
from wattline.show.styles import state
from wattline.show.tables import Column, Listing, facts
from wattline_protocol.text.wording import counted
from wattline_protocol.wire.event_log import ProblemList
from wattline_protocol.wire.problem_kinds import KINDS
from wattline_protocol.wire.problems import ProblemView


def listing(found: ProblemList) -> RenderableType:
    """One line a problem, then the remedies of the open ones, kind by kind."""
    rows = found.problems
    parts: list[RenderableType] = [_rows(rows)]
    still = [one for one in rows if one.until_unix_s is None]
    if still:
        parts += [Text(""), remedies(still)]
    if found.is_cut:
        parts.append(Text(f"… there are more; {_open(found)} open", "dim"))
    return Group(*parts)


def _open(found: ProblemList) -> str:
    """ "2 alarms, 1 warning"."""
    return f"{counted(found.open_alarms, 'alarm')}, {counted(found.open_warnings, 'warning')}"


def _rows(rows: Sequence[ProblemView]) -> Listing:
    has_ended = any(one.until_unix_s is not None for one in rows)
    until = Column("UNTIL", [_until(one) for one in rows], weight=1)
    return Listing(
        columns=(
            Column("LEVEL", [state(one.severity) for one in rows]),
            Column("SINCE", [units.clock(one.since_unix_s) for one in rows]),
            *((until,) if has_ended else ()),
            Column("KIND", [one.kind for one in rows], weight=2),
            Column("TIMES", [str(one.occurrences) for one in rows], is_right=True, weight=3),
            Column("SUBJECT", [one.subject for one in rows]),
            Column("EVIDENCE", [one.evidence for one in rows], grows=True),
        ),
        empty="No open problems.",
    )


def _until(one: ProblemView) -> str:
    return "open" if one.until_unix_s is None else units.clock(one.until_unix_s)


def remedies(rows: Sequence[ProblemView]) -> RenderableType:
    """Meaning and remedy of each kind, once a kind."""
    kinds = [KINDS[name] for name in dict.fromkeys(one.kind for one in rows) if name in KINDS]
    return facts([(kind.name, f"{kind.meaning} {kind.remedy}") for kind in kinds])


def sentence(one: ProblemView) -> str:
    """One problem in a list of facts about its node."""
    return f"since {units.clock(one.since_unix_s)}: {one.evidence}"
