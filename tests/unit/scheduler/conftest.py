"""One node that has joined, and what its scheduler answers without changing anything."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.core.harness import Harness, joined
from support.core.sites import site
from support.store.stores import opened
from wattline_scheduler.shell.clients.questions import Reads


@pytest.fixture
def h() -> Harness:
    return joined(site().rack("a", 1).build())


@pytest.fixture
def reads(h: Harness, tmp_path: Path) -> Iterator[Reads]:
    store = opened(tmp_path)
    yield Reads(h.cluster, store, lambda: 0, lambda: h.now)
    store.close()
