"""How long a restart takes with many jobs on record, until the scheduler serves.

Budget (DESIGN 10): 100,000 jobs on record, ≤ 3 s from the start of the process to its first answer
to a client, Python and imports included. The part that depends on the record, opening and loading,
is measured apart, in a fresh process. By default all but 1,000 jobs have ended; `--open 100000` is
the worst case.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from wattline_bench.rig import history
from wattline_bench.rig.site import LiveSite, rack_site
from wattline_bench.verdict import Figures, judged, over

RESTART_S_MAX = 3.0

_OPEN = """
import sys, time
from pathlib import Path
from wattline_bench.rig.site import rack_site
from wattline_scheduler.shell.config import SchedulerConfig
from wattline_scheduler.shell.run import restore
site = rack_site(4)
began = time.perf_counter()
config = SchedulerConfig(Path("unused"), Path(sys.argv[1]))
store, saved, cluster = restore(config, site, "")
print(time.perf_counter() - began, len(saved.jobs))
store.close()
"""


class Restart(Figures, frozen=True):
    """Of a scheduler that starts on this record."""

    jobs: int
    loaded: int
    store_mb: float
    restart_s: float
    """Opening and loading."""
    serving_s: float
    """From the start of the process to its first answer."""
    serving_cpu_s: float
    """Processor time of the scheduler until then: what a busy machine does not change."""

    def misses(self) -> tuple[str, ...]:
        """Of the time to the first answer."""
        return over("seconds to serving", self.serving_s, RESTART_S_MAX)


def _restart(directory: Path) -> tuple[float, int]:
    """Seconds to open and load in a fresh process, and how many jobs were loaded."""
    command = [sys.executable, "-c", _OPEN, str(directory)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, loaded = done.stdout.split()
    return float(seconds), int(loaded)


def _serve(folder: Path) -> tuple[float, float]:
    """Seconds from starting the real scheduler on `folder/state` to its first answer, and the
    processor time it took."""
    live = LiveSite(folder, rack_site(4))
    try:
        live.ready()
        return time.monotonic() - live.started_s, live.core_time().used_s
    finally:
        live.close()


@judged
def measure(*, jobs: int, open_jobs: int) -> Figures:
    """Fill a store, and restart on it."""
    with tempfile.TemporaryDirectory(prefix="wattline-bench-") as directory:
        state = Path(directory) / "state"
        history.fill(state, jobs, open_jobs)
        size_mb = sum(f.stat().st_size for f in state.iterdir()) / 1e6
        seconds, loaded = _restart(state)
        serving = _serve(Path(directory))
    return Restart(jobs, loaded, size_mb, seconds, *serving)
