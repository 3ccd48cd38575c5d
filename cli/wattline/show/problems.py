"""Problems: what, since when, and the remedy."""

from collections.abc import Sequence

import msgspec
from rich.console import RenderableType
from rich.text import Text

from wattline.lists.list_of import ListOf
from wattline.show import units
from wattline.show.tables import facts
from wattline_protocol.lists.problem_table import problem_table
from wattline_protocol.text.wording import counted
from wattline_protocol.wire.event_log import ProblemList
from wattline_protocol.wire.problem_kinds import KINDS
from wattline_protocol.wire.problems import ProblemView


def _with_rows(found: ProblemList, rows: Sequence[ProblemView]) -> ProblemList:
    return msgspec.structs.replace(found, problems=tuple(rows))


def _below(found: ProblemList, rows: Sequence[ProblemView]) -> list[RenderableType]:
    """The remedies of the open ones, kind by kind."""
    parts: list[RenderableType] = []
    still = [one for one in rows if one.until_unix_s is None]
    if still:
        parts += [Text(""), remedies(still)]
    if found.is_cut:
        parts.append(Text(f"… there are more; {_open(found)} open", "dim"))
    return parts


LIST = ListOf(problem_table, lambda found: found.problems, _with_rows, _below)


def _open(found: ProblemList) -> str:
    """ "2 alarms, 1 warning"."""
    return f"{counted(found.open_alarms, 'alarm')}, {counted(found.open_warnings, 'warning')}"


def remedies(rows: Sequence[ProblemView]) -> RenderableType:
    """Meaning and remedy of each kind, once a kind."""
    kinds = [KINDS[name] for name in dict.fromkeys(one.kind for one in rows) if name in KINDS]
    return facts([(kind.name, f"{kind.meaning} {kind.remedy}") for kind in kinds])


def sentence(one: ProblemView) -> str:
    """One problem in a list of facts about its node."""
    return f"since {units.clock(one.since_unix_s)}: {one.evidence}"
