"""Data sets on nodes: what a second version stores, what a cached start costs, a store away.

A real scheduler, keeper and agent; the fetch process is the keeper's child, as on any node. The
store is a directory. With `--kills` a fetch process of its own is killed again and again at random
moments, and its cache and the checkpoints that it copied are examined after each.
"""

import random
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from wattline.task.directory import new_building, publish, retain
from wattline.task.manifest import seal
from wattline_bench.rig.hosts import HostSite, host_site
from wattline_bench.rig.site import LOOK_S
from wattline_bench.verdict import Figures, judged, over
from wattline_protocol.data.site_data import SiteData
from wattline_protocol.ids import UnixTime
from wattline_protocol.job.spec import DataSpec, JobSpec, Resources
from wattline_protocol.wire.agents.data_messages import (
    CheckpointsToStore,
    DataToHold,
    FetchOrder,
    HoldOrder,
)
from wattline_runtime.data.add import NewVersion
from wattline_runtime.data.cache.examine import disk_bytes, problems_of
from wattline_runtime.data.stores.below import Below
from wattline_runtime.data.stores.interface import NotInStore, Store
from wattline_runtime.data.stores.local import LocalStore
from wattline_runtime.data.verify import verify_version

STORED_PCT_MAX = 1.1
CACHED_START_S_MAX = 0.2
FILES, FILE_BYTES = 1_000, 250_000
CHANGED = FILES // 100
SET = "bench"
"""Its name."""
KILL_LIMIT_BYTES = 12 * 1024 * 1024
KILL_VERSIONS, KILL_FILES = 8, 60
SLOWEST_KILL_S = 0.9
MANY_KILLS = 50
PREFIX = f"checkpoints/{SET}/1"
RETRY_S_MAX = 65.0
"""A store is tried again after a minute at the latest."""
PATIENCE_S = 180.0


class DataFigures(Figures, frozen=True, omit_defaults=True):
    """What `wattline bench data --json` prints."""

    second_version_stored_pct: float
    cached_start_s: float
    """What a start with data in the cache takes longer than one without data, median."""
    store_away_s: float
    """From the submission of a job whose store is away until it has run: the store returns after
    `--away` seconds, and is tried at least once a minute."""
    bytes_per_s: float
    """Of a fetch, from submission to start."""
    away_s: float
    kills: int = 0
    kill_problems: tuple[str, ...] = ()

    def misses(self) -> tuple[str, ...]:
        """Of stored bytes, start, wait and kills."""
        return (
            *over("stored by a second version, %", self.second_version_stored_pct, STORED_PCT_MAX),
            *over("a cached start, s more", self.cached_start_s, CACHED_START_S_MAX),
            *over("wait for a store that is away, s", self.store_away_s, self.away_s + RETRY_S_MAX),
            *self.kill_problems,
        )


@judged
def measure(*, starts: int, away: float, kills: int, seed: int) -> Figures:
    """All of it on one node; the kills beside it."""
    rng = random.Random(seed)
    problems = tuple(_kill_often(kills, rng)) if kills else ()
    with TemporaryDirectory(prefix="wattline-store-") as folder, _site(Path(folder)) as bench:
        stored_pct = bench.add_two(rng)
        bytes_per_s = bench.fetch()
        cached_s = bench.cached_start_s(starts)
        waited_s = bench.wait_for_store(away, rng)
    return DataFigures(stored_pct, cached_s, waited_s, bytes_per_s, away, kills, problems)


@contextmanager
def _site(folder: Path) -> Iterator["Bench"]:
    store = folder / "store"
    store.mkdir()
    with host_site(
        site=lambda site: msgspec.structs.replace(site, data=SiteData(str(store)))
    ) as at:
        at.start_nodes()
        yield Bench(at, store, folder / "tree")


class Bench:
    """A site with one node, a store and a folder of files."""

    def __init__(self, site: HostSite, store: Path, tree: Path) -> None:
        self._site, self._client, self._store, self._tree = site, site.client, store, tree

    def add_two(self, rng: random.Random) -> float:
        """Two versions; what the second one stores, in per cent of the first."""
        for number in range(FILES):
            self._write(number, rng)
        first = self._add()
        for number in range(CHANGED):
            self._write(number * 100, rng)
        return round(100 * self._add() / first, 3)

    def _write(self, number: int, rng: random.Random) -> None:
        path = self._tree / f"part-{number // 100:02}" / f"{number:04}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.randbytes(FILE_BYTES))

    def _add(self) -> int:
        """Bytes that a version of the folder adds to the store."""
        place = self._client.prepare_data(SET)
        with NewVersion(self._tree) as version:
            stored = version.put(LocalStore(str(self._store)))
            tree = version.tree
        self._client.add_data(
            SET,
            place,
            sha256=tree.sha256,
            files=tree.files,
            size=tree.size,
            stored_bytes=stored.bytes,
        )
        return stored.bytes

    def fetch(self) -> float:
        """Bytes per second of the first version, for a job that waits for it."""
        began_s = time.monotonic()
        self._run(f"{SET}@v1")
        return round(FILES * FILE_BYTES / (time.monotonic() - began_s))

    def cached_start_s(self, starts: int) -> float:
        """Medians, in turn: what is slow for a moment is slow for both."""
        with_data, without = [], []
        for _ in range(starts):
            with_data.append(self._run(f"{SET}@v1"))
            without.append(self._run())
        return round(statistics.median(with_data) - statistics.median(without), 4)

    def wait_for_store(self, away_s: float, rng: random.Random) -> float:
        """Seconds from submission to end, the store being away for the first of them."""
        self._write(0, rng)
        self._add()
        away = self._store.with_name("away")
        self._store.rename(away)
        began_s = time.monotonic()
        job = self._submit(f"{SET}@v3")
        self._until(lambda: "store is away" in self._client.job(job).reason, job, "its reason")
        while time.monotonic() < began_s + away_s:
            seen = self._client.job(job)
            if seen.state != "PENDING":
                raise RuntimeError(f"the job is {seen.state} without its data: {seen.reason}")
            time.sleep(LOOK_S)
        away.rename(self._store)
        self._until(lambda: self._client.job(job).state == "COMPLETED", job, "the end of the job")
        return round(time.monotonic() - began_s, 2)

    def _run(self, *versions: str) -> float:
        """Seconds from submission to the start of a job."""
        before_unix_s = time.time()
        job = self._submit(*versions)
        self._until(lambda: self._client.job(job).state == "COMPLETED", job, "the end of the job")
        started = self._client.job(job).attempts[0].started_unix_s
        return (started or time.time()) - before_unix_s

    def _submit(self, *versions: str) -> int:
        spec = JobSpec("read", ("true",), resources=Resources(gpus_per_node=1))
        return self._client.submit(msgspec.structs.replace(spec, data=DataSpec(versions)))

    def _until(self, holds: Callable[[], bool], job: int, what: str) -> None:
        until_s = time.monotonic() + PATIENCE_S
        while not holds():
            self._site.processes.check()
            seen = self._client.job(job)
            if seen.state == "FAILED" or time.monotonic() > until_s:
                raise RuntimeError(f"not seen: {what}; it is {seen.state}: {seen.reason}")
            time.sleep(LOOK_S / 10)


# --- Kills --------------------------------------------------------------------------------


def _kill_often(kills: int, rng: random.Random) -> Iterator[str]:
    """What was wrong with the cache, or with copies of checkpoints, after any of the kills."""
    with TemporaryDirectory(prefix="wattline-kills-") as name:
        folder = Path(name)
        (folder / "store").mkdir()
        versions = [_version(folder, number, rng) for number in range(KILL_VERSIONS)]
        for number in range(kills):
            if number % 100 == 0:
                print(f"kill {number} of {kills}", file=sys.stderr, flush=True)
            _save(folder / "checkpoints/1", number, rng)
            _kill_one(folder, rng.sample(versions, 3), number, rng)
            yield from (f"after kill {number}: {one}" for one in _broken_copies(folder))
            yield from (f"after kill {number}: {one}" for one in problems_of(folder / "cache"))
            taken = disk_bytes(folder / "cache")
            if taken > KILL_LIMIT_BYTES:
                yield f"after kill {number}: {taken} bytes, {KILL_LIMIT_BYTES} are allowed"
        if kills >= MANY_KILLS and not list(_copies(folder).keys("saves/")):
            yield "no checkpoint was ever copied"


def _save(home: Path, step: int, rng: random.Random) -> None:
    """A checkpoint, as `wattline.task` publishes it."""
    building = new_building(home)
    (building / "data").write_bytes(rng.randbytes(rng.randrange(200_000)))
    seal(building, step, {})
    publish(building, home, step)
    retain(home, 2, 0)


def _copies(folder: Path) -> Store:
    return Below(LocalStore(str(folder / "store")), f"{PREFIX}/1")


def _broken_copies(folder: Path) -> Iterator[str]:
    """Copies of checkpoints that are on record in the store and not whole."""
    part = _copies(folder)
    for key in part.keys("saves/"):
        with suppress(NotInStore):  # retention of a copy that has not ended yet
            if not verify_version(part, key.rpartition("-")[2]).ok and part.size(key) is not None:
                yield f"{key} is not whole"


def _version(folder: Path, number: int, rng: random.Random) -> DataToHold:
    """A version that shares half of its files with the one before."""
    tree = folder / "tree"
    for at in range(KILL_FILES):
        if not number or rng.random() < 0.5:
            path = tree / f"{at % 7}" / f"{at}.bin"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(rng.randbytes(rng.randrange(80_000)))
    with NewVersion(tree) as version:
        version.put(LocalStore(str(folder / "store")))
        found = version.tree
    return DataToHold(found.sha256, SET, number + 1, found.size, store=str(folder / "store"))


def _kill_one(folder: Path, versions: list[DataToHold], number: int, rng: random.Random) -> None:
    """Start a fetch process, give it a list, and kill it at a random moment."""
    path = folder / "s"
    argv = [sys.executable, "-P", "-m", "wattline_runtime.data.fetch", "--socket", str(path)]
    argv += ["--cache-dir", str(folder / "cache"), "--cache-size", str(KILL_LIMIT_BYTES)]
    path.unlink(missing_ok=True)
    with subprocess.Popen(argv) as process:
        link = _connected(path, process)
        copies = CheckpointsToStore(
            store=str(folder / "store"),
            user=SET,
            secret=SET,
            job=1,
            attempt=1,
            prefix=PREFIX,
            root=str(folder / "checkpoints"),
            saved_unix_s=UnixTime(float(number)),
        )
        hold = HoldOrder(tuple(versions), to_store=(copies,))
        secrets = {copies.opened_by: b"A=none is needed"}
        link.sendall(msgspec.json.encode(FetchOrder(hold, secrets)) + b"\n")
        time.sleep(rng.uniform(0.0, SLOWEST_KILL_S))
        process.send_signal(signal.SIGKILL)
        link.close()
    if not (folder / "cache/versions").is_dir():
        raise RuntimeError("the fetch process made no cache")


def _connected(path: Path, process: subprocess.Popen[bytes]) -> socket.socket:
    until_s = time.monotonic() + PATIENCE_S
    while True:
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            link.connect(str(path))
        except OSError as error:
            link.close()
            if process.poll() is not None or time.monotonic() > until_s:
                raise RuntimeError("the fetch process does not answer") from error
            time.sleep(LOOK_S / 10)
        else:
            return link
