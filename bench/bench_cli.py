"""How long the command takes to start: for a person, and for a script that calls it in a loop.

    python bench/bench_cli.py [--runs N]

`--help` loads no library of weight; `jobs` connects over CURVE to a real scheduler with 100 jobs
and prints them. Median and worst of N runs. Exit status 1 if a budget is missed.
"""

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.cli_site import CliSite

HELP_S_MAX = 0.25
JOBS_S_MAX = 0.6
"""Medians; a machine that does nothing else takes about a third of this."""

JOBS = 100


def timed(site: CliSite, verb: str, runs: int) -> list[float]:
    """Seconds of each run."""
    took = []
    for _ in range(runs):
        began_s = time.perf_counter()
        site.wattline(verb)
        took.append(time.perf_counter() - began_s)
    return took


def main() -> int:
    """Print the table; 1 if a median is above its budget."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    runs = parser.parse_args().runs
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wattline-bench-")))
        site = stack.enter_context(CliSite(folder))
        site.wattline("submit", "--array", f"0-{JOBS - 1}", "--", "true")
        rows = {
            "wattline --help": (timed(site, "--help", runs), HELP_S_MAX),
            f"wattline jobs ({JOBS} tasks)": (timed(site, "jobs", runs), JOBS_S_MAX),
        }
    for name, (took, budget_s) in rows.items():
        print(
            f"{name:28}  median {median(took) * 1000:6.0f} ms  worst {max(took) * 1000:6.0f} ms"
            f"  budget {budget_s * 1000:4.0f} ms"
        )
    return 1 if any(median(took) > budget_s for took, budget_s in rows.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
