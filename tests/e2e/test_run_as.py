"""On a real site a user's tasks are the user's: the account that the site file gives them."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.node.name_service import answer, hanging, may_mount
from support.programs.cli_site import CliSite
from wattline import exits

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(180),
    pytest.mark.xdist_group("run-as"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root starts tasks as others"),
]


@pytest.fixture(scope="module")
def site() -> Iterator[CliSite]:
    """One node, in a folder that all accounts get to; admin is nobody there."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o711)
        with CliSite(folder, run_as='users = { admin = "nobody" }') as site:
            site.start_node("n1")
            yield site


@pytest.fixture(scope="module")
def hanging_site() -> Iterator[CliSite]:
    """The same, on a host whose name service hangs."""
    if not may_mount():
        pytest.skip("no mounts may be made here")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o711)
        rules, within = 'users = { admin = "nobody" }', {"agent": hanging(folder)}
        with CliSite(folder, run_as=rules, within=within) as site:
            site.start_node("n1")
            yield site


def test_a_task_is_the_account_of_its_user(site: CliSite) -> None:
    job = site.submit(
        "--", "sh", "-c", "id -un; cd $WATTLINE_TASK_DIR; touch mine; ls -l | grep mine"
    )
    site.until_state(job, "COMPLETED")
    first, second = site.wattline("logs", job).splitlines()[:2]
    assert first == "nobody"
    assert "nobody" in second


def test_who_has_no_account_is_refused_and_told_what_is_missing(
    site: CliSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.wattline("enroll", "bob", "--role", "submitter", "--site", str(site.site))
    monkeypatch.setitem(site.environ, "WATTLINE_BUNDLE", str(site.bundle("bob")))
    refused = site.run("submit", "--", "true")
    assert refused.returncode == exits.NOT_ALLOWED
    assert "maps bob to no host account ([run_as])" in refused.stderr


def test_a_start_that_hangs_is_given_up_and_its_node_stays_at_work(hanging_site: CliSite) -> None:
    site = hanging_site
    jobs = [int(site.submit("--gpus", "1", "--", "true")) for _ in range(2)]
    shown: set[str] = set()
    keeper = site.state("n1") / "keeper.pid"
    before = keeper.read_text()

    def have_ended() -> bool:
        shown.update(states := [site.client.job(job).state for job in jobs])
        return set(states) == {"FAILED"}

    site.until(have_ended, "both are given up")
    assert shown <= {"PENDING", "STARTING", "FAILED"}
    for job in jobs:
        assert "true: no exec within 4 s" in site.wattline("job", str(job))
    site.until(lambda: site.client.node("n1").state == "ok", "the node is at work")
    assert keeper.read_text() == before, "the same keeper"
    assert "keeper_lost" not in site.tail("agent-n1", 1000)


def test_a_start_that_took_its_time_runs(hanging_site: CliSite) -> None:
    job = int(hanging_site.submit("--", "true"))
    answer(hanging_site.folder, lambda: hanging_site.client.job(job).state == "COMPLETED")
