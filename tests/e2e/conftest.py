"""The site that most of these files want, and what becomes of it after a failed test."""

from collections.abc import Generator, Iterator

import pytest

from support.programs.aftermath import settle, story
from support.programs.cli_site import CliSite


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CliSite]:
    """One scheduler and one simulated node of eight GPUs for all tests of a file."""
    with CliSite(tmp_path_factory.mktemp("site")) as made:
        made.start_node("n1")
        yield made


@pytest.fixture(autouse=True)
def unburdened(request: pytest.FixtureRequest) -> None:
    """Nothing that a failed test left behind is in the way of the next one."""
    if "site" in request.fixturenames:
        site = request.getfixturevalue("site")
        if site.is_left_over:
            settle(site)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure tells what went on in its site."""
    report = yield
    site = getattr(item, "funcargs", {}).get("site")
    if report.failed and isinstance(site, CliSite):
        report.sections += story(site)
        site.is_left_over = True
    return report
