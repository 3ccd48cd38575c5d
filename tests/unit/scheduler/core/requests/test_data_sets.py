"""The registry of data sets: who may add, approve, remove and see versions."""

import msgspec
import pytest

from support.core.harness import Harness, joined
from support.core.sites import job, site
from wattline_protocol.data.references import Reference, parse_reference
from wattline_protocol.data.requests import (
    AddData,
    ApproveData,
    DataAdded,
    DataPlace,
    DataRemoval,
    DataSets,
    DataVersions,
    GetData,
    GetRegistered,
    Kind,
    ListData,
    Origin,
    PrepareData,
    Registered,
    RemoveData,
    ReportDeletion,
    SetChange,
)
from wattline_protocol.data.site_data import SiteData
from wattline_protocol.ids import UnixTime, UserName
from wattline_protocol.job.selection import only
from wattline_protocol.site.model import Role
from wattline_protocol.text.quantities import MAX_SIZE_BYTES
from wattline_protocol.wire.bounds import MAX_SERIAL
from wattline_protocol.wire.client_messages import Answer, Cancel, Denied, Done
from wattline_scheduler.core.model.data.job_data import task_data
from wattline_scheduler.core.requests.data_sets import add_version, approve_version, change_set
from wattline_scheduler.core.requests.selection import Asker
from wattline_scheduler.views.data.data_sets_view import answer_data

DIGESTS = [f"{number:064x}" for number in range(10)]
DATA = SiteData(store="/srv/data", paths=("/scratch",))


def started(data: SiteData = DATA) -> Harness:
    return joined(msgspec.structs.replace(site().rack("a", 1).build(), data=data))


def ask(h: Harness, request: object, user: str = "ada", role: Role = "submitter") -> Answer:
    if isinstance(request, PrepareData | ListData | GetData | GetRegistered):
        return answer_data(h.cluster.state, Asker(UserName(user), role), request)
    return h.ask(request, user=user, role=role)  # type: ignore[arg-type]


def add(
    h: Harness,
    content: int = 1,
    name: str = "digits",
    *,
    user: str = "ada",
    role: Role = "submitter",
    made_from: tuple[Origin, ...] = (),
    as_of: str = "",
    kind: Kind = "dataset",
    stored_bytes: int = 1024,
    **change: object,
) -> Answer:
    place = ask(h, PrepareData(name, kind), user, role)
    if isinstance(place, Denied):
        return place
    assert isinstance(place, DataPlace)
    request = AddData(
        name=name,
        kind=kind,
        store=place.store,
        as_of=as_of or place.as_of,
        sha256=DIGESTS[content],
        files=2,
        bytes=2048,
        stored_bytes=stored_bytes,
        made_from=made_from,
        change=SetChange(**change),  # type: ignore[arg-type]
    )
    return ask(h, request, user, role)


def number(answer: Answer) -> int:
    assert isinstance(answer, DataAdded), answer
    return answer.number


def reason(answer: Answer) -> str:
    assert isinstance(answer, Denied), answer
    return answer.reason


def version(h: Harness, reference: str, **by: str) -> DataVersions:
    found = ask(h, GetData(reference), **by)  # type: ignore[arg-type]
    assert isinstance(found, DataVersions), found
    return found


def test_versions_are_numbered_and_survive_a_restart() -> None:
    h = started()
    assert add(h) == DataAdded("digits", 1, "published", "digits@v1: 2 files, 2 KiB")
    assert number(add(h, 2, made_from=(Origin("data", "digits@v1", DIGESTS[1]),))) == 2
    assert ask(h, ApproveData("digits@v1", "stable")) == Done("digits@v1 is approved as stable")
    assert len(h.events("data_added")) == 2
    assert [act.kind for act in h.acts() if act.actor == "ada"] == ["data_approved"]
    before = [version(h, one) for one in ("digits@v1", "digits", "digits@stable")]
    h.restart_scheduler()
    after = [version(h, one) for one in ("digits@v1", "digits", "digits@stable")]
    assert [a.versions for a in after] == [b.versions for b in before]
    assert [one.version.number for one in after] == [1, 2, 1]
    assert before[0].version.used_by == (Origin("data", "digits@v2"),)


def test_the_content_of_the_newest_version_adds_none() -> None:
    h = started()
    assert number(add(h)) == 1
    again = add(h)
    assert isinstance(again, DataAdded)
    assert (again.number, again.is_new) == (1, False)
    assert number(add(h, 2)) == 2
    assert number(add(h, 1)) == 3


def test_versions_of_any_sizes_are_listed() -> None:
    h = started()
    for one in range(16):
        add(h, one % 2, stored_bytes=MAX_SIZE_BYTES)
    sets = ask(h, ListData())
    assert isinstance(sets, DataSets)
    assert (sets.sets[0].versions, sets.sets[0].stored_bytes) == (16, MAX_SERIAL)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(sets), type=DataSets) == sets


def test_a_set_belongs_to_who_made_it() -> None:
    h = started()
    add(h)
    assert reason(add(h, 2, user="bob")) == (
        "dataset digits belongs to ada; you are bob: choose another name"
    )
    assert number(add(h, 2, user="root", role="operator")) == 2
    assert version(h, "digits").about.owner == "ada"
    assert "belongs to ada; you are bob" in reason(ask(h, RemoveData("digits@v1"), "bob"))
    assert "requires the role submitter" in reason(
        ask(h, RemoveData("digits@v1"), "g", role="gateway")
    )


def test_readers() -> None:
    h = started()
    add(h, readers=("bob",))
    assert version(h, "digits", user="bob").about.readers == ("bob",)
    for request in (GetData("digits@v1"), ListData("digits"), GetData("digits@v9")):
        assert "dataset digits is for ada, bob; you are eve" in reason(ask(h, request, "eve"))
    listed = ask(h, ListData(), "eve")
    assert isinstance(listed, DataSets)
    assert listed.sets == ()
    stolen = add(h, 2, "own", user="eve", made_from=(Origin("data", "digits@v1"),))
    assert "made from digits@v1: dataset digits is for ada, bob" in reason(stolen)
    add(h, 2, readers=())
    assert version(h, "digits", user="eve").about.readers == ()


def test_a_reviewed_set_gets_candidates() -> None:
    h = started()
    add(h)
    candidate = add(h, 2, reviewers=("rex",))
    assert isinstance(candidate, DataAdded)
    assert candidate.state == "candidate"
    assert "a candidate until rex or an operator approves it" in candidate.text
    assert version(h, "digits").version.number == 1
    add(h, 1, "new", reviewers=("rex",))
    hint = "new has no version that is published; new@v1 is a candidate until it is approved"
    assert reason(ask(h, ApproveData("new", "stable"), "rex")) == hint
    for user in ("ada", "bob"):
        denied = reason(ask(h, ApproveData("digits@v2", "stable"), user))
        assert denied == f"digits@v2 is approved by rex or operators; you are {user}"
    assert "an operator changes its reviewers" in reason(add(h, 2, reviewers=()))
    assert isinstance(ask(h, ApproveData("digits@v2", "stable"), "rex"), Done)
    assert version(h, "digits").version.number == 2
    assert version(h, "digits@stable").version.approved_by == "rex"
    assert isinstance(add(h, 2, reviewers=(), role="operator"), DataAdded)


@pytest.mark.parametrize("alias", ["latest", "v3", "3", "a/b", ""])
def test_aliases_are_words(alias: str) -> None:
    h = started()
    add(h)
    why = reason(ask(h, ApproveData("digits@v1", alias)))
    assert ("always the newest" in why) == (alias == "latest")


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("digit", "there is no data set digit; the nearest is digits"),
        ("digits@v2", "digits@v2 does not exist; digits has v1"),
        ("digits@stable", "digits has no alias stable; it has none but latest"),
        ("digits@2", "versions are numbered from v1, as in digits@v1"),
        ("digits@", "versions are numbered from v1, as in digits@v1"),
        ("digits@v0", "versions are numbered from v1, as in digits@v1"),
        ("../digits", "is not a valid name"),
    ],
)
def test_unknown_versions(reference: str, why: str) -> None:
    h = started()
    add(h)
    assert why in reason(ask(h, GetData(reference)))


def test_no_user_fills_the_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    h = started()
    monkeypatch.setattr(add_version, "MAX_VERSIONS_OF_USER", 2)
    monkeypatch.setattr(add_version, "MAX_ORIGIN_CHARS_OF_USER", 20)
    add(h)
    add(h, 2, "more")
    assert "data sets of ada have had 2 versions" in reason(add(h, 3))
    h.restart_scheduler()
    assert "data sets of ada have had 2 versions" in reason(add(h, 3, role="operator"))
    run = Origin("run", "17#1", "x" * 30)
    assert number(add(h, 3, "other", user="bob", made_from=(run,))) == 1
    assert "what versions of bob were made from takes 20" in reason(add(h, 4, "other", user="bob"))
    run = Origin("run", "17#1", "x" * 8_000)
    too_long = add(h, 5, "third", user="eve", made_from=(run, run, run))
    assert "takes 24012 characters, at most 16384" in reason(too_long)


def test_properties_and_aliases_of_sets_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    h = started()
    monkeypatch.setattr(change_set, "MAX_PROPERTY_CHARS_OF_USER", 60)
    monkeypatch.setattr(approve_version, "MAX_ALIASES", 2)
    add(h, readers=("bob", "x" * 20))
    why = reason(add(h, 2, "more", readers=("x" * 40,)))
    assert why.endswith("of ada take 81 characters, at most 60")
    assert number(add(h, 2, "more", readers=("bob",))) == 1
    h.restart_scheduler()
    assert "of ada take" in reason(add(h, 3, "more", contains=("x" * 20,)))
    assert number(add(h, 3, "more", readers=())) == 2  # less than before
    assert number(add(h, 2, "more", user="bob", role="operator")) == 3
    for alias in ("stable", "next", "stable"):
        assert isinstance(ask(h, ApproveData("digits@v1", alias)), Done)
    assert "digits has 2 aliases, the maximum: next" in reason(
        ask(h, ApproveData("digits@v1", "third"))
    )


def test_lineage_gives_no_hash_and_no_name_of_what_a_user_may_not_read() -> None:
    h = started()
    add(h, readers=("bob",))
    forged = Origin("data", "digits@v1", DIGESTS[9])
    add(h, 2, "net", made_from=(forged,))
    add(h, 3, "own", readers=("bob",), made_from=(Origin("data", "net@v1"),))
    for user, digest, uses in (("bob", DIGESTS[1], ["own@v1"]), ("eve", "", [])):
        (seen,) = version(h, "net@v1", user=user).versions
        assert seen.made_from == (Origin("data", "digits@v1", digest),)
        assert [one.name for one in seen.used_by] == uses


def test_references_have_one_form() -> None:
    assert parse_reference("digits") == Reference("digits", 0, "latest")
    for text in ("digits@v12", "digits@stable"):
        assert parse_reference(text).text == text


def test_a_removed_version_is_named_no_more_and_leaves_a_receipt() -> None:
    h = started()
    add(h)
    add(h, 2)
    ask(h, ApproveData("digits@v1", "stable"))
    removal = ask(h, RemoveData("digits@v1"))
    assert isinstance(removal, DataRemoval)
    assert removal.text == "digits@v1 is removed; alias stable ends"
    assert not removal.keeps_bytes
    assert version(h, "digits@v1").version.state == "removed"
    assert isinstance(ask(h, GetData("digits@stable")), Denied)
    assert isinstance(ask(h, RemoveData("digits@v1")), DataRemoval)  # continues
    h.restart_scheduler()
    receipt = ask(h, ReportDeletion("digits", 1, 7, 4096))
    assert receipt == Done("digits@v1: 7 objects, 4 KiB deleted from its store")
    assert "7 objects, 4 KiB deleted" in reason(ask(h, RemoveData("digits@v1")))
    h.restart_scheduler()
    assert version(h, "digits@v1").version.deleted_objects == 7
    assert number(add(h, 1)) == 3
    assert "is not removed" in reason(ask(h, ReportDeletion("digits", 3, 1, 1)))
    assert "belongs to ada" in reason(ask(h, ReportDeletion("digits", 1, 1, 1), "bob"))


@pytest.mark.parametrize("alias", ["stable", "valid", "v1-final"])
def test_what_an_alias_names_is_not_removed(alias: str) -> None:
    h = started()
    add(h)
    ask(h, ApproveData("digits@v1", alias))
    for reference in (f"digits@{alias}", "digits"):
        assert "as in digits@v1" in reason(ask(h, RemoveData(reference)))
    assert version(h, "digits@v1").version.state == "published"


def test_bytes_that_another_version_has_stay() -> None:
    h = started()
    add(h)
    add(h, 1, "copy", user="bob")
    removal = ask(h, RemoveData("digits@v1"))
    assert isinstance(removal, DataRemoval)
    assert removal.keeps_bytes
    assert removal.version.deleted_unix_s is not None


def test_a_manifest_is_registered_until_the_bytes_of_its_versions_are_deleted() -> None:
    h = started()
    add(h)
    add(h, 2)
    add(h, 2, "copy", user="bob")

    def registered() -> tuple[str, ...]:
        answer = ask(h, GetRegistered(tuple(DIGESTS[:4])), "eve")
        assert isinstance(answer, Registered)
        return answer.manifests

    assert registered() == (DIGESTS[1], DIGESTS[2])
    ask(h, RemoveData("digits@v1"))
    assert registered() == (DIGESTS[1], DIGESTS[2]), "its bytes are there"
    ask(h, ReportDeletion("digits", 1, 1, 1))
    ask(h, RemoveData("digits@v2"))
    assert registered() == (DIGESTS[2],), "of another set"
    h.restart_scheduler()
    assert registered() == (DIGESTS[2],)


def test_no_version_is_registered_beside_a_deletion() -> None:
    h = started()
    add(h)
    place = ask(h, PrepareData("other"))
    assert isinstance(place, DataPlace)
    ask(h, RemoveData("digits@v1"))
    assert "digits@v1 is being deleted from /srv/data" in reason(add(h, 2, "other"))
    ask(h, ReportDeletion("digits", 1, 1, 1))
    assert "objects of the store were deleted meanwhile" in reason(
        add(h, 2, "other", as_of=place.as_of)
    )
    assert number(add(h, 2, "other")) == 1


def test_a_deletion_whose_client_has_gone_bars_others_for_ten_minutes() -> None:
    h = started()
    add(h)
    ask(h, RemoveData("digits@v1"))
    h.restart_scheduler()
    assert isinstance(add(h, 2), Denied)
    h.run(601)
    assert number(add(h, 2)) == 2


@pytest.mark.parametrize("holds_s", [5, 599, 10**6])
def test_one_user_does_not_bar_others_from_adding(holds_s: int) -> None:
    """By deletions of one version after the other, renewed all the time and held for long."""
    h = started()
    for content in range(1, 6):
        add(h, content)
    book, ada, free_s, number_ = h.cluster.state.data, UserName("ada"), 0, 1
    begun: int | None = None
    for at in range(20_000):
        one, now = book.versions["digits"][number_], UnixTime(at)
        if not book.deletion_barred(one, ada, now):
            book.begin_deletion(one, ada, now)
            begun = at if begun is None else begun
        else:
            number_, begun = number_ % 5 + 1, None
        if begun is not None and at - begun >= holds_s:
            book.end_deletion(one, now)
            number_, begun = number_ % 5 + 1, None
        free_s += not list(book.deleted_now("/srv/data", now))
    assert free_s > 8_000


@pytest.mark.parametrize(
    ("data", "store", "why"),
    [
        (SiteData(), "", "the site file names no store of data sets"),
        (DATA, "/srv", "/srv is below no directory of [data] paths in the site file (/scratch)"),
        (DATA, "/scratch/../etc", 'without "." and ".."'),
        (DATA, "data", 'expected a store such as "/srv/data" or "s3://bucket/prefix"'),
        (DATA, "s3://b", "is no name of a bucket"),
        (
            DATA,
            "s3://bucket/x",
            "is on amazonaws.com, and [data] allow in the site file lists none",
        ),
        (DATA, "http://169.254.169.254/x", "expected a store"),
    ],
    ids=range(7),
)
def test_stores_that_a_member_may_not_name(data: SiteData, store: str, why: str) -> None:
    h = started(data)
    assert why in reason(ask(h, PrepareData("digits", store=store)))


def test_stores_that_a_member_may_name() -> None:
    on_host = SiteData(endpoint="https://s3.lab:9000", allow=("s3.lab:9000",), paths=("/scratch",))
    h = started(on_host)
    for store, form in (
        ("/scratch/ada//x/", "/scratch/ada/x"),
        ("file:///scratch/ada", "/scratch/ada"),
        ("s3://bucket/ada/", "s3://bucket/ada"),
    ):
        place = ask(h, PrepareData("digits", store=store))
        assert isinstance(place, DataPlace)
        assert (place.store, place.endpoint) == (form, "https://s3.lab:9000")


def test_a_set_has_one_store_and_one_kind() -> None:
    h = started()
    add(h)
    assert "digits lies in /srv/data" in reason(ask(h, PrepareData("digits", store="/scratch/x")))
    assert "digits is a data set" in reason(ask(h, PrepareData("digits", "model")))


def test_a_service_serves_a_version_of_a_model() -> None:
    h = started()
    add(h)
    add(h, 2, "net", kind="model")
    ask(h, ApproveData("net@v1", "stable"))
    asked = job("echo").reads("digits@v1").serves("net@stable")
    spec = h.job(h.submit(asked)).spec
    assert spec.service is not None
    assert (spec.service.model, spec.data.datasets) == ("net@v1", ("digits@v1", "net@v1"))
    found = task_data(h.cluster.state.data, spec)
    assert [(one.reference, one.is_model) for one in found] == [
        ("digits@v1", False),
        ("net@v1", True),
    ]
    assert "digits@v1 is a data set, not a model" in h.refuse(job("b").serves("digits@v1"))
    assert "there is no data set nets; the nearest is net" in h.refuse(job("b").serves("nets@v1"))
    two = h.refuse(job("b").reads("net@v1").serves("net@v2"))
    assert "net@v2 does not exist" in two or "WATTLINE_DATA_NET" in two


def test_a_version_whose_retention_has_ended_is_read_by_no_new_job() -> None:
    h = started()
    add(h, retention_s=60.0)
    first = h.submit(job("one").reads("digits@v1"))
    h.run(61)
    assert "the retention of digits@v1 ended" in h.refuse(job("two").reads("digits"))
    assert not h.job(first).is_ended
    text = "digits@v1 has the same content: nothing is added"
    changed = f"{text}; the properties of the set are changed"
    assert add(h, retention_s=3_600.0) == DataAdded("digits", 1, "published", changed, is_new=False)
    assert add(h, retention_s=3_600.0) == DataAdded("digits", 1, "published", text, is_new=False)
    h.submit(job("two").reads("digits@v1"))


def test_what_a_job_needs_is_not_removed() -> None:
    h = started()
    add(h)
    number_ = h.submit(job("train").reads("digits@v1"))
    service = h.submit(job("echo").reads("digits").service(1))
    assert reason(ask(h, RemoveData("digits@v1"))) == (
        f"digits@v1 is needed by service echo, job {number_}: cancel what needs it, or wait for "
        "its end"
    )
    used = version(h, "digits@v1").version.used_by
    assert [(one.kind, one.name) for one in used] == [("job", str(number_)), ("service", "echo")]
    h.ask(Cancel(only(number_)))
    assert "is needed by service echo:" in reason(ask(h, RemoveData("digits@v1")))
    h.ask(Cancel(only(service)))
    h.settle()
    assert isinstance(ask(h, RemoveData("digits@v1")), DataRemoval)
