"""The columns of problems."""

from typing import get_args

from wattline_protocol.lists import kinds
from wattline_protocol.lists.column import Column
from wattline_protocol.lists.table import Table
from wattline_protocol.text.moments import local_time
from wattline_protocol.wire.problems import ProblemView, Severity


def problem_table(_: float) -> Table[ProblemView]:
    """The columns of problems."""
    own = Column[ProblemView]
    levels = kinds.choice(*get_args(Severity), is_ordered=True)
    return Table(
        (
            own("problem", kinds.NUMBER, lambda one: one.number, weight=2),
            own("level", levels, lambda one: one.severity),
            own("since", kinds.TIME, lambda one: one.since_unix_s),
            own("until", kinds.TIME, lambda one: one.until_unix_s, text=_until, weight=1),
            own("kind", kinds.TEXT, lambda one: one.kind, weight=2),
            own("times", kinds.NUMBER, lambda one: one.occurrences, weight=3),
            own("subject", kinds.TEXT, lambda one: one.subject),
            own("node", kinds.TEXT, lambda one: one.node or "", weight=4, is_usual=False),
            own("job", kinds.NUMBER, lambda one: one.job, weight=4, is_usual=False),
            own("ack", kinds.TEXT, _acknowledged, weight=2),
            own("evidence", kinds.TEXT, lambda one: one.evidence, grows=True),
        ),
        empty="No open problems.",
    )


def _until(one: ProblemView) -> str:
    return "open" if one.until_unix_s is None else local_time(one.until_unix_s)


def _acknowledged(one: ProblemView) -> str:
    """The operator that acknowledged it, and why; empty = not acknowledged."""
    return "" if one.acknowledged is None else one.acknowledged.text
