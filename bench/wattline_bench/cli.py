"""How long the command takes to start: for a person, and for a script that calls it in a loop.

`--help` loads no library of weight; `jobs` connects over CURVE to a real scheduler with 100 jobs
and prints them.
"""

import time
from statistics import median

from wattline_bench.rig.hosts import HostSite, host_site
from wattline_bench.verdict import Figures, judged, over

HELP_MS_MAX = 250.0
JOBS_MS_MAX = 600.0
"""Medians; a machine that does nothing else takes about a third of this."""

JOBS = 100


class Start(Figures, frozen=True):
    """Milliseconds from starting a command to its end."""

    command: str
    p50_ms: float
    worst_ms: float
    budget_ms: float

    def misses(self) -> tuple[str, ...]:
        """Of the median."""
        return over(f"`wattline {self.command}`: median ms", self.p50_ms, self.budget_ms)


def _timed(site: HostSite, verb: str, runs: int, budget_ms: float) -> Start:
    took = []
    for _ in range(runs):
        began_s = time.perf_counter()
        site.run(verb)
        took.append(1e3 * (time.perf_counter() - began_s))
    return Start(verb, median(took), max(took), budget_ms)


@judged
def measure(*, runs: int) -> tuple[Figures, ...]:
    """Start each command `runs` times."""
    with host_site() as site:
        site.run("submit", "--array", f"0-{JOBS - 1}", "--", "true")
        return (
            _timed(site, "--help", runs, HELP_MS_MAX),
            _timed(site, "jobs", runs, JOBS_MS_MAX),
        )
