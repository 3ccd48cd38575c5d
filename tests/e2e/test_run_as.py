"""On a real site a user's tasks are the user's: the account that the site file gives them."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cli_site import CliSite
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
        rules = '\n[run_as]\nusers = { admin = "nobody" }\n'
        with CliSite(folder, edit=lambda text: text + rules) as site:
            site.start_node("n1")
            yield site


def test_a_task_is_the_account_of_its_user(site: CliSite) -> None:
    job = site.submit("--", "sh", "-c", "id -un; touch mine; ls -l | grep mine")
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
    assert "names no account of the hosts for bob ([run_as])" in refused.stderr
