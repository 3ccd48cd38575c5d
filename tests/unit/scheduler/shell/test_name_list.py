"""Names for shell completion: by kind and prefix, few, and the newest jobs first."""

import pytest

from support.core.harness import Harness, joined
from support.core.sites import job, site
from wattline_protocol.ids import UnixTime, UserName
from wattline_protocol.views.name_views import MAX_NAMES, ListNames, NameKind
from wattline_scheduler.core.requests.selection import Asker
from wattline_scheduler.data_record import DataSetRecord
from wattline_scheduler.shell.clients.name_list import name_list


@pytest.fixture
def h() -> Harness:
    return joined(site().rack("a", 2, kw=14.0).site_budget(14.0).build())


ADA = Asker(UserName("ada"), "submitter")


def names(h: Harness, kind: NameKind, prefix: str = "", by: Asker = ADA) -> list[str]:
    return [one.name for one in name_list(h.cluster.state, by, ListNames(kind, prefix)).names]


def test_names_of_the_site(h: Harness) -> None:
    first = next(iter(h.cluster.state.nodes))
    assert first in names(h, "node")
    assert names(h, "node", first) == [first]
    assert names(h, "node", "z") == []
    assert set(names(h, "domain")) == {str(name) for name in h.cluster.state.domains.by_id}
    assert names(h, "queue", "d") == ["default"]
    assert names(h, "service") == names(h, "reservation") == []


def test_numbers_of_jobs_with_their_names(h: Harness) -> None:
    numbers = [h.submit(job("sweep").gpus(1)) for _ in range(3)]
    h.end_tasks()
    later = h.submit(job("next").gpus(1))
    assert names(h, "open job") == [str(later)]
    assert names(h, "job") == [str(one) for one in (later, *reversed(numbers))]
    assert name_list(h.cluster.state, ADA, ListNames("open job")).names[0].note == "next RUNNING"
    assert names(h, "job", "x") == []
    assert names(h, "account", "a") == ["ada"]


def test_a_menu_has_an_end(h: Harness) -> None:
    for _ in range(MAX_NAMES + 5):
        h.submit(job().gpus(8).held())
    assert len(names(h, "job")) == MAX_NAMES


def test_data_sets_that_the_user_may_read(h: Harness) -> None:
    sets: dict[str, tuple[str, ...]] = {"digits": (), "own": ("ada",), "secret": ("bob",)}
    for name, readers in sets.items():
        record = DataSetRecord(
            name, "dataset", UserName("rex"), "/srv", UnixTime(0), readers=readers
        )
        h.cluster.state.data.put_set(record)
    assert names(h, "data set") == ["digits", "own"]
    assert names(h, "data set", by=Asker(UserName("ops"), "operator")) == sorted(sets)
    assert names(h, "data set", "o") == ["own"]
