"""A disk that is full, read-only or damaged: scheduler and agent stop with a clear message, and
nothing was acknowledged that is not on disk."""

import json
import os
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

import psutil
import pytest

from support.programs.cli_site import CliSite
from support.store.small_disk import SmallDisk, small_disk
from wattline import Client
from wattline.client.errors import Unreachable
from wattline_protocol.job.spec import JobSpec
from wattline_sim import truth

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120), pytest.mark.xdist_group("faults-disk")]

SCHEDULER_FAILED = 1
AGENT_STATE = 74
ANSWER_S = 3.0

HOT = "WATTLINE_SIM_PROFILE=training-hot"
BUSY = "while :; do :; done"


def without_reserve(site_file: str) -> str:
    return site_file.replace("[site]\n", '[site]\ndisk_reserve = "0B"\n')


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("disk")


@pytest.fixture(scope="module")
def store_disk(folder: Path) -> Iterator[SmallDisk]:
    """Where the scheduler has its state."""
    with small_disk(folder / "site" / "state", megabytes=8) as made:
        yield made


@pytest.fixture(scope="module")
def node_disk(folder: Path) -> Iterator[SmallDisk]:
    """Where the agent has its state."""
    with small_disk(folder / "agent-n1", megabytes=8) as made:
        yield made


@pytest.fixture(scope="module")
def site(folder: Path, store_disk: SmallDisk, node_disk: SmallDisk) -> Iterator[CliSite]:
    """A scheduler and an agent whose states are on small disks of their own."""
    within = {"scheduler": store_disk.enter, "agent": node_disk.enter}
    # Without a reserve: it would keep the disk from being filled.
    with CliSite(folder, within=within, edit=without_reserve) as made:
        made.start_node("n1")
        yield made


@pytest.fixture(autouse=True)
def whole_disks(store_disk: SmallDisk, node_disk: SmallDisk) -> Iterator[None]:
    """A test that fails half way leaves no disk full or read-only."""
    yield
    for disk in (store_disk, node_disk):
        disk.make_read_only(is_read_only=False)
        disk.free()


@contextmanager
def damaged(file: Path, damage: bytes) -> Iterator[None]:
    """A file with other contents for a block."""
    whole = file.read_bytes()
    file.write_bytes(damage)
    try:
        yield
    finally:
        file.write_bytes(whole)


def last_line(site: CliSite, program: str, event: str) -> dict[str, Any]:
    """The newest line of that name in a program's log."""
    lines = (site.folder / f"{program}.log").read_text().splitlines()
    reported = [json.loads(line) for line in lines if line.startswith("{")]
    found: dict[str, Any] = [line for line in reported if line["event"] == event][-1]
    return found


def no_traceback(site: CliSite, program: str) -> bool:
    return "Traceback" not in (site.folder / f"{program}.log").read_text()


def jobs_on_disk(disk: SmallDisk, copy: Path) -> set[int]:
    """Numbers in the store of a scheduler that has ended, its write-ahead log included.

    In a copy, because SQLite would follow `outside` to the path itself, where nothing is.
    """
    for file in disk.outside.glob("wattline.db*"):
        shutil.copy(file, copy)
    with closing(sqlite3.connect(copy / "wattline.db")) as db:
        return {row[0] for row in db.execute("SELECT id FROM jobs")}


def acknowledged_until_silent(site: CliSite) -> Iterator[int]:
    """Jobs that are acknowledged before the scheduler stops answering."""
    spec = JobSpec(name="filler", command=("true",), hold=True, env={"X": "x" * 9000})
    with Client(site.bundle("admin"), timeout_s=ANSWER_S) as client, suppress(Unreachable):
        while True:
            yield client.submit(spec)


def busy(site: CliSite) -> tuple[int, int]:
    """A job that heats a GPU, and the process id of its task."""
    job = int(site.submit("--gpus", "1", "--env", HOT, "--", "sh", "-c", BUSY))
    site.until_state(str(job), "RUNNING")
    pid = site.client.job(job).attempts[0].pid
    assert pid is not None
    return job, pid


def is_untouched(site: CliSite, job: int, pid: int) -> bool:
    """It runs on in its first attempt."""
    view = site.client.job(job)
    tries = [(a.attempt, a.pid) for a in view.attempts]
    return view.state == "RUNNING" and tries == [(1, pid)] and psutil.pid_exists(pid)


def test_a_full_disk_stops_the_scheduler_and_no_acknowledged_job_is_lost(
    site: CliSite, store_disk: SmallDisk, tmp_path: Path
) -> None:
    job, pid = busy(site)
    store_disk.fill()
    acknowledged = set(islice(acknowledged_until_silent(site), 500))
    assert len(acknowledged) < 500
    assert site.ended("scheduler") == SCHEDULER_FAILED
    line = last_line(site, "scheduler", "store_failed")
    assert line["kind"] == "StoreFull"
    assert "Free space" in line["reason"]
    assert no_traceback(site, "scheduler")
    assert {job} | acknowledged <= jobs_on_disk(store_disk, tmp_path)
    store_disk.free()
    site.start_scheduler()
    assert {job} | acknowledged <= {view.id for view in site.client.jobs()}
    site.until(lambda: is_untouched(site, job, pid), "the job runs on")
    site.wattline("cancel", str(job))


def test_a_read_only_state_directory_stops_the_scheduler(
    site: CliSite, store_disk: SmallDisk
) -> None:
    site.stop("scheduler")
    store_disk.make_read_only()
    site.begin_scheduler()
    assert site.ended("scheduler") == SCHEDULER_FAILED
    line = last_line(site, "scheduler", "store_failed")
    assert line["kind"] == "StoreUnwritable"
    assert "state" in line["reason"]
    assert no_traceback(site, "scheduler")
    store_disk.make_read_only(is_read_only=False)
    site.start_scheduler()


def test_a_corrupt_database_stops_the_scheduler_and_is_left_as_it_is(
    site: CliSite, store_disk: SmallDisk
) -> None:
    site.stop("scheduler")
    file = store_disk.outside / "wattline.db"
    whole = file.read_bytes()
    damage = whole[:4096] + b"\xa5" * 8192 + whole[12288:]
    with damaged(file, damage):
        site.begin_scheduler()
        assert site.ended("scheduler") == SCHEDULER_FAILED
        line = last_line(site, "scheduler", "store_failed")
        assert line["kind"] == "StoreCorrupt"
        assert "put a backup in its place" in line["reason"]
        assert file.read_bytes() == damage
        assert no_traceback(site, "scheduler")
    site.start_scheduler()


def test_a_full_disk_stops_the_agent_at_its_floors_and_the_task_runs_on(
    site: CliSite, node_disk: SmallDisk
) -> None:
    site.until(lambda: site.client.node("n1").state == "ok", "the node is heard")
    job, pid = busy(site)
    node_disk.fill()
    # It may have run when the agent stops: what is noted of an attempt has its room beforehand.
    other = int(site.submit("--gpus", "4", "--", "true"))
    assert site.ended("agent-n1") == AGENT_STATE
    line = last_line(site, "agent-n1", "state_unusable")
    assert "free space" in line["error"]
    assert no_traceback(site, "agent-n1")
    floors = {round(gpu.cap_min_w * 1000) for gpu in site.client.node("n1").gpus}
    site.until(lambda: set(caps_mw(site)) == floors, "floors in force")
    assert psutil.pid_exists(pid)
    node_disk.free()
    site.start_agent()
    site.until(lambda: is_untouched(site, job, pid), "the job runs on")
    site.until_state(str(other), "COMPLETED")
    site.wattline("cancel", str(job))
    site.until_state(str(job), "CANCELLED")


def test_a_keeper_that_dies_on_a_full_disk_stops_the_agent_too(
    site: CliSite, node_disk: SmallDisk
) -> None:
    job, pid = busy(site)
    node_disk.fill()
    os.kill(int((node_disk.outside / "keeper.pid").read_text()), signal.SIGKILL)
    assert site.ended("agent-n1") == AGENT_STATE
    assert "free space" in last_line(site, "agent-n1", "state_unusable")["error"]
    assert no_traceback(site, "agent-n1")
    site.until(lambda: not psutil.pid_exists(pid), "the task dies with its keeper")
    node_disk.free()
    site.start_agent()
    site.until(lambda: site.client.job(job).attempt_count == 2, "the job runs again")
    site.wattline("cancel", str(job))
    site.until_state(str(job), "CANCELLED")


def caps_mw(site: CliSite) -> tuple[int, ...]:
    """Limits that the simulated GPUs enforced in the last second."""
    return list(truth.read(site.hardware()))[-1].cap_mw


def test_a_read_only_state_directory_stops_the_agent(site: CliSite, node_disk: SmallDisk) -> None:
    site.stop("agent-n1")
    site.until(lambda: not site.keepers(), "the idle keeper has ended")
    node_disk.make_read_only()
    site.begin_agent()
    assert site.ended("agent-n1") == AGENT_STATE
    line = last_line(site, "agent-n1", "state_unusable")
    assert "Read-only file system" in line["error"]
    assert "a state directory it can write" in line["error"]
    assert no_traceback(site, "agent-n1")
    node_disk.make_read_only(is_read_only=False)
    site.start_agent()


def test_a_corrupt_state_file_stops_the_agent_and_is_left_as_it_is(
    site: CliSite, node_disk: SmallDisk
) -> None:
    site.stop("agent-n1")
    file = node_disk.outside / "agent.state"
    damage = file.read_bytes()[:-40]
    with damaged(file, damage):
        site.begin_agent()
        assert site.ended("agent-n1") == AGENT_STATE
        line = last_line(site, "agent-n1", "state_unusable")
        assert "agent.state is damaged" in line["error"]
        assert "move the file away" in line["error"]
        assert file.read_bytes() == damage
    file.unlink()
    site.start_agent()
