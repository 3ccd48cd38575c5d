"""View of problems, ordered by severity (worst first), then by age (oldest first)."""

from collections.abc import Iterable

import msgspec

from wattline_protocol.wire.event_log import ListProblems, ProblemList
from wattline_protocol.wire.problems import ProblemView
from wattline_scheduler.core.model.state import State
from wattline_scheduler.records import ProblemRecord

MAX_PROBLEMS_SHOWN = 100
"""Maximum number of open problems in a site snapshot."""


def worst_open(state: State, limit: int = MAX_PROBLEMS_SHOWN) -> tuple[ProblemView, ...]:
    """Open problems, alarms first."""
    return _views(_worst_first(one.record for one in state.problems.open.values()), limit)


def open_counts(state: State) -> tuple[int, int]:
    """Number of open alarms and of open warnings."""
    levels = [one.record.severity for one in state.problems.open.values()]
    alarms = levels.count("alarm")
    return alarms, len(levels) - alarms


def problem_list(state: State, request: ListProblems) -> ProblemList:
    """Open problems, then the newest ended ones."""
    found = _worst_first(one.record for one in state.problems.open.values())
    if request.ended:
        found += reversed(state.problems.ended.values())
    if request.node is not None:
        found = [record for record in found if record.node == request.node]
    alarms, warnings = open_counts(state)
    is_cut = len(found) > request.limit
    return ProblemList(_views(found, request.limit), alarms, warnings, is_cut)


def _worst_first(records: Iterable[ProblemRecord]) -> list[ProblemRecord]:
    return sorted(records, key=lambda one: (one.severity != "alarm", one.since_unix_s, one.number))


def _views(records: list[ProblemRecord], limit: int) -> tuple[ProblemView, ...]:
    return tuple(ProblemView(**msgspec.structs.asdict(one)) for one in records[:limit])
