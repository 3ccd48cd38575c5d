"""What a checkpoint costs the step, what its hash adds, and whether a reader sees a part of one.

The step waits for a copy in memory (`saving(background=True)`), which is compared with a copy of
the same array within the process. The hash is compared with the same writer without it, sync
included. Both by turns, so that what else the machine does meets both alike; figures are medians.

A reader sees a part of a checkpoint when one that is published differs from its manifest. Writers
of 8 MiB are killed at random moments, in the foreground and in the background, while it reads.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import msgspec
import numpy as np

from wattline import task
from wattline.task import publisher
from wattline.task.hashing import FileEntry, Hashing
from wattline_bench.verdict import Figures, judged, over

WAIT_RATIO_MAX = 1.15
HASH_SHARE_MAX = 0.05
KILLED_BYTES = 8 << 20
SAVES_PER_RUN = 4.0
"""A writer is killed within the time of so many saves, as one takes here now,"""
LEAST_RUN_S, MOST_RUN_S = 0.1, 0.6
"""within these bounds."""
OWN_SAVES = 2
"""Of the reader: before the first kill, and after the last."""


class Costs(Figures, frozen=True):
    """Of checkpoints on this machine."""

    bytes: int
    runs: int
    wait_s: float
    """The step waits this long with `background=True`."""
    copy_s: float
    """A copy of the same array in memory."""
    wait_ratio: float
    saved_s: float
    """Until it is published, sync included."""
    unhashed_s: float
    """The same without the hash."""
    hash_share: float
    kills: int
    published: int
    """Checkpoints that the killed writers published."""
    reads: int
    """Checkpoints read while writers were killed."""
    partial: int
    """Those that differed from their manifest."""
    ok: bool

    def misses(self) -> tuple[str, ...]:
        """Of all three."""
        return (
            *over("wait_ratio", self.wait_ratio, WAIT_RATIO_MAX),
            *over("hash_share", self.hash_share, HASH_SHARE_MAX),
            *over("partial", self.partial, 0),
        )


class Unhashed(Hashing):
    """Reads nothing: the writer without the hash."""

    def __init__(self, root: Path, names: Sequence[str], threads: int = 0) -> None:
        del threads
        self._unhashed = [FileEntry(n, (root / n).stat().st_size, "sha256", "") for n in names]

    def use_threads(self, count: int) -> None:
        """None is needed."""

    def entries(self) -> list[FileEntry]:
        """Without checksums."""
        return self._unhashed


@judged
def measure(*, mib: int, runs: int, kills: int, seed: int) -> Costs:
    """`kills`: writers of 8 MiB that are killed."""
    random.seed(seed)
    with tempfile.TemporaryDirectory(dir=".", prefix=".bench-checkpoint-") as directory:
        root = Path(directory)
        os.environ["WATTLINE_METRICS"] = str(root / "metrics.jsonl")  # else below this directory
        state = np.random.default_rng(seed).integers(0, 256, mib << 20, dtype=np.uint8)
        waits_s, copies_s = _waits(root / "waits", state, runs)
        hashed_s, unhashed_s = _publications(root / "hashed", state, runs)
        kept = _Reader(root / "killed")
        published = kept.watch(kills)
    wait_s, copy_s = median(waits_s), median(copies_s)
    saved_s, plain_s = median(hashed_s), median(unhashed_s)
    costs = Costs(
        bytes=state.nbytes,
        runs=runs,
        wait_s=round(wait_s, 4),
        copy_s=round(copy_s, 4),
        wait_ratio=round(wait_s / copy_s, 3),
        saved_s=round(saved_s, 3),
        unhashed_s=round(plain_s, 3),
        hash_share=round(saved_s / plain_s - 1.0, 4),
        kills=kills,
        published=published,
        reads=kept.reads,
        partial=kept.partial,
        ok=True,
    )
    return msgspec.structs.replace(costs, ok=not costs.misses())


def _waits(home: Path, state: "np.ndarray", runs: int) -> tuple[list[float], list[float]]:
    """The step's wait and the copy, by turns, and after one of each that is not counted."""
    waits_s, copies_s = [], []
    for step in range(runs + 1):
        began_s = time.perf_counter()
        copied = state.copy()
        copies_s.append(time.perf_counter() - began_s)
        del copied
        began_s = time.perf_counter()
        with task.saving(step, keep=1, directory=home, background=True) as path:
            state.tofile(path)
        waits_s.append(time.perf_counter() - began_s)
        task.wait_saved()
    return waits_s[1:], copies_s[1:]


def _publications(home: Path, state: "np.ndarray", runs: int) -> tuple[list[float], list[float]]:
    """What the helper does, with and without the hash, by turns."""
    times_s: dict[type[Hashing], list[float]] = {Hashing: [], Unhashed: []}
    with tempfile.TemporaryDirectory(dir="/dev/shm") as staged:
        state.tofile(Path(staged, "data"))
        for step in range(2 * (runs + 1)):
            kind = (Hashing, Unhashed)[step % 2]
            building = home / str(step)
            building.mkdir(parents=True)
            os.sync()
            began_s = time.perf_counter()
            publisher.build(Path(staged), building, step, {}, kind)
            times_s[kind].append(time.perf_counter() - began_s)
            (building / "data").unlink()
    return times_s[Hashing][1:], times_s[Unhashed][1:]


WRITERS = """
import os, signal, sys
from wattline import task
home, data = sys.argv[1], os.urandom(int(sys.argv[2]))
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # a writer that was killed leaves no zombie
for how in sys.stdin:
    writer = os.fork()
    if not writer:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        break
    os.setpgid(writer, writer)
    print(writer, flush=True)
else:
    sys.exit()
for step in range(1_000_000):
    with task.saving(step, directory=home, background=how == "background\\n") as path:
        path.write_bytes(data)
"""
"""Starts a writer for each line of its input. It is forked: only the first one pays for imports."""


class _Reader:
    """Reads each checkpoint that writers publish, all the time."""

    def __init__(self, home: Path) -> None:
        self.reads = self.partial = 0
        self._home = home
        self._is_over = threading.Event()

    def watch(self, kills: int) -> int:
        """While as many writers are killed; returns how many checkpoints they published."""
        longest_s = min(max(LEAST_RUN_S, SAVES_PER_RUN * self._save_s()), MOST_RUN_S)
        reader = threading.Thread(target=self._read_on)
        reader.start()
        try:
            _write_and_die(self._home, kills, longest_s)
        finally:
            self._is_over.set()
            reader.join()
        self._save_s()  # it removes the copy in memory of the writer that was killed last
        self._read()
        numbers = [int(path.name.partition("-")[0]) for path in self._home.glob("0*")]
        return max(numbers) - OWN_SAVES

    def _save_s(self) -> float:
        """Duration of a save of ours, in the background."""
        began_s = time.perf_counter()
        with task.saving(0, directory=self._home, background=True) as path:
            path.write_bytes(bytes(KILLED_BYTES))
        task.wait_saved()
        return time.perf_counter() - began_s

    def _read_on(self) -> None:
        while not self._is_over.is_set():
            self._read()

    def _read(self) -> None:
        for found in task.checkpoints(self._home):
            self.reads += 1
            if isinstance(found, task.Rejected) and found.directory.exists():
                self.partial += 1
                print(f"partial: {found.directory}: {found.reason}", file=sys.stderr)


def _write_and_die(home: Path, kills: int, longest_s: float) -> None:
    """One writer after the other, each killed with its helper."""
    command = [sys.executable, "-c", WRITERS, str(home), str(KILLED_BYTES)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, bufsize=1) as writers:
        assert writers.stdin is not None
        assert writers.stdout is not None
        for number in range(kills):
            writers.stdin.write("background\n" if number % 2 else "foreground\n")
            writer = int(writers.stdout.readline())
            time.sleep(random.uniform(0.0, longest_s))
            os.killpg(writer, signal.SIGKILL)
        writers.stdin.close()
