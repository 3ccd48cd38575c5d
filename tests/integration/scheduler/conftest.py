"""A site, and a real scheduler of it, for the tests of this folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.core.sites import site
from support.programs.live_scheduler import SchedulerProcess, SiteDirectory
from wattline_protocol.trust.keys import JoinBundle


@pytest.fixture
def directory(tmp_path: Path) -> SiteDirectory:
    return SiteDirectory(tmp_path / "site", site().rack("a", 2).build())


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def ada(directory: SiteDirectory) -> JoinBundle:
    return directory.bundle("ada")


@pytest.fixture
def scheduler(directory: SiteDirectory, state: Path) -> Iterator[SchedulerProcess]:
    with SchedulerProcess(directory.path, state) as process:
        yield process.ready()
