"""How long a restart takes with many jobs on record, until the cluster could serve.

    python bench/bench_restart.py [--jobs N] [--open N] [--json]

Budget (DESIGN 10): 100,000 jobs on record, ≤ 3 s. Measured in a fresh process, imports apart;
by default all but 1,000 jobs have ended; `--open 100000` is the worst case. Exit status 1 if the
budget is missed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support import records
from wattline_scheduler.store.rows import Storable
from wattline_scheduler.store.store import Store

RESTART_S_MAX = 3.0
BATCH = 5_000

_OPEN = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from support.sites import site
from wattline_scheduler.shell.config import SchedulerConfig
from wattline_scheduler.shell.run import restore
began = time.perf_counter()
config = SchedulerConfig(Path("unused"), Path(sys.argv[1]))
store, saved, cluster = restore(config, site().rack("n", 4).build(), "")
print(time.perf_counter() - began, len(saved.jobs))
store.close()
"""


def fill(directory: Path, jobs: int, open_jobs: int) -> None:
    """Put `jobs` jobs on record, the newest `open_jobs` of them not ended."""
    store, _ = Store.open(directory, now_unix_s=time.time())
    for first in range(1, jobs + 1, BATCH):
        rows: list[Storable] = []
        for number in range(first, min(first + BATCH, jobs + 1)):
            is_open = number > jobs - open_jobs
            rows.append(records.job(number, ended_after_s=None if is_open else 100.0))
            rows.append(records.gang(number, attempt=1, is_ended=not is_open))
            rows.append(records.event(number))
            if not is_open:
                rows.append(records.attempt(number))
        store.commit(rows)
    store.close()


def restart(directory: Path) -> tuple[float, int]:
    """Seconds to open and load in a fresh process, and how many jobs were loaded."""
    done = subprocess.run(
        [sys.executable, "-c", _OPEN, str(directory), str(Path(__file__).parents[1] / "tests")],
        check=True,
        capture_output=True,
        text=True,
    )
    seconds, loaded = done.stdout.split()
    return float(seconds), int(loaded)


def main() -> int:
    """Print the figures; 1 if the budget is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--open", type=int, default=1_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        fill(Path(directory), options.jobs, options.open)
        size_mb = sum(f.stat().st_size for f in Path(directory).iterdir()) / 1e6
        seconds, loaded = restart(Path(directory))
    ok = seconds <= RESTART_S_MAX
    figures = {"jobs": options.jobs, "loaded": loaded, "store_mb": size_mb, "restart_s": seconds}
    if options.json:
        print(json.dumps({"ok": ok, **figures}))
    else:
        print(", ".join(f"{name} {value:,.3g}" for name, value in figures.items()))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
