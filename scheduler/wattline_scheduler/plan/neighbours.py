"""Groups for `runtimes` of jobs of which only account, size and time of submission are known.

Users submit the same thing several times in a row: in Philly's traces the run time of a job goes
with that of the one of its size before it (correlation of logarithms 0.5 to 0.9), and hardly with
the model that it trains. So a job belongs to all jobs, to those of its account and size, and to
the few that were submitted next to it.
"""

from wattline_scheduler.plan.runtimes import Groups

NEIGHBOURS = 8
"""Jobs in a row that are counted together."""

MAX_LINES = 4096
"""Accounts × sizes that are followed; of more, the one that is used least lately is forgotten."""

Line = tuple[str, int]
"""Account and GPUs."""


class Neighbours:
    """Tells each job its groups as it is submitted."""

    def __init__(self) -> None:
        self._count: dict[Line, int] = {}

    def submitted(self, account: str, gpus: int) -> Groups:
        """The groups of a new job, widest first."""
        line = (account, gpus)
        count = self._count.pop(line, 0)
        self._count[line] = count + 1
        while len(self._count) > MAX_LINES:
            del self._count[next(iter(self._count))]
        return "all", line, (line, count // NEIGHBOURS)
