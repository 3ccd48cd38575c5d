"""How many submissions a second the scheduler accepts, each on disk before it is answered.

    python bench/bench_submit.py [--json]

Budgets (DESIGN 10): ≥ 300 /s one by one, ≥ 2,000 /s in arrays or batches. A real scheduler process
and one client over CURVE; no agents, so that only acceptance is measured. "One by one" waits for
each answer; "batches" keeps 64 under way; "arrays" counts the tasks of arrays of 100. Exit status
1 if a budget is missed.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.live_scheduler import (
    SchedulerProcess,
    SiteDirectory,
    WireClient,
)
from support.sites import JobBuilder, job, site
from wattline_protocol.requests import Submit, Submitted, Tell

ONE_BY_ONE_PER_S_MIN = 300.0
BATCHED_PER_S_MIN = 2_000.0
UNDER_WAY = 64


def submissions_per_s(client: WireClient, spec: JobBuilder, count: int, under_way: int) -> float:
    """Rate of accepted submissions with that many under way; waits for every answer."""
    began = time.perf_counter()
    started = answered = 0
    while answered < count:
        while started < count and started - answered < under_way:
            client.start(Submit(spec.build(), f"{began}-{started}"))
            started += 1
        told = client.next()
        if not isinstance(told, Tell) or not isinstance(told.answer, Submitted):
            raise RuntimeError(f"not accepted: {told}")
        answered += 1
    return count / (time.perf_counter() - began)


def measure() -> dict[str, float]:
    """All figures against one fresh scheduler."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory)
        site_dir = SiteDirectory(path / "site", site().rack("a", 4).build())
        with SchedulerProcess(site_dir.path, path / "state") as process:
            process.ready()
            client = WireClient(site_dir.bundle("ada")).welcomed()
            return {
                "one_by_one_per_s": submissions_per_s(client, job(), 500, 1),
                "batched_per_s": submissions_per_s(client, job(), 3_000, UNDER_WAY),
                "array_tasks_per_s": 100 * submissions_per_s(client, job().array(100), 100, 1),
            }


def main() -> int:
    """Print the figures; 1 if a budget is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = measure()
    batched = max(figures["batched_per_s"], figures["array_tasks_per_s"])
    ok = figures["one_by_one_per_s"] >= ONE_BY_ONE_PER_S_MIN and batched >= BATCHED_PER_S_MIN
    if options.json:
        print(json.dumps({"ok": ok, **figures}))
    else:
        for name, value in figures.items():
            print(f"{name:24} {value:12,.0f}")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
