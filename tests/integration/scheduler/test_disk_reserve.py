"""A small disk that users fill: new jobs are refused before it is full, and the rest goes on."""

import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from support.core.job_odds import PLAIN
from support.core.sites import site
from support.programs.live_scheduler import SchedulerProcess, SiteDirectory, WireClient, until
from support.store.small_disk import SmallDisk, small_disk
from wattline_protocol.ids import JobId, UserName
from wattline_protocol.job.selection import Selection, only
from wattline_protocol.site.model import Site
from wattline_protocol.wire.client_messages import Acted, Cancel, Denied, Submit, Submitted

MEGABYTES, LARGER_MEGABYTES = 24, 64
FILLER_MB = 8
LARGE = msgspec.structs.replace(
    PLAIN, hold=True, command=("echo", "a" * 60_000), env={"X": "b" * 60_000}
)
"""120 kB."""
JOBS = 177


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "small", MEGABYTES) as made:
        yield made


def started(folder: Path, disk: SmallDisk, of: Site) -> tuple[SchedulerProcess, SiteDirectory]:
    directory = SiteDirectory(folder / "site", of)
    state = disk.path / "state"
    return SchedulerProcess(directory.path, state, within=disk.enter).ready(), directory


def test_jobs_that_would_fill_the_disk_are_refused_and_ends_go_on(
    tmp_path: Path, disk: SmallDisk
) -> None:
    (disk.outside / "ballast").write_bytes(b"\0" * FILLER_MB * 2**20)
    scheduler, directory = started(tmp_path, disk, site().rack("a", 1).build())
    with scheduler, WireClient(directory.bundle("ada")).welcomed() as client:
        taken, tokens = list[JobId](), itertools.count()

        def is_full() -> bool:
            answer = client.ask(Submit(LARGE, f"t{next(tokens)}"))
            if isinstance(answer, Submitted):
                taken.append(answer.job)
                return False
            assert isinstance(answer, Denied)
            assert answer.kind == "busy"
            assert "disk is nearly full" in answer.reason
            return any(line["event"] == "disk_reserve_reached" for line in scheduler.lines)

        until(is_full, "the reserve to be reached")
        assert len(taken) < JOBS
        assert isinstance(client.ask(Cancel(only(taken[0]))), Acted)
        disk.free()
        until(
            lambda: isinstance(client.ask(Submit(PLAIN, f"again{next(tokens)}")), Submitted),
            "jobs to be taken again",
        )
        assert scheduler.stop() == 0


def test_a_cancel_of_all_jobs_does_not_fill_the_disk(tmp_path: Path) -> None:
    """In one transaction it would write them all once more."""
    with ExitStack() as stack:
        disk = stack.enter_context(small_disk(tmp_path / "larger", LARGER_MEGABYTES))
        scheduler, directory = started(tmp_path, disk, site().rack("a", 1).build())
        stack.enter_context(scheduler)
        client = stack.enter_context(WireClient(directory.bundle("ada")).welcomed())
        tokens = itertools.count()
        until(
            lambda: isinstance(client.ask(Submit(LARGE, f"t{next(tokens)}")), Denied),
            "the reserve to be reached",
        )
        which, after, rest = Selection(users=(UserName("ada"),)), JobId(0), 1
        while rest:
            part = client.ask(Cancel(which, after=after))
            assert isinstance(part, Acted)
            after, rest = part.jobs[-1].job, part.rest
        assert scheduler.stop() == 0
