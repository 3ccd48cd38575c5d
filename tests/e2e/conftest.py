"""The site that most of these files want."""

from collections.abc import Iterator

import pytest

from support.cli_site import CliSite


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CliSite]:
    """One scheduler and one simulated node of eight GPUs for all tests of a file."""
    with CliSite(tmp_path_factory.mktemp("site")) as made:
        made.start_node("n1")
        yield made
