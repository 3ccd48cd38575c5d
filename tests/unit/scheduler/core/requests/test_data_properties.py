"""Properties of data sets without another version, unknown readers, names of others."""

import msgspec
import pytest

from support.core.harness import Harness, joined
from support.core.sites import job, site
from wattline_protocol.data.requests import (
    AddData,
    ChangeData,
    DataAdded,
    DataPlace,
    GetData,
    ListData,
    PrepareData,
    SetChange,
)
from wattline_protocol.data.site_data import SiteData
from wattline_protocol.ids import UserName
from wattline_protocol.job.spec import DataSpec
from wattline_protocol.site.model import Role
from wattline_protocol.wire.client_messages import Answer, Denied, Done
from wattline_scheduler.core.model.events import MembersSeen
from wattline_scheduler.core.requests.selection import Asker
from wattline_scheduler.records import MemberRecord
from wattline_scheduler.views.data.data_sets_view import answer_data


@pytest.fixture
def h() -> Harness:
    """ada has a set for all, bob one of his own."""
    data = SiteData(store="/srv/data")
    made = joined(msgspec.structs.replace(site().rack("a", 1).build(), data=data))
    made.handle(
        MembersSeen(tuple(MemberRecord(name, "submitter", name[0] * 40) for name in ("ada", "bob")))
    )
    add(made, "digits", "ada")
    add(made, "digits-of-bob", "bob", readers=("bob",))
    return made


def add(h: Harness, name: str, user: str, **change: object) -> str:
    asker = Asker(UserName(user), "submitter")
    place = answer_data(h.cluster.state, asker, PrepareData(name))
    assert isinstance(place, DataPlace)
    wanted = SetChange(**change)  # type: ignore[arg-type]
    request = AddData(
        *(name, "dataset", place.store, place.as_of, "5" * 64, 1, 10, 10), change=wanted
    )
    added = h.ask(request, user=user, role="submitter")
    assert isinstance(added, DataAdded)
    return added.text


def change(
    h: Harness, name: str, user: str = "ada", role: Role = "submitter", **wanted: object
) -> Answer:
    request = ChangeData(name, SetChange(**wanted))  # type: ignore[arg-type]
    return h.ask(request, user=user, role=role)


def test_the_owner_and_operators_change_properties_without_another_version(h: Harness) -> None:
    done = change(h, "digits", retention_s=86_400.0, contains=("personal",))
    assert done == Done("digits: retention, contains changed")
    assert [one.actor for one in h.events("data_changed")] == ["ada"]
    record = h.cluster.state.data.sets["digits"]
    assert (record.retention_s, record.contains) == (86_400.0, ("personal",))
    assert len(h.cluster.state.data.versions["digits"]) == 1
    assert change(h, "digits", retention_s=86_400.0) == Done("digits has these properties already")
    denied = change(h, "digits", user="bob", retention_s=0.0)
    assert isinstance(denied, Denied)
    assert denied.reason.startswith("dataset digits belongs to ada; you are bob")
    assert isinstance(change(h, "digits", "ops", "operator", secret="store"), Done)
    assert [(one.kind, one.actor) for one in h.acts()][-1] == ("data_changed", "ops")
    h.restart_scheduler()
    assert h.cluster.state.data.sets["digits"].secret == "store"


def test_reviewers_are_changed_by_operators_once_there_are_some(h: Harness) -> None:
    assert isinstance(change(h, "digits", reviewers=("bob",)), Done)
    assert isinstance(change(h, "digits", reviewers=()), Denied)
    assert isinstance(change(h, "digits", "ops", "operator", reviewers=()), Done)
    bad = change(h, "digits", contains=("a/b",))
    assert isinstance(bad, Denied)
    assert "not a valid name" in bad.reason


def test_a_reader_that_is_not_a_member_is_named_with_the_nearest(h: Harness) -> None:
    done = change(h, "digits", readers=("ada", "bobb", "zoe"))
    assert isinstance(done, Done)
    assert done.text.endswith("; bobb (the nearest is bob), zoe are not members of this site yet")
    assert add(h, "new", "ada", reviewers=("adda",)).endswith(
        "; adda (the nearest is ada) is not a member of this site yet"
    )


def test_no_answer_lists_sets_that_the_user_may_not_read(h: Harness) -> None:
    asker = Asker(UserName("ada"), "submitter")
    for unknown in ("digits-of-bo", "nothing"):
        refused = answer_data(h.cluster.state, asker, GetData(f"{unknown}@v1"))
        listed = answer_data(h.cluster.state, asker, ListData(unknown))
        spec = job().build()
        reading = msgspec.structs.replace(spec, data=DataSpec((f"{unknown}@v1",)))
        builder = job()
        builder.spec = reading
        changed = change(h, unknown, retention_s=0.0)
        assert isinstance(refused, Denied)
        assert isinstance(changed, Denied)
        assert isinstance(listed, Denied)
        for text in (refused.reason, listed.reason, changed.reason, h.refuse(builder)):
            assert f"there is no data set {unknown}; " in text
            assert "bob" not in text.replace(unknown, "")
    refused = answer_data(h.cluster.state, asker, GetData("nothing"))
    assert isinstance(refused, Denied)
    assert refused.reason == "there is no data set nothing; there are digits"
    own = answer_data(h.cluster.state, Asker(UserName("bob"), "submitter"), GetData("digits-of-bo"))
    assert isinstance(own, Denied)
    assert own.reason.endswith("the nearest is digits-of-bob")
