"""Versions of data sets on a node: lists are passed on, caches reported, starts checked."""

import pytest

from support.node.rig import MAX, Rig, messages_of, of, ref, wall
from wattline_agent.core.effects import Effect, HoldVersions, Launch
from wattline_agent.core.events import CacheSeen
from wattline_agent.core.tasks import start_checks
from wattline_protocol.ids import Epoch, Incarnation, Sequence
from wattline_protocol.wire.agent_messages import CommandDone, ForgetTask
from wattline_protocol.wire.agents.data_messages import (
    CacheReport,
    CheckpointsStored,
    CheckpointsToStore,
    DataHeld,
    DataReport,
    DataToHold,
    HoldData,
    OutputNow,
    OutputToPublish,
    TaskData,
)

CACHE_BYTES = 10**9
SHA = "5" * 64
DIGITS = TaskData("digits", 3, SHA)


@pytest.fixture
def rig() -> Rig:
    """With a cache, which has at once what it is to hold."""
    made = Rig(cache_bytes=CACHE_BYTES, data_root="/cache/versions")
    made.ready()
    made.lease(wall(2 * MAX))
    return made


def version(listing: int = 1) -> DataToHold:
    return DataToHold(SHA, "digits", 3, 100, store="/srv", asked=7, listing=listing)


def hold(rig: Rig, *versions: DataToHold, seq: int | None = None) -> list[Effect]:
    number = rig.next_seq() if seq is None else Sequence(seq)
    return rig.say(HoldData(Epoch(rig.epoch), Incarnation(rig.incarnation), number, versions))


def outcomes(effects: list[Effect]) -> list[tuple[str, str]]:
    return [(done.outcome, done.detail) for done in messages_of(effects, CommandDone)]


def test_an_empty_cache_is_reported_and_a_node_without_one_reports_nothing(rig: Rig) -> None:
    rig.effects.clear()
    rig.pass_s(61)
    reports = messages_of(rig.effects, DataReport)
    assert [(one.held, one.limit_bytes) for one in reports] == [((), CACHE_BYTES)]
    bare = Rig()
    bare.join()
    bare.pass_s(70)
    assert not messages_of(bare.effects, DataReport)


def test_a_list_is_passed_on_and_what_the_cache_has_is_reported_again_and_again(rig: Rig) -> None:
    done = hold(rig, version(listing=4))
    assert outcomes(done) == [("done", "")]
    assert [one.order.versions for one in of(done, HoldVersions)] == [(version(listing=4),)]
    (report,) = messages_of(done, DataReport)
    assert [(one.state, one.asked, one.listing) for one in report.held] == [("ready", 7, 4)]
    assert len(messages_of(rig.pass_s(11), DataReport)) == 1


def test_checkpoints_to_store_are_passed_on_and_what_is_stored_is_reported(rig: Rig) -> None:
    wanted = CheckpointsToStore(store="s3://bucket", job=17, attempt=2, prefix="checkpoints/ada/17")
    where = (Epoch(rig.epoch), Incarnation(rig.incarnation), rig.next_seq())
    done = rig.say(HoldData(*where, (), to_store=(wanted,)))
    assert of(done, HoldVersions)[-1].order.to_store == (wanted,)
    stored = CheckpointsStored(17, 2, behind=1, detail="no route")
    done = rig.handle(CacheSeen(CacheReport((), CACHE_BYTES, 0, stored=(stored,))))
    assert messages_of(done, DataReport)[-1].stored == (stored,)
    assert len(messages_of(rig.pass_s(11), DataReport)) == 1, "again: it may be lost"


def test_outputs_are_passed_on_and_how_far_they_are_is_reported(rig: Rig) -> None:
    wanted = OutputToPublish(ref(), store="/srv", user="ada", as_of="1.0")
    where = (Epoch(rig.epoch), Incarnation(rig.incarnation), rig.next_seq())
    done = rig.say(HoldData(*where, (), outputs=(wanted,)))
    assert of(done, HoldVersions)[-1].order.outputs == (wanted,)
    now = OutputNow(ref(), "waiting", detail="its store is away")
    done = rig.handle(CacheSeen(CacheReport((), CACHE_BYTES, 0, outputs=(now,))))
    assert messages_of(done, DataReport)[-1].outputs == (now,)


def test_outputs_that_are_not_published_leave_places_for_other_work(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start_checks, "MAX_KEPT_OUTPUTS_OF_USER", 1)
    rig.start(ref(), 0, has_output=True)
    rig.pass_s(1)
    rig.end(ref())
    rig.pass_s(1)
    ((outcome, why),) = outcomes(rig.start(ref(2), 0, has_output=True))
    assert (outcome, why) == ("refused", "unpublished here: 1 output of ada, a user's maximum")
    assert outcomes(rig.start(ref(3), 0)) != [("refused", why)]
    rig.say(ForgetTask(Epoch(rig.epoch), Incarnation(rig.incarnation), rig.next_seq(), ref()))
    rig.pass_s(1)
    assert outcomes(rig.start(ref(4), 1, has_output=True)) != [("refused", why)]


def test_a_late_repeat_of_an_older_list_changes_nothing(rig: Rig) -> None:
    hold(rig, seq=500)
    done = hold(rig, version(), seq=499)
    assert outcomes(done) == [("done", "")]
    assert not of(done, HoldVersions)


def test_what_a_task_reads_is_in_use_until_its_last_process_has_ended(rig: Rig) -> None:
    hold(rig, version())
    done = rig.start(ref(), 0, data=(DIGITS,))
    assert [one.order.in_use for one in of(done, HoldVersions)][-1:] == [(SHA,)]
    rig.pass_s(1)
    (launch,) = of(rig.effects, Launch)
    assert launch.context.data_root == "/cache/versions"
    assert of(hold(rig), HoldVersions)[-1].order.in_use == (SHA,)
    rig.end(ref())
    done = rig.pass_s(1)
    assert of(done, HoldVersions)[-1].order.in_use == ()


def test_a_start_without_its_data_is_refused(rig: Rig) -> None:
    why = "digits@v3 is not in the cache of this node"
    assert outcomes(rig.start(ref(), 0, data=(DIGITS,))) == [("refused", why)]
    hold(rig, version())
    waiting = DataHeld(SHA, "waiting", detail="its store is away", asked=7, listing=1)
    rig.handle(CacheSeen(CacheReport((waiting,), CACHE_BYTES, 0)))
    ((outcome, detail),) = outcomes(rig.start(ref(), 0, data=(DIGITS,)))
    assert (outcome, detail) == ("refused", f"{why} (waiting: its store is away)")


def test_what_was_reported_of_an_earlier_list_starts_nothing(rig: Rig) -> None:
    hold(rig, version(listing=1))
    hold(rig)
    hold(rig, version(listing=2))
    earlier = DataHeld(SHA, "ready", asked=7, listing=1)
    rig.handle(CacheSeen(CacheReport((earlier,), CACHE_BYTES, 0)))
    ((outcome, _),) = outcomes(rig.start(ref(), 0, data=(DIGITS,)))
    assert outcome == "refused"


def test_a_new_incarnation_gets_the_report_at_once(rig: Rig) -> None:
    hold(rig, version())
    rig.effects.clear()
    rig.crash()
    rig.ready()
    rig.effects.clear()
    done = hold(rig, version(listing=9))
    assert messages_of(done, DataReport)[-1].held[0].listing == 9
