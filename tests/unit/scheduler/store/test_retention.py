"""History on disk: what stays, for how long, and what pushes out what."""

import sqlite3
from pathlib import Path

import msgspec
import pytest

from support.store.stores import NOW, opened
from wattline_protocol.ids import DomainId, NodeId, UnixTime, UserName
from wattline_protocol.views.site_views import EventView
from wattline_scheduler.api_key_record import ApiKeyRecord
from wattline_scheduler.records import ActRecord, EventRecord, MemberRecord, ProblemRecord
from wattline_scheduler.store import retention as module
from wattline_scheduler.store.load import PROBLEMS_LOADED
from wattline_scheduler.store.rollups import DomainRollup
from wattline_scheduler.store.store import Store
from wattline_scheduler.store.verify import DB_NAME

DAY_S = 86_400.0


def act(seq: int, who: str = "olga", ago_s: float = 0.0) -> ActRecord:
    view = EventView(
        seq, UnixTime(NOW - ago_s), "node_draining", who, f"act {seq}", node=NodeId("a")
    )
    return ActRecord(view)


def problem(number: int, *, is_open: bool, ago_s: float = 0.0) -> ProblemRecord:
    since, until = UnixTime(NOW - ago_s - 1), None if is_open else UnixTime(NOW - ago_s)
    return ProblemRecord(number, "node_silent", f"n{number}", "warning", since, until, "x")


def step(unix_s: float) -> DomainRollup:
    return DomainRollup(DomainId("site"), int(unix_s), 10.0, 1_000, 1, 1, 1, 1)


def seqs(store: Store) -> list[int]:
    return [event.seq for event in store.acts(0, 10_000)]


def test_events_push_out_no_act(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVENTS_KEPT", 10)
    store = opened(tmp_path)
    store.commit([act(1)])
    lines = [EventView(n, UnixTime(NOW), "node_problem", "a1", "x") for n in range(2, 100)]
    store.commit([EventRecord(line) for line in lines])
    store.tidy(NOW)
    assert len(store.events(0, 1000)) == 10
    assert seqs(store) == [1]
    store.close()


def test_what_is_too_old_is_deleted_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member may write thousands of events a second: no step deletes those of an hour."""
    monkeypatch.setattr(module, "EVENTS_KEPT", 5)
    monkeypatch.setattr(module, "PART_ROWS", 10)
    store = opened(tmp_path)
    lines = [EventView(n, UnixTime(NOW), "job_held", "ada", "x") for n in range(1, 31)]
    store.commit([*map(EventRecord, lines), *(act(n) for n in range(1, 3))])
    monkeypatch.setattr(module, "ACTS_KEPT", 1)
    left = []
    while store.tidy(NOW):
        left.append(len(store.events(0, 1000)))
    assert left == [20, 10]
    assert [event.seq for event in store.events(0, 1000)] == [26, 27, 28, 29, 30]
    assert seqs(store) == [2]
    assert not store.tidy(NOW)
    store.close()


def test_revoked_api_keys_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A member may add and revoke one after the other."""
    monkeypatch.setattr(module, "REMOVED_KEPT", 2)
    store = opened(tmp_path)
    key = ApiKeyRecord("key", "digest", UserName("ada"), ("svc",), UnixTime(NOW))
    replace = msgspec.structs.replace
    revoked = [replace(key, name=f"key-{n}", revoked_unix_s=UnixTime(NOW)) for n in range(5)]
    store.commit([key, *revoked])
    store.tidy(NOW)
    store.close()
    with sqlite3.connect(tmp_path / DB_NAME) as db:
        names = [name for (name,) in db.execute("SELECT name FROM api_keys ORDER BY name")]
    assert names == ["key", "key-3", "key-4"]


def test_one_member_pushes_out_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ACTS_KEPT_OF_ONE", 5)
    store = opened(tmp_path)
    store.commit([act(1, "olga"), *(act(n, "mallory") for n in range(2, 30)), act(30, "olga")])
    store.tidy(NOW)
    assert seqs(store) == [1, 25, 26, 27, 28, 29, 30]
    assert [event.seq for event in store.acts(-2, 10)] == [29, 30]
    store.close()


def test_acts_are_dropped_by_age_and_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ACTS_KEPT", 3)
    store = opened(tmp_path)
    store.commit([act(n, ago_s=module.ACTS_KEPT_S + 9 * DAY_S) for n in (1, 2)])
    store.commit([act(3, ago_s=8 * DAY_S), act(4), step(NOW - 8 * DAY_S)])
    store.tidy(NOW)
    assert seqs(store) == [3, 4]
    store.commit([act(n) for n in range(5, 8)])
    store.tidy(NOW)
    assert seqs(store) == [5, 6, 7]
    store.close()


def test_open_problems_stay_and_ended_ones_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PROBLEMS_KEPT", 2)
    store = opened(tmp_path)
    old_s = module.PROBLEMS_KEPT_S + DAY_S
    store.commit([problem(1, is_open=True, ago_s=old_s), problem(2, is_open=False, ago_s=old_s)])
    store.commit([problem(n, is_open=False) for n in range(3, 8)])
    store.tidy(NOW)
    store.close()
    store, saved = Store.open(tmp_path, now_unix_s=NOW)
    assert [one.number for one in saved.problems] == [6, 7, 1], "open ones come last"
    store.close()


def test_a_restart_loads_the_newest_ended_problems(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.commit([problem(n, is_open=False, ago_s=5000.0 - n) for n in range(PROBLEMS_LOADED + 5)])
    store.close()
    store, saved = Store.open(tmp_path, now_unix_s=NOW)
    assert [saved.problems[0].number, len(saved.problems)] == [5, PROBLEMS_LOADED]
    store.close()


def test_members_and_the_newest_act_are_loaded(tmp_path: Path) -> None:
    store = opened(tmp_path)
    ada = MemberRecord("ada", "admin", "A" * 40)
    store.commit([ada, MemberRecord("bob", "agent", "B" * 40, is_removed=True), act(7)])
    store.close()
    store, saved = Store.open(tmp_path, now_unix_s=NOW)
    assert (saved.members, saved.newest_act) == ((ada,), 7)
    store.close()
