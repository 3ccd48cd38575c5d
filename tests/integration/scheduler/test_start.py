"""What keeps a scheduler from starting, or ends it: said in one line, and nothing is lost."""

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from support.core.job_asks import jobs_on_disk, submit, view
from support.core.sites import job
from support.programs.live_scheduler import SchedulerProcess, SiteDirectory, WireClient
from wattline_protocol.ids import JobId
from wattline_protocol.job.selection import only
from wattline_protocol.trust.keys import JoinBundle
from wattline_protocol.wire.client_messages import Cancel, Denied, GetJob, Submit


def test_a_second_scheduler_on_the_same_state_is_refused(
    directory: SiteDirectory, state: Path, scheduler: SchedulerProcess, tmp_path: Path
) -> None:
    other = SiteDirectory(tmp_path / "other", directory.site)
    with SchedulerProcess(other.path, state) as second:
        assert second.gone() == 1
        line = second.wait_for("store_failed")
        assert line["kind"] == "StoreLocked"
        assert str(scheduler.process.pid) in line["reason"]


def test_a_fenced_scheduler_stops(
    scheduler: SchedulerProcess, state: Path, ada: JoinBundle
) -> None:
    with WireClient(ada).welcomed() as client:
        with sqlite3.connect(state / "wattline.db") as db:
            db.execute("UPDATE meta SET epoch = epoch + 1, instance = 'other'")
        db.close()
        client.start(Submit(job().build(), "late"))
        assert scheduler.gone() == 1
        assert not client.socket.poll(0.2)
    assert scheduler.wait_for("store_failed")["kind"] == "StoreFenced"
    assert jobs_on_disk(state) == set()


def test_a_scheduler_whose_state_directory_is_deleted_stops(
    scheduler: SchedulerProcess, state: Path, ada: JoinBundle
) -> None:
    with WireClient(ada).welcomed() as client:
        submit(client)
        shutil.rmtree(state)
        assert scheduler.gone() == 1
    line = scheduler.wait_for("store_failed")
    assert line["kind"] == "StoreReplaced"
    assert "--recover" in line["reason"]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: (path / "site.toml").unlink(), "cannot read"),
        (lambda path: (path / "site.toml").write_text("nodes = 3"), "site.toml"),
        (lambda path: (path / "keys/scheduler.key").unlink(), "scheduler.key"),
        (lambda path: (path / "keys/scheduler.key").chmod(0o644), "chmod 600"),
    ],
)
def test_an_unusable_site_directory_is_told_in_one_line(
    directory: SiteDirectory, state: Path, spoil: object, reason: str
) -> None:
    assert callable(spoil)
    spoil(directory.path)
    with SchedulerProcess(directory.path, state) as process:
        assert process.gone() == 2
        assert reason in process.wait_for("scheduler_not_started")["reason"]
    assert not state.exists()


def test_a_taken_port_is_told(
    directory: SiteDirectory, scheduler: SchedulerProcess, tmp_path: Path
) -> None:
    with SchedulerProcess(directory.path, tmp_path / "elsewhere") as second:
        assert second.gone() == 2
        assert "cannot listen" in second.wait_for("scheduler_not_started")["reason"]


def test_a_state_directory_that_cannot_be_made_is_told(directory: SiteDirectory) -> None:
    state = Path("/proc/self/wattline-state")
    with SchedulerProcess(directory.path, state) as process:
        assert process.gone() == 1
        line = process.wait_for("store_failed")
        assert line["kind"] == "StoreUnwritable"
        assert "state directory" in line["reason"]


def test_a_backup_of_a_running_scheduler_starts_with_recover_only(
    directory: SiteDirectory,
    state: Path,
    scheduler: SchedulerProcess,
    ada: JoinBundle,
    tmp_path: Path,
) -> None:
    restored = tmp_path / "restored"
    restored.mkdir()
    with WireClient(ada).welcomed() as client:
        number = submit(client)
        command = [sys.executable, "-m", "wattline_scheduler", "--state", str(state), "--backup"]
        subprocess.run([*command, str(restored / "wattline.db")], check=True)
        submit(client, "after-the-backup")
    assert scheduler.stop() == 0
    with SchedulerProcess(directory.path, restored) as refused:
        assert refused.gone() == 1
        assert refused.wait_for("store_failed")["kind"] == "StoreIsBackup"
    with SchedulerProcess(directory.path, restored, "--recover") as process:
        process.ready()
        with WireClient(ada).welcomed() as client:
            assert view(client, number).state == "PENDING"
            assert submit(client, "new") > number + 1
            for request in (GetJob(JobId(number + 1)), Cancel(only(JobId(number + 1)))):
                lost = client.ask(request)
                assert isinstance(lost, Denied)
                assert lost.reason.startswith(f"there is no job {number + 1} on record: ")
    no_store = subprocess.run(
        [*command[:4], str(tmp_path), "--backup", str(tmp_path / "copy.db")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert no_store.returncode == 1
    assert "no backup was made" in no_store.stderr
    assert not (tmp_path / "copy.db").exists()
