"""kill -9 at any moment: what a commit said is on disk is there, whole, and nothing by halves."""

import os
import random
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from support.core import records
from support.programs.live_scheduler import until
from support.store import writer as store_writer
from wattline_scheduler.records import Saved
from wattline_scheduler.store.errors import StoreFull, StoreLocked
from wattline_scheduler.store.store import Store

ROUNDS = 40


@pytest.fixture
def forker() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, store_writer.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def start_writer(forker: subprocess.Popen[str], directory: Path) -> tuple[int, IO[str]]:
    assert forker.stdin is not None
    assert forker.stdout is not None
    forker.stdin.write(f"{directory}\n")
    while not (line := forker.stdout.readline()).startswith("pid"):
        assert line, "the forker has ended"
    return int(line.split()[1]), forker.stdout


def test_whatever_was_acknowledged_survives_kill_9(
    forker: subprocess.Popen[str], tmp_path: Path
) -> None:
    chance = random.Random(7)
    acknowledged: list[int] = []
    for _ in range(ROUNDS):
        pid, lines = start_writer(forker, tmp_path)
        acknowledged += [int(lines.readline()) for _ in range(chance.randint(1, 12))]
        os.kill(pid, signal.SIGKILL)
        # The lock is free as soon as the kernel has ended the writer.
        store, saved = open_when_free(tmp_path)
        store.close()
        numbers = [job.id for job in saved.jobs]
        assert set(acknowledged) <= set(numbers)
        assert len(numbers) % store_writer.BATCH == 0
        assert [gang.job for gang in saved.gangs] == numbers
        assert saved.books[0].acked_mw == max(numbers) - store_writer.BATCH + 1
        assert saved.epoch > 1


def open_when_free(directory: Path) -> tuple[Store, Saved]:
    opened: list[tuple[Store, Saved]] = []

    def is_open() -> bool:
        try:
            opened.append(Store.open(directory, now_unix_s=records.T0))
        except StoreLocked:
            return False
        return True

    until(is_open, "the killed writer's lock to be free")
    return opened[0]


_UNTIL_FULL = """
import resource, sys
from pathlib import Path
from support.core import records
from wattline_scheduler.store.errors import StoreFull
from wattline_scheduler.store.store import Store

store, _ = Store.open(Path(sys.argv[1]), now_unix_s=records.T0)
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
try:
    for number in range(1, 100_000):
        store.commit([records.job(number)])
        print(number, flush=True)
except StoreFull as error:
    print(error, file=sys.stderr)
    sys.exit(7)
"""


def test_a_commit_that_does_not_fit_raises_and_loses_nothing_before_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _UNTIL_FULL, str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(records.__file__).parents[2])},
        check=False,
    )
    assert done.returncode == 7, done.stderr
    assert "Free space" in done.stderr
    acknowledged = [int(line) for line in done.stdout.split()]
    store, saved = Store.open(tmp_path, now_unix_s=records.T0)
    assert acknowledged
    assert [job.id for job in saved.jobs] == acknowledged
    store.commit([records.job(max(acknowledged) + 1)])
    store.close()


def test_a_backup_that_does_not_fit_leaves_no_file_of_that_name(tmp_path: Path) -> None:
    store, _ = Store.open(tmp_path / "state", now_unix_s=records.T0)
    store.commit([records.job(n) for n in range(1, 500)])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(StoreFull):
            store.backup(tmp_path / "copy.db")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not (tmp_path / "copy.db").exists()
    store.close()
