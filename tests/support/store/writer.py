"""A process that commits to a store and says so, to be killed at any moment.

Started once; forks a fresh writer for each line on stdin (a state directory), prints the writer's
pid, then the number of each batch after its commit has returned.
"""

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from support.core import records
from wattline_scheduler.store.store import Store

BATCH = 3
"""Jobs in each commit: all of them must be there, or none."""


def write(directory: Path) -> None:
    """Commit batch after batch until killed."""
    store, saved = Store.open(directory, now_unix_s=records.T0)
    number: int = saved.next_job
    while True:
        batch = range(number, number + BATCH)
        jobs = [records.job(n) for n in batch]
        store.commit([*jobs, *(records.gang(n) for n in batch), records.book(acked_mw=number)])
        os.write(1, f"{number}\n".encode())
        number += BATCH


def main() -> None:
    """Fork a writer for each line."""
    for line in sys.stdin:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        pid = os.fork()
        if pid == 0:
            write(Path(line.strip()))
        os.write(1, f"pid {pid}\n".encode())


if __name__ == "__main__":
    main()
