"""Groups for `runtimes` of jobs of which only account, size and time of submission are known.

Users submit the same thing several times in a row: in Philly's traces the run time of a job goes
with that of the one of its size before it (correlation of logarithms 0.5 to 0.9), and hardly with
the model that it trains. So a job belongs to those of its account and size, to the few that were
submitted next to it, and to those that came together with it, as a script submits them.
"""

from dataclasses import dataclass

from wattline_scheduler.plan.runtimes import Groups, alike

NEIGHBOURS = 8
"""Jobs in a row that are counted together."""

TOGETHER_S = 120.0
"""Jobs that were submitted no later than this after one another came together."""

MAX_LINES = 4096
"""Accounts × sizes that are followed; of more, the one that is used least lately is forgotten."""

Line = tuple[str, int]
"""Account and GPUs."""


@dataclass(slots=True)
class _Submissions:
    """Of one line, so far."""

    count: int = 0
    bursts: int = 0
    last_s: float = 0.0


class Neighbours:
    """Tells each job its groups as it is submitted."""

    def __init__(self) -> None:
        self._lines: dict[Line, _Submissions] = {}

    def submitted(self, account: str, gpus: int, at_s: float) -> Groups:
        """The groups of a new job, widest first."""
        line = (account, gpus)
        seen = self._lines.pop(line, None) or _Submissions()
        self._lines[line] = seen
        while len(self._lines) > MAX_LINES:
            del self._lines[next(iter(self._lines))]
        if at_s > seen.last_s + TOGETHER_S:
            seen.bursts += 1
        row = seen.count // NEIGHBOURS
        seen.count, seen.last_s = seen.count + 1, at_s
        return alike(gpus, line, (line, "row", row), (line, "burst", seen.bursts))
