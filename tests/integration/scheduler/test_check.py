"""`scheduler --check`: what an edited site file would do, beside the scheduler that runs."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from secrets import token_hex

import msgspec
import pytest

from support.core.sites import JobBuilder, job
from support.programs.live_scheduler import (
    SchedulerProcess,
    SiteDirectory,
    WireAgent,
    WireClient,
    pump_until,
)
from support.store.stores import opened
from wattline_protocol.data.site_data import SiteData
from wattline_protocol.ids import JobId
from wattline_protocol.site.model import Account, Node, Queue, Quota, RunAs, Site
from wattline_protocol.site.run_as import ALL_ROOT, NO_TABLE
from wattline_protocol.site.text import format_site
from wattline_protocol.text.checklist import Check, has_failed
from wattline_protocol.trust.keys import JoinBundle
from wattline_protocol.wire.client_messages import Submit, Submitted
from wattline_scheduler.shell.config import SchedulerConfig
from wattline_scheduler.shell.self_check import run_checks
from wattline_scheduler.store.verify import DB_NAME

ROLLUPS_PAGE = """
SELECT rootpage, page_size FROM sqlite_schema, pragma_page_size WHERE name = 'domain_rollups'
"""
"""No start reads what is there; it is looked over all the same."""


def checked(directory: SiteDirectory, state: Path) -> list[Check]:
    """But for what these sites let on purpose: tasks of ours run as root."""
    found = run_checks(SchedulerConfig(directory.path, state))
    return [check for check in found if check.found != ALL_ROOT]


def warned(checks: list[Check]) -> dict[str, str]:
    """What was found, and what comes with it."""
    return {check.found: check.remedy for check in checks if check.verdict != "ok"}


def rewrite(directory: SiteDirectory, **changes: object) -> None:
    edited = msgspec.structs.replace(directory.site, **changes)
    (directory.path / "site.toml").write_text(format_site(edited), encoding="utf-8")


def accepted(client: WireClient, wanted: JobBuilder) -> JobId:
    answer = client.ask(Submit(wanted.build(), token_hex(8)))
    assert isinstance(answer, Submitted), answer
    return answer.job


@pytest.mark.parametrize(
    ("rules", "said"),
    [(RunAs(others="keeper"), ALL_ROOT), (None, NO_TABLE), (RunAs(others="same"), "")],
)
def test_whether_tasks_may_be_root_is_said(
    directory: SiteDirectory, state: Path, rules: RunAs | None, said: str
) -> None:
    rewrite(directory, run_as=rules)
    checks = run_checks(SchedulerConfig(directory.path, state))
    reported = [c.found for c in checks if c.verdict == "warning" and "[run_as]" in c.found]
    assert reported == ([said] if said else [])


def test_a_new_site_could_start(directory: SiteDirectory, state: Path) -> None:
    (directory.path / "authorized" / "z9.toml").unlink()
    checks = checked(directory, state)
    assert {check.verdict for check in checks} == {"ok"}, checks
    assert [check.name for check in checks] == ["site file", "scheduler key", "members", "state"]
    assert not state.exists()


def test_members_and_nodes_that_do_not_go_together_are_told(
    directory: SiteDirectory, state: Path
) -> None:
    (directory.path / "authorized" / "a1.toml").unlink()
    (directory.path / "authorized" / "bob.toml").write_text("name = 3")
    rewrite(directory, roles={"eve": "operator"})
    found = " | ".join(warned(checked(directory, state)))
    assert "not enrolled: a1" in found
    assert "node is not in the site file: z9" in found
    assert "bob.toml" in found
    assert "[roles] names members that are not enrolled: eve" in found


def test_a_local_store_of_data_sets_that_is_not_there_is_named(
    directory: SiteDirectory, state: Path, tmp_path: Path
) -> None:
    store = tmp_path / "mnt/data"
    rewrite(directory, data=SiteData(store=str(store)))
    text = f"[data] store {store} is not there on this host"
    assert "mount its file system" in warned(checked(directory, state))[text]
    store.mkdir(parents=True)
    assert ("data store", "ok") in [(c.name, c.verdict) for c in checked(directory, state)]


@pytest.mark.parametrize(
    ("spoil", "name"),
    [
        (lambda path: (path / "site.toml").write_text("nodes = 3"), "site file"),
        (lambda path: (path / "keys/scheduler.key").chmod(0o644), "scheduler key"),
    ],
)
def test_what_would_end_a_start_has_failed(
    directory: SiteDirectory, state: Path, spoil: Callable[[Path], object], name: str
) -> None:
    spoil(directory.path)
    checks = checked(directory, state)
    assert [check.name for check in checks if check.verdict == "failed"] == [name]
    assert has_failed(checks)


def test_a_state_directory_that_cannot_be_looked_at_has_failed(directory: SiteDirectory) -> None:
    """As that of another user; this one keeps root out as well."""
    (found,) = [c for c in checked(directory, Path("/", "x" * 300)) if c.verdict == "failed"]
    assert found.name == "state"
    assert found.found.startswith("File name too long: /xxx")


def test_a_damaged_store_would_end_a_start(directory: SiteDirectory, state: Path) -> None:
    opened(state).close()
    file = state / DB_NAME
    with closing(sqlite3.connect(file)) as db:
        page, size = db.execute(ROLLUPS_PAGE).fetchone()
    data = file.read_bytes()
    begin = (page - 1) * size
    file.write_bytes(data[:begin] + b"\xa5" * size + data[begin + size :])
    (found,) = [c for c in checked(directory, state) if c.verdict == "failed"]
    assert found.name == "state"
    assert "is damaged" in found.found


def test_jobs_that_an_edited_site_file_would_leave_waiting_are_named(
    directory: SiteDirectory, scheduler: SchedulerProcess, state: Path, ada: JoinBundle
) -> None:
    with WireAgent(directory.bundle("a1")).join() as agent, WireClient(ada).welcomed() as client:
        runs = accepted(client, job().gpus(8))
        pump_until([agent], lambda: agent.fake.tasks, "the task to start")
        waits = accepted(client, job().gpus(8).queue("night"))
        wide = accepted(client, job().gpus(4).nodes(2))
        assert not [check for check in checked(directory, state) if check.name == "jobs"]

        rewrite(directory, queues=(Queue("day"),))
        reasons = warned(checked(directory, state))
        assert "the site file no longer has queue night" in reasons[f"job {waits} would not start"]

        rewrite(directory, accounts=(Account("ada", quota=Quota(gpus=4)),))
        reasons = warned(checked(directory, state))
        (reported,) = [text for text in reasons if "would not start" in text]
        assert reported == f"jobs {waits}, {wide} would not start"
        assert "the quota of account ada is 4 GPUs at a time" in reasons[reported]

        rewrite(directory, nodes=nodes_of(directory.site, "a1"))
        reasons = warned(checked(directory, state))
        assert "the site has 1" in reasons[f"job {wide} would not start"]

        rewrite(directory, nodes=nodes_of(directory.site, "a2"))
        (failed,) = [c for c in checked(directory, state) if c.verdict == "failed"]
        assert "node a1 may draw power and is no longer in the site file" in failed.found

        # Nothing of it has touched the scheduler that runs, or its store.
        assert accepted(client, job().gpus(1)) > runs
    assert scheduler.stop() == 0


def nodes_of(site: Site, name: str) -> tuple[Node, ...]:
    return tuple(node for node in site.nodes if node.id == name)


def test_the_table_is_printed_and_its_end_says_whether_a_start_would_fail(
    directory: SiteDirectory, state: Path
) -> None:
    command = [sys.executable, "-m", "wattline", "scheduler", "--check"]
    command += ["--site", str(directory.path), "--state", str(state)]
    good = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (good.returncode, good.stderr) == (0, "")
    assert "ok      site file" in good.stdout
    (directory.path / "site.toml").unlink()
    bad = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert bad.returncode == 1
    (check,) = msgspec.json.decode(bad.stdout, type=list[Check])
    assert (check.name, check.verdict) == ("site file", "failed")
