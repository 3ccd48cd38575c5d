"""Groups for `runtimes` of jobs of which only account, size and time of submission are known.

Users submit the same thing several times in a row: in Philly's traces the run time of a job goes
with that of the one of its size before it (correlation of logarithms 0.5 to 0.9), and hardly with
the model that it trains. So a job belongs to those of its account and size, to the few that were
submitted next to it, and to those that came together with it, as a script submits them.
"""

from dataclasses import dataclass

from wattline_scheduler.plan.learning.gittins import Groups, alike

NEIGHBOURS = 4
"""Jobs in a row that are counted together."""

TOGETHER_S = 120.0
"""Jobs that were submitted no later than this after one another came together."""

MAX_BURST = 2 * NEIGHBOURS
"""Of more that came together the next ones are counted apart: among a thousand that a script
submitted at once a job is like those beside it."""

MAX_LINES = 4096
"""Accounts × sizes that are followed; of more, the one that is used least lately is forgotten."""

Line = tuple[str, int]
"""Account and GPUs."""


@dataclass(slots=True)
class _Submissions:
    """Of one line, so far."""

    count: int = 0
    bursts: int = 0
    in_burst: int = 0
    last_s: float = 0.0

    def joins_burst(self, at_s: float) -> int:
        """Number of the burst that a job submitted now belongs to."""
        if at_s > self.last_s + TOGETHER_S or self.in_burst == MAX_BURST:
            self.bursts, self.in_burst = self.bursts + 1, 0
        self.in_burst, self.last_s = self.in_burst + 1, at_s
        return self.bursts


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
        row, burst = seen.count // NEIGHBOURS, seen.joins_burst(at_s)
        seen.count += 1
        return alike(gpus, line, (line, "row", row), (line, "burst", burst))
