"""What a task finds where it starts: its environment, on a site that was made by hand."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cli_site import CliSite

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(180),
    pytest.mark.xdist_group("task-surroundings"),
]

RULES = '\n[tasks]\npass_env = ["SITE_*"]\n'


@pytest.fixture(scope="module")
def site() -> Iterator[CliSite]:
    """One node, whose agent was started in an environment that holds what is nobody's business."""
    with (
        pytest.MonkeyPatch.context() as environ,
        tempfile.TemporaryDirectory() as made,
    ):
        for name in ("AWS_SECRET_ACCESS_KEY", "SITE_PROXY", "LC_TIME"):
            environ.setenv(name, "mine")
        with CliSite(Path(made), edit=lambda text: text + RULES) as site:
            site.start_node("n1")
            yield site


def test_a_task_sees_of_the_agents_environment_what_is_named_and_no_more(site: CliSite) -> None:
    assert site.environ["WATTLINE_BUNDLE"], "the agent itself has it"
    job = site.submit("--env", "SEED=1", "--", "/usr/bin/env")
    site.until_state(job, "COMPLETED")
    seen = dict(line.split("=", 1) for line in site.wattline("logs", job).splitlines())
    passed = ("PATH", "LANG", "TZ", "LD_LIBRARY_PATH", "HOME", "USER", "LOGNAME", "SHELL")
    named = ("LC_", "SITE_", "WATTLINE_", "CUDA_", "PYTHON")
    others = {name for name in seen if name not in passed and not name.startswith(named)}
    assert others == {"SEED"}
    assert (seen["SITE_PROXY"], seen["LC_TIME"]) == ("mine", "mine")
    assert "WATTLINE_BUNDLE" not in seen
    assert seen["PATH"] == os.environ["PATH"]
