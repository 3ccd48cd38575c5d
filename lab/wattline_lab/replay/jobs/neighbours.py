"""Groups for `gittins` of jobs known only by account, size and time of submission.

Users submit the same thing several times in a row: in Philly's traces the run time of a job
correlates with that of the previous job of its size (logarithms, 0.5 to 0.9), and hardly with the
model that it trains. So a job belongs to those of its account and size, to the few submitted next
to it, and to its burst, as submitted by a script.
"""

from dataclasses import dataclass

from wattline_scheduler.plan.learning.gittins import Groups, alike

NEIGHBOURS = 4
"""Successive jobs that are counted together."""

TOGETHER_S = 120.0
"""Maximum interval between successive submissions of one burst."""

MAX_BURST = 2 * NEIGHBOURS
"""Larger bursts are split: among a thousand jobs that a script submitted at once, a job resembles
its neighbours."""

MAX_LINES = 4096
"""Tracked account-size pairs; beyond it, the least recently used is dropped."""

Line = tuple[str, int]
"""Account and GPUs."""


@dataclass(slots=True)
class _Submissions:
    """Submissions of one account and size so far."""

    count: int = 0
    bursts: int = 0
    in_burst: int = 0
    last_s: float = 0.0

    def joins_burst(self, at_s: float) -> int:
        """Number of the burst to which a job submitted now belongs."""
        if at_s > self.last_s + TOGETHER_S or self.in_burst == MAX_BURST:
            self.bursts, self.in_burst = self.bursts + 1, 0
        self.in_burst, self.last_s = self.in_burst + 1, at_s
        return self.bursts


class Neighbours:
    """Assigns each job its groups on submission."""

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
