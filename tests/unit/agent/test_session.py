"""Hello, Welcome, answered beats, isolation: whom the agent obeys, and when it counts as heard."""

from itertools import pairwise

import pytest

from support.node.rig import MAX, MIN, Rig, messages_of, names, of, ref, wall
from wattline_agent.core.effects import RenewTaskLeases, SaveState, Send
from wattline_agent.core.events import Connected, ConnectionLost, SchedulerMessage, TimePassed
from wattline_protocol.ids import Epoch, Incarnation
from wattline_protocol.wire.agent_messages import (
    Adopted,
    Beat,
    BeatSeen,
    Hello,
    LogChunk,
    ReadLog,
    Refused,
    Rehello,
)

W = 1000


@pytest.fixture
def rig() -> Rig:
    """Connected: the first Hello is out."""
    made = Rig()
    made.boot()
    made.handle(Connected())
    return made


def hello(rig: Rig) -> Hello:
    """The newest Hello."""
    return messages_of(rig.effects, Hello)[-1]


# --- greeting ---------------------------------------------------------------------------


def test_a_connection_begins_with_hello(rig: Rig) -> None:
    said = hello(rig)
    assert said.boot_id == rig.boot_id
    assert [gpu.cap_max_mw for gpu in said.gpus] == [MAX, MAX]
    assert len(said.nonce) == 16


def test_every_hello_has_a_nonce_of_its_own(rig: Rig) -> None:
    rig.pass_s(30)
    nonces = [said.nonce for said in messages_of(rig.effects, Hello)]
    assert len(nonces) == len(set(nonces)) > 3


def test_two_agents_never_share_a_nonce() -> None:
    one, other = Rig(seed=b"a"), Rig(seed=b"b")
    for made in (one, other):
        made.boot()
        made.handle(Connected())
    assert hello(one).nonce != hello(other).nonce


def test_hello_is_repeated_ever_less_often(rig: Rig) -> None:
    times = []
    for _ in range(600):
        rig.now_s += 0.1
        times += [rig.now_s for _ in messages_of(rig.handle(TimePassed()), Hello)]
    gaps = [b - a for a, b in pairwise(times)]
    assert gaps[0] == pytest.approx(1.0, abs=0.2)
    assert gaps[-1] == pytest.approx(10.0, abs=0.2)


def test_welcome_saves_then_reads_caps_back_then_says_adopted(rig: Rig) -> None:
    done = rig.say(rig.welcome(hello(rig)))
    assert names(done) == ["SaveState", "ReadCaps", "SaveState", "Adopted"]
    first, second = of(done, SaveState)
    assert first.state.incarnation == rig.incarnation
    assert second.state.lease is not None
    (adopted,) = messages_of(done, Adopted)
    assert adopted.holding_mw == second.state.lease.lease_mw == wall(2 * MIN)
    assert adopted.caps_mw == (MIN, MIN)


def test_adopted_is_followed_by_a_beat_that_waits_for_no_sample() -> None:
    rig = Rig()
    rig.ready()
    rig.pass_s(5)
    rig.now_s += 0.4
    (greeting,) = messages_of(rig.say(Rehello(Epoch(rig.epoch), "who are you")), Hello)
    done = rig.say(rig.welcome(greeting))
    assert names(done)[-2:] == ["Adopted", "Beat"]
    (beat,) = messages_of(done, Beat)
    assert [gpu.is_idle for gpu in beat.gpus] == [True, True]
    assert len(messages_of(rig.pass_s(3), Beat)) == 3, "the beats of the samples stay as they were"


def test_nothing_is_said_of_gpus_that_were_never_sampled(rig: Rig) -> None:
    assert not messages_of(rig.say(rig.welcome(hello(rig))), Beat)
    (beat,) = messages_of(rig.pass_s(1), Beat)
    assert beat.gpus[0].power_mw is not None


def test_a_limit_raised_behind_our_back_is_in_adopted(rig: Rig) -> None:
    rig.gpus[0].limit_mw = 500 * W
    done = rig.say(rig.welcome(hello(rig)))
    assert messages_of(done, Adopted)[0].holding_mw == wall(500 * W + MIN)


def test_a_welcome_to_another_nonce_is_ignored(rig: Rig) -> None:
    stale = rig.welcome(hello(rig), nonce=b"0" * 16)
    assert names(rig.say(stale)) == []


def test_a_welcome_to_an_earlier_hello_is_ignored(rig: Rig) -> None:
    late = rig.welcome(hello(rig))
    rig.pass_s(3)
    assert names(rig.say(late)) == []


def test_a_welcome_counts_once(rig: Rig) -> None:
    message = rig.welcome(hello(rig))
    rig.say(message)
    assert names(rig.say(message)) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"protocol": 2}, "uses protocol 2"),
        ({"epoch": Epoch(4)}, "--recover"),
        ({"epoch": Epoch(5), "instance": "s2"}, "another scheduler"),
        ({"epoch": Epoch(5), "instance": "s1", "incarnation": Incarnation(1)}, "not newer"),
    ],
)
def test_whom_the_agent_does_not_obey(changes: dict[str, object], words: str) -> None:
    rig = Rig()
    rig.epoch = 5
    rig.join()
    before = rig.disk.state
    rig.handle(ConnectionLost())
    rig.handle(Connected())
    done = rig.say(rig.welcome(hello(rig), **changes))
    assert not messages_of(done, Adopted)
    assert rig.disk.state == before
    rig.pass_s(16)
    assert any(words in problem for problem in hello(rig).problems)


def test_the_fences_survive_a_restart_of_the_agent() -> None:
    rig = Rig()
    rig.epoch = 5
    rig.join()
    rig.crash()
    rig.boot()
    rig.handle(Connected())
    assert hello(rig).epoch_seen == 5
    assert hello(rig).incarnation_seen == 1
    assert not messages_of(rig.say(rig.welcome(hello(rig), epoch=Epoch(4))), Adopted)


def test_a_newer_epoch_is_obeyed(rig: Rig) -> None:
    rig.say(rig.welcome(hello(rig)))
    rig.epoch, rig.instance = 2, "s2"
    rig.say(Rehello(Epoch(2), "restarted"))
    rig.pass_s(4)
    rig.say(Rehello(Epoch(2), "restarted"))
    assert messages_of(rig.say(rig.welcome(hello(rig))), Adopted)


def test_a_refusal_is_shown_and_asked_again_later(rig: Rig) -> None:
    rig.say(Refused(1, "node n1 is not in the site file"))
    rig.effects.clear()
    rig.pass_s(10)
    assert not messages_of(rig.effects, Hello)
    rig.pass_s(6)
    assert "node n1 is not in the site file" in hello(rig).problems[0]


def test_a_refusal_nobody_asked_for_is_ignored(rig: Rig) -> None:
    rig.say(rig.welcome(hello(rig)))
    rig.say(Refused(1, "go away"))
    assert messages_of(rig.pass_s(1), Beat)


def test_rehello_of_an_older_epoch_is_ignored() -> None:
    rig = Rig()
    rig.epoch = 3
    rig.join()
    rig.pass_s(3)
    rig.effects.clear()
    rig.say(Rehello(Epoch(2), "who are you?"))
    assert not messages_of(rig.effects, Hello)
    rig.say(Rehello(Epoch(3), "who are you?"))
    assert messages_of(rig.effects, Hello)


def test_rehello_to_a_beat_of_the_last_incarnation_starts_no_circle(rig: Rig) -> None:
    rig.say(rig.welcome(hello(rig)))
    rig.effects.clear()
    rig.say(Rehello(Epoch(1), "unknown incarnation"))
    rig.handle(TimePassed())
    assert not messages_of(rig.effects, Hello)


def test_adopted_is_repeated_until_a_beat_is_answered(rig: Rig) -> None:
    rig.say(rig.welcome(hello(rig)))
    assert len(messages_of(rig.pass_s(3, answered=False), Adopted)) >= 2
    rig.pass_s(2)
    assert not messages_of(rig.pass_s(3), Adopted)


def test_a_scheduler_that_answers_nothing_is_greeted_again(rig: Rig) -> None:
    rig.say(rig.welcome(hello(rig)))
    rig.effects.clear()
    rig.pass_s(4, answered=False)
    assert not messages_of(rig.effects, Hello)
    rig.pass_s(3, answered=False)
    assert messages_of(rig.effects, Hello)


def test_nothing_is_said_while_disconnected(rig: Rig) -> None:
    rig.say(rig.welcome(hello(rig)))
    rig.handle(ConnectionLost())
    rig.effects.clear()
    rig.pass_s(30)
    assert not of(rig.effects, Send)


def test_a_change_of_abilities_is_told_by_a_new_hello() -> None:
    rig = Rig()
    rig.ready()
    rig.run(ref(), 0, 1)
    rig.gpus[0].error = "Insufficient Permissions"
    rig.lease(wall(1000 * W))
    rig.pass_s(5)
    assert [gpu.can_cap for gpu in hello(rig).gpus] == [False, True]


# --- being heard ------------------------------------------------------------------------


def test_task_leases_are_renewed_from_when_the_answered_beat_was_sent() -> None:
    rig = Rig()
    rig.ready()
    rig.run(ref(), 0, on_isolation="stop")
    rig.now_s += 1
    (beat,) = messages_of(rig.sample(), Beat)
    sent_s = rig.now_s
    rig.now_s += 40
    done = rig.say(BeatSeen(beat.epoch, beat.incarnation, beat.seq))
    assert of(done, RenewTaskLeases) == [RenewTaskLeases(sent_s + 300.0)]


def test_a_late_answer_never_shortens(rig: Rig) -> None:
    rig.say(rig.welcome(hello(rig)))
    rig.now_s += 1
    (first,) = messages_of(rig.sample(), Beat)
    rig.pass_s(3)
    heard_s = rig.node.state.session.heard_s
    rig.say(BeatSeen(first.epoch, first.incarnation, first.seq))
    assert rig.node.state.session.heard_s == heard_s


def test_an_answer_to_no_beat_of_ours_renews_nothing() -> None:
    rig = Rig()
    rig.ready()
    rig.run(ref(), 0, on_isolation="stop")
    rig.effects.clear()
    rig.say(BeatSeen(Epoch(1), Incarnation(rig.incarnation), 10_000))
    assert not of(rig.effects, RenewTaskLeases)


def test_tasks_that_run_on_when_isolated_need_no_lease() -> None:
    rig = Rig()
    rig.ready()
    rig.run(ref(), 0)
    assert not of(rig.pass_s(3), RenewTaskLeases)


def test_isolation_keeps_the_lease_by_default() -> None:
    rig = Rig()
    rig.ready()
    rig.run(ref(), 0, 1)
    rig.handle(ConnectionLost())
    rig.pass_s(60, answered=False)
    assert [gpu.limit_mw for gpu in rig.gpus] == [MAX, MAX]


def test_isolation_to_the_floor_where_the_site_wants_it_and_back() -> None:
    rig = Rig()
    rig.ready(isolation="floor")
    rig.run(ref(), 0, 1)
    rig.pass_s(2)
    rig.pass_s(14, answered=False)
    assert [gpu.limit_mw for gpu in rig.gpus] == [MAX, MAX]
    rig.pass_s(2, answered=False)
    assert [gpu.limit_mw for gpu in rig.gpus] == [MIN, MIN]
    rig.pass_s(2)
    assert [gpu.limit_mw for gpu in rig.gpus] == [MAX, MAX]


def test_logs_are_read_for_the_scheduler(rig: Rig) -> None:
    assert names(rig.handle(SchedulerMessage(ReadLog(7, ref(), 0)))) == []
    rig.say(rig.welcome(hello(rig)))
    assert names(rig.say(ReadLog(7, ref(), 0))) == ["SendLog"]
    refused = messages_of(rig.say(ReadLog(8, ref(), 0, 0)), LogChunk)
    assert "must be above 0" in refused[0].error
