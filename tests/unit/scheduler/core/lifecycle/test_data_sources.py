"""Contents that several users read, or that lie in several stores: no user, store or node ends or
delays the jobs of others."""

import pytest

from support.core.harness import Harness, running
from support.core.node_data import (
    CACHE_BYTES,
    add,
    held,
    holding,
    listed,
    reads,
    report,
    sha,
    started,
)
from wattline_protocol.data.requests import AddData, DataAdded, DataRemoval, RemoveData
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.wire.agents.data_messages import DataHeld, DataState
from wattline_scheduler.core.admission.planner_view import snapshot
from wattline_scheduler.core.lifecycle.data import data_groups
from wattline_scheduler.core.model.data.data_book import DataBook
from wattline_scheduler.core.model.data.job_data import Reads, reads_of

REFUSED = "its store refuses to be read: wrong keys"


def add_copy(h: Harness) -> None:
    """Eve registers the content of digits@v1 as a version of her own, in a store without it."""
    as_of = h.cluster.state.data.as_of(h.cluster.state.epoch)
    request = AddData("copy", "dataset", "/srv", as_of, sha(7), 1, 1, 1)
    assert isinstance(h.ask(request, user="eve", role="submitter"), DataAdded)


def source(h: Harness) -> tuple[str, str]:
    (one,) = listed(h, "a1")
    return one.user, one.reference


@pytest.mark.parametrize("state", ["failed", "waiting"])
@pytest.mark.parametrize("version", ["digits@v1", "copy@v1"])
def test_a_source_that_fails_does_so_for_its_user_alone(version: str, state: DataState) -> None:
    h = started(1)
    add(h, 7)
    add_copy(h)
    first = h.submit(reads(version), user="eve")
    number = h.submit(reads("digits@v1"), user="ada")
    newest = h.submit(reads(version), user="eve")
    assert source(h) == ("eve", version)
    assert listed(h, "a1")[0].asked == newest
    held(h, "a1", 7, state, detail=REFUSED)
    h.run(2)
    assert h.state_of(first) == ("FAILED" if state == "failed" else "PENDING")
    assert h.state_of(number) == "PENDING"
    assert source(h) == ("ada", "digits@v1")
    held(h, "a1", 7, "waiting")  # not tried yet
    h.run(2)
    assert source(h) == ("ada", "digits@v1")
    held(h, "a1", 7)
    h.run(2)
    assert running(h, number)


def test_a_source_of_which_all_fail_is_tried_again() -> None:
    h = started(1)
    add(h, 7)
    for user in ("eve", "ada"):
        h.submit(reads("digits@v1"), user=user)
    for user in ("ada", "eve", "ada"):
        held(h, "a1", 7, "waiting", detail="its store is away")
        h.run(2)
        assert source(h) == (user, "digits@v1")


def test_a_node_fails_no_job_by_a_report_that_it_was_not_asked_for() -> None:
    h = started(2)
    add(h, 7)
    number = h.submit(reads("digits@v1"))
    (one,) = listed(h, "a1")
    report(h, "a2", DataHeld(sha(7), "failed", detail=REFUSED, asked=2**63 - 1))
    h.run(2)
    report(
        h,
        "a1",
        DataHeld(sha(7), "failed", detail=REFUSED, asked=one.asked + 1, listing=one.listing),
    )
    h.run(2)
    assert h.state_of(number) == "PENDING"


def test_jobs_whose_data_cannot_be_fetched_keep_no_room_and_no_turn_from_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(data_groups, "MAX_GROUPS", 2)
    h = started(1)
    add(h, 7, size=CACHE_BYTES, name="large")
    add(h, 8)
    of_eve = [h.submit(reads("large@v1", gpus=gpus), user="eve") for gpus in (1, 2)]
    number = h.submit(reads("digits@v1"), user="ada")
    assert holding(h) == {"a1": ["large@v1"]}
    held(h, "a1", 7, "waiting", detail="the cache is full: …", is_full=True)
    h.run(2)
    assert holding(h) == {"a1": ["large@v1"]}
    held(h, "a1", 7, "waiting", detail="its store is away: no route")
    h.run(2)
    assert holding(h) == {"a1": ["digits@v1"]}
    h.run(60)
    assert holding(h) == {"a1": ["digits@v1"]}  # while it is on its way
    held(h, "a1", 8)
    h.run(2)
    assert running(h, number)
    h.end_tasks()
    h.run(2)
    assert holding(h) == {"a1": ["large@v1"]}  # tried again
    held(h, "a1", 7)
    h.run(2)
    assert running(h, of_eve[0])


@pytest.mark.parametrize("bound", ["MAX_EXAMINED", "MAX_GROUPS"])
def test_many_jobs_of_one_user_leave_turns_to_others(
    bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_groups, bound, 4)
    monkeypatch.setattr(data_groups, "MAX_GROUPS_OF_USER", 1)
    h = started(1)
    add(h, 7)
    add(h, 8, name="words")
    for gpus in range(1, 7):
        h.submit(reads("digits@v1", gpus=gpus), user="eve")
    number = h.submit(reads("words@v1"), user="ada")
    h.run(2)
    assert holding(h) == {"a1": ["digits@v1", "words@v1"]}
    held(h, "a1", 8)
    h.run(2)
    assert running(h, number)


def test_jobs_that_read_many_versions_cost_a_run_no_more_than_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """10,000 jobs of 50 versions each: a run examines a bounded number of versions, and the planner
    is given those that nodes have."""
    examined: list[str] = []

    def counted(book: DataBook, spec: JobSpec) -> Reads:
        examined.extend(spec.data.datasets)
        return reads_of(book, spec)

    h = started(1)
    names = [f"set-{number}" for number in range(5)]
    for content, name in enumerate(names):
        add(h, content, name=name)
    versions = [f"{name}@v1" for name in names]
    jobs = [h.submit(reads(*versions, gpus=8), user="eve") for _ in range(10)]
    monkeypatch.setattr(data_groups, "reads_of", counted)
    monkeypatch.setattr(data_groups, "MAX_EXAMINED", 15)
    h.mono_s += 1
    h.tick()
    assert examined == versions * 3
    assert not snapshot(h.cluster.state, h.now).data
    on_list = listed(h, "a1")
    ready = (DataHeld(m.manifest_sha256, "ready", 1, 1, "", m.asked, m.listing) for m in on_list)
    report(h, "a1", *ready)
    assert snapshot(h.cluster.state, h.now).data.keys() == set(versions)
    h.run(2)
    assert running(h, jobs[0])


def test_a_manifest_is_known_while_a_version_has_it() -> None:
    h = started(1)
    add(h, 7)
    add_copy(h)
    of_manifest = h.cluster.state.data.of_manifest
    assert of_manifest == {sha(7): {"digits@v1": None, "copy@v1": None}}
    removal = h.ask(RemoveData("digits@v1"), user="ada", role="submitter")
    assert isinstance(removal, DataRemoval)
    assert of_manifest == {sha(7): {"copy@v1": None}}
    removal = h.ask(RemoveData("copy@v1"), user="eve", role="submitter")
    assert isinstance(removal, DataRemoval)
    assert not of_manifest
