"""Orders about tasks: started once, only when covered; stopped, paused, forgotten (I2, I4, I7)."""

import pytest

from support.node.rig import MAX, MIN, Rig, messages_of, names, of, ref, wall
from wattline_agent.core.effects import ApplyCaps, Effect, Freeze, Kill, Launch, Limit, Notify, Stop
from wattline_agent.core.events import Connected
from wattline_agent.core.tasks.attempts import reports
from wattline_agent.core.tasks.command_memory import MAX_ANSWERS, MAX_CLOSED, Answers, Closed
from wattline_protocol.ids import Sequence
from wattline_protocol.wire.agent_messages import CommandDone, Hello, LeaseAck, TaskUpdate

W = 1000


@pytest.fixture
def busy(rig: Rig) -> Rig:
    """A task on GPU 0."""
    rig.run(ref(), 0)
    rig.pass_s(5)
    rig.effects.clear()
    return rig


def outcomes(effects: list[Effect]) -> list[str]:
    """How commands were answered."""
    return [done.outcome for done in messages_of(effects, CommandDone)]


def details(effects: list[Effect]) -> str:
    """What was said about it."""
    return " ".join(d.detail for d in messages_of(effects, CommandDone))


# --- start ------------------------------------------------------------------------------


def test_caps_are_set_and_read_back_before_the_launch(rig: Rig) -> None:
    done = rig.start(ref(), 0)
    assert names(done)[:2] == ["ApplyCaps", "Launch"]
    assert outcomes(done) == ["done"]
    assert rig.gpus[0].limit_mw == MAX


def test_no_launch_before_the_driver_has_answered(rig: Rig) -> None:
    rig.holds_answers = True
    assert names(rig.start(ref(), 0)) == ["ApplyCaps"]
    rig.pass_s(1)
    assert not rig.launches
    rig.answer_caps()
    assert rig.launches == [ref()]


def test_a_start_makes_room_among_the_running(rig: Rig) -> None:
    rig.start(ref(0), 0)
    rig.pass_s(4)
    rig.lease(wall(800 * W), MAX, MAX)
    assert rig.gpus[0].limit_mw == 700 * W
    rig.start(ref(1), 1)
    assert [gpu.limit_mw for gpu in rig.gpus] == [400 * W, 400 * W]
    assert rig.launches == [ref(0), ref(1)]


def test_what_the_lease_does_not_cover_at_its_floor_is_not_started(rig: Rig) -> None:
    rig.lease(wall(MIN + 93 * W) - 1)
    rig.pass_s(4)
    done = rig.start(ref(), 0)
    assert outcomes(done) == ["not_covered"]
    assert "lacks" in details(done)
    assert not rig.launches


def test_exactly_the_floor_is_enough(rig: Rig) -> None:
    rig.lease(wall(MIN + 93 * W))
    assert outcomes(rig.start(ref(), 0)) == ["done"]
    assert rig.gpus[0].limit_mw == MIN


def test_the_newest_lease_counts_even_while_it_is_pending(rig: Rig) -> None:
    rig.start(ref(0), 0)
    rig.pass_s(4)
    rig.holds_answers = True
    rig.lease(wall(MIN + 93 * W))
    done = rig.start(ref(1), 1)
    assert outcomes(done) == ["not_covered"]


def test_a_repeat_gets_the_same_answer_and_no_second_launch(rig: Rig) -> None:
    message = rig.start_message(ref(), 0)
    rig.say(message)
    assert outcomes(rig.say(message)) == ["done"]
    assert rig.launches == [ref()]


def test_a_repeat_of_what_was_not_covered_stays_so_when_it_would_be(rig: Rig) -> None:
    rig.lease(wall(2 * 93 * W))
    message = rig.start_message(ref(), 0)
    rig.say(message)
    rig.lease(wall(2 * MAX))
    assert outcomes(rig.say(message)) == ["not_covered"]
    assert not rig.launches


def test_a_new_order_for_a_running_attempt_is_done(busy: Rig) -> None:
    assert outcomes(busy.start(ref(), 0)) == ["done"]
    assert busy.launches == [ref()]


@pytest.mark.parametrize("attempt", [0, 2])
def test_two_attempts_of_a_task_never_live_at_once(busy: Rig, attempt: int) -> None:
    done = busy.start(ref(0, attempt), 1)
    assert outcomes(done) == ["refused"]
    assert "of the same task has not ended" in details(done)


def test_a_new_attempt_may_start_when_the_old_one_has_ended(busy: Rig) -> None:
    busy.end(ref())
    busy.handle(busy.seen())
    assert outcomes(busy.start(ref(0, 2), 1)) == ["done"]


def test_a_new_attempt_waits_for_the_last_process_of_the_old_one(busy: Rig) -> None:
    busy.end(ref(), leftovers=True)
    busy.handle(busy.seen())
    assert outcomes(busy.start(ref(0, 2), 1)) == ["refused"]


@pytest.mark.parametrize(
    ("gpus", "words"),
    [
        ((0,), "GPU 0 is held by 1.0#1"),
        ((5,), "there is no GPU 5; this node has 2"),
        ((1, 1), "listed twice"),
    ],
)
def test_gpus_that_cannot_be_had(busy: Rig, gpus: tuple[int, ...], words: str) -> None:
    done = busy.start(ref(7), *gpus)
    assert outcomes(done) == ["refused"]
    assert words in details(done)


def test_an_unmanaged_gpu_gets_no_task() -> None:
    rig = Rig(managed=frozenset({0}))
    rig.ready()
    rig.lease(wall(2 * MAX))
    done = rig.start(ref(), 1)
    assert outcomes(done) == ["refused"]
    assert "not managed" in details(done)


@pytest.mark.parametrize("fault", ["is_lost", "is_hung"])
def test_a_sick_gpu_gets_no_task(rig: Rig, fault: str) -> None:
    setattr(rig.gpus[0], fault, True)
    rig.pass_s(1)
    done = rig.start(ref(), 0)
    assert outcomes(done) == ["refused"]
    assert "not healthy" in details(done)


def test_a_task_on_a_gpu_that_cannot_be_capped_needs_a_full_lease(rig: Rig) -> None:
    rig.gpus[0].error = "Insufficient Permissions"
    rig.reload_driver()
    rig.pass_s(5)
    rig.lease(wall(MAX + 93 * W) - 1)
    assert outcomes(rig.start(ref(0), 0)) == ["not_covered"]
    rig.lease(wall(MAX + 93 * W))
    assert outcomes(rig.start(ref(1), 0)) == ["done"]


def test_a_start_whose_caps_never_come_into_force_is_given_up(rig: Rig) -> None:
    rig.holds_answers = True
    rig.start(ref(), 0)
    rig.pass_s(4)
    assert outcomes(rig.effects) == ["not_covered"]
    rig.answer_caps()
    assert not rig.launches


def test_no_launch_on_an_answer_that_waited_as_long_as_a_driver_takes_to_load(rig: Rig) -> None:
    rig.lease(wall(MIN + 93 * W))
    rig.pass_s(4)
    rig.holds_answers = True
    rig.start(ref(), 0)
    rig.now_s += 2.0
    for gpu in rig.gpus:
        gpu.limit_mw = MAX  # loaded anew while the agent stood still
    rig.answer_caps()
    assert rig.launches == [ref()]
    assert rig.gpus[0].limit_mw == MIN


def test_a_driver_that_is_always_slow_is_believed_in_the_end(rig: Rig) -> None:
    """Its answers are older than what a start may rest on, until its pace is known."""
    rig.holds_answers = True
    for number in range(2):
        rig.start(ref(number), 0)
        for _ in range(3):
            rig.pass_s(2)
            kept, rig.kept_answers = rig.kept_answers, []
            rig.handle(*kept)
    assert rig.launches == [ref(1)]


def test_no_launch_while_a_neighbour_cannot_be_lowered(rig: Rig) -> None:
    rig.run(ref(0), 0)
    rig.pass_s(4)
    rig.lease(wall(MAX + 93 * W))
    rig.gpus[0].error = "Insufficient Permissions"
    assert not outcomes(rig.start(ref(1), 1))
    rig.effects.clear()
    rig.pass_s(4)
    assert outcomes(rig.effects) == ["not_covered"]
    assert rig.launches == [ref(0)]


def test_a_reservation_is_void_in_a_new_incarnation(rig: Rig) -> None:
    (hello,) = messages_of(rig.handle(Connected()), Hello)
    rig.holds_answers = True
    rig.start(ref(), 0)
    rig.say(rig.welcome(hello))
    rig.answer_caps()
    rig.lease(wall(2 * MAX))
    rig.pass_s(2)
    assert not rig.launches


def test_a_task_lease_goes_with_the_launch(rig: Rig) -> None:
    heard_s = rig.node.state.session.heard_s
    rig.start(ref(0), 0, on_isolation="stop")
    rig.start(ref(1), 1)
    first, second = (effect.context for effect in of(rig.effects, Launch))
    assert first.lease_until_mono_s == heard_s + 300.0
    assert second.lease_until_mono_s is None
    assert first.gpu_uuids == ("GPU-0",)
    assert first.node == "n1"


# --- end --------------------------------------------------------------------------------


def test_an_end_is_told_at_once_and_repeated_until_forgotten(busy: Rig) -> None:
    busy.end(ref())
    (update,) = messages_of(busy.handle(busy.seen()), TaskUpdate)
    assert update.report.phase == "ended"
    assert update.report.exit is not None
    assert not messages_of(busy.handle(busy.seen()), TaskUpdate)
    assert outcomes(busy.forget(ref())) == ["done"]
    assert ref() not in busy.tasks
    assert not busy.node.state.attempts


def test_a_living_task_is_not_forgotten(busy: Rig) -> None:
    assert outcomes(busy.forget(ref())) == ["refused"]
    busy.end(ref(), leftovers=True)
    busy.handle(busy.seen())
    done = busy.forget(ref())
    assert outcomes(done) == ["refused"]
    assert "it has left processes" in details(done)


def test_stop_is_answered_when_it_is_under_way(busy: Rig) -> None:
    done = busy.stop(ref())
    assert of(done, Stop) == [Stop(ref(), 30.0, "cancelled by ada")]
    assert outcomes(done) == ["done"]


def test_stop_that_overtakes_its_start_prevents_it(rig: Rig) -> None:
    late = rig.start_message(ref(), 0)
    done = rig.stop(ref())
    (update,) = messages_of(done, TaskUpdate)
    assert update.report.exit is not None
    assert update.report.exit.kind == "not_startable"
    assert outcomes(rig.say(late)) == ["refused"]
    rig.forget(ref())
    late_again = rig.start_message(ref(), 0)
    assert outcomes(rig.say(late)) == ["refused"]
    assert not rig.launches
    assert outcomes(rig.say(late_again)) == ["done"]


def test_an_order_older_than_the_forgetting_is_refused(rig: Rig) -> None:
    late = rig.start_message(ref(), 0)
    rig.start(ref(), 0)
    rig.end(ref())
    rig.handle(rig.seen())
    rig.forget(ref())
    assert outcomes(rig.say(late)) == ["refused"]
    assert rig.launches == [ref()]


def test_stop_of_a_reservation_ends_both(rig: Rig) -> None:
    rig.holds_answers = True
    rig.start(ref(), 0)
    done = rig.stop(ref())
    assert outcomes(done) == ["refused", "done"]
    rig.answer_caps()
    rig.pass_s(1)
    assert not rig.launches


def test_a_task_the_keeper_lost_is_reported_as_lost(busy: Rig) -> None:
    busy.tasks.clear()
    (update,) = messages_of(busy.handle(busy.seen()), TaskUpdate)
    assert update.report.exit is not None
    assert update.report.exit.kind == "keeper_lost"


def test_a_task_over_its_runtime_is_stopped_once(rig: Rig) -> None:
    rig.run(ref(), 0, runtime_limit_s=10.0, grace_s=7.0)
    assert not of(rig.pass_s(9), Stop)
    (stop,) = of(rig.pass_s(5), Stop)
    assert (stop.kind, stop.grace_s) == ("runtime_limit", 7.0)
    assert "over its runtime limit of 10 s" in stop.why


def test_a_run_time_limit_can_be_raised_lowered_and_taken_away(rig: Rig) -> None:
    rig.run(ref(), 0, runtime_limit_s=10.0)
    done = rig.limit(ref(), 30.0)
    assert outcomes(done) == ["done"]
    assert of(done, Limit) == [Limit(ref(), 30.0)]
    assert not of(rig.pass_s(20), Stop)
    rig.limit(ref(), 0.0)
    assert not of(rig.pass_s(60), Stop)
    (stop,) = of([*rig.limit(ref(), 50.0), *rig.pass_s(2)], Stop)
    assert stop.kind == "runtime_limit"


def test_the_limit_in_force_is_reported_also_by_an_agent_that_restarted(rig: Rig) -> None:
    rig.run(ref(), 0, runtime_limit_s=10.0)
    rig.limit(ref(), 30.0)
    assert [report.runtime_limit_s for report in reports(rig.node.state)] == [30.0]
    assert rig.tasks[ref()].order.runtime_limit_s == 30.0, "as the runner keeps it on disk"


def test_a_limit_for_what_does_not_run_here_is_answered_and_does_nothing(rig: Rig) -> None:
    done = rig.limit(ref(7), 30.0)
    assert outcomes(done) == ["done"]
    assert not of(done, Limit)


# --- pause and resume -------------------------------------------------------------------


def test_pause_gives_notice_freezes_within_a_second_and_answers_when_frozen(busy: Rig) -> None:
    done = busy.pause(ref())
    assert of(done, Notify)
    assert not outcomes(done)
    done = busy.pass_s(1)
    assert of(done, Freeze)
    assert busy.tasks[ref()].phase == "paused"
    assert outcomes(done + busy.pass_s(1)) == ["done"]
    assert not of(busy.pass_s(10), Kill)


def test_a_paused_task_keeps_its_gpus_and_counts_idle_after_three_seconds(busy: Rig) -> None:
    busy.pause(ref())
    busy.lease(wall(2 * 93 * W))
    assert not messages_of(busy.pass_s(2), LeaseAck)
    assert messages_of(busy.pass_s(6), LeaseAck)
    assert outcomes(busy.start(ref(9), 0)) == ["refused"]


def test_what_does_not_freeze_is_killed_in_time(busy: Rig) -> None:
    busy.keeps_freezes = True
    busy.pause(ref(), 5.0)
    assert not of(busy.pass_s(4), Kill)
    (kill,) = of(busy.pass_s(2), Kill)
    assert kill.kind == "emergency"


def test_what_is_frozen_and_still_draws_is_killed(busy: Rig) -> None:
    busy.pause(ref(), 5.0)
    busy.gpus[0].foreign_mw = 300 * W
    assert of(busy.pass_s(6), Kill)


def test_a_repeat_of_a_pause_does_not_put_off_the_kill(busy: Rig) -> None:
    busy.keeps_freezes = True
    busy.pause(ref(), 5.0)
    for _ in range(4):
        busy.pass_s(1)
        busy.pause(ref(), 5.0)
    assert of(busy.pass_s(2), Kill)


def test_resume_needs_a_lease_that_covers_it(busy: Rig) -> None:
    busy.pause(ref())
    busy.pass_s(2)
    busy.lease(wall(2 * 93 * W))
    busy.pass_s(6)
    assert outcomes(busy.resume(ref())) == ["not_covered"]
    assert busy.tasks[ref()].phase == "paused"
    busy.lease(wall(400 * W + 93 * W))
    done = busy.resume(ref())
    assert outcomes(done) == ["done"]
    assert names(done)[:2] == ["ApplyCaps", "Thaw"]
    assert busy.tasks[ref()].phase == "running"
    assert busy.gpus[0].limit_mw == 400 * W


def test_a_thawed_task_counts_from_the_thaw_on(busy: Rig) -> None:
    busy.pause(ref())
    busy.pass_s(6)
    busy.lease(wall(400 * W + 93 * W))
    busy.resume(ref())
    assert busy.node.holding_mw == wall(400 * W + 93 * W)


def test_resume_before_the_freeze_takes_the_pause_back(busy: Rig) -> None:
    busy.pause(ref())
    assert outcomes(busy.resume(ref())) == ["done"]
    assert not of(busy.pass_s(8), Freeze)


def test_resume_while_freezing_is_answered_when_it_is_repeated(busy: Rig) -> None:
    busy.keeps_freezes = True
    busy.pause(ref())
    busy.pass_s(1)
    assert not outcomes(busy.resume(ref()))
    busy.tasks[ref()].phase = "paused"
    busy.handle(busy.seen())
    assert outcomes(busy.resume(ref()))[-1] == "done"


def test_stopping_what_is_paused_kills_it(busy: Rig) -> None:
    busy.pause(ref())
    busy.pass_s(2)
    done = busy.stop(ref())
    assert of(done, Kill)
    assert not of(done, Stop)


@pytest.mark.parametrize("command", ["pause", "resume", "forget"])
def test_commands_for_nobody_are_done(rig: Rig, command: str) -> None:
    assert outcomes(getattr(rig, command)(ref(42))) == ["done"]


def test_pausing_a_reservation_takes_it_back(rig: Rig) -> None:
    rig.holds_answers = True
    rig.start(ref(), 0)
    assert outcomes(rig.pause(ref())) == ["not_covered", "done"]
    rig.answer_caps()
    assert not rig.launches


# --- memory -----------------------------------------------------------------------------


def test_what_is_older_than_the_memory_is_refused(rig: Rig) -> None:
    first = rig.start_message(ref(), 0)
    for _ in range(MAX_ANSWERS + 1):
        rig.forget(ref(77))
    done = rig.say(first)
    assert outcomes(done) == ["refused"]
    assert "older than all commands on record" in details(done)


def test_answers_are_bounded_and_what_was_dropped_is_too_old() -> None:
    answers: Answers[str] = Answers()
    for number in range(1, MAX_ANSWERS + 3):
        answers.put(Sequence(number), "done")
    assert answers.get(Sequence(1)) is None
    assert answers.is_too_old(Sequence(2))
    assert not answers.is_too_old(Sequence(3))
    assert not answers.is_too_old(Sequence(MAX_ANSWERS + 9))


def test_closed_attempts_are_bounded_and_stay_closed() -> None:
    closed = Closed()
    for number in range(MAX_CLOSED + 1):
        closed.put(ref(number), Sequence(number + 1))
    assert ref(0) not in closed
    assert closed.forbids(ref(0), Sequence(1))
    assert not closed.forbids(ref(0), Sequence(2))
    assert closed.forbids(ref(5), Sequence(5))


def test_every_cap_that_was_asked_for_is_in_range(busy: Rig) -> None:
    busy.lease(wall(1300 * W), 10_000_000, 1)
    asked = [cap for effect in of(busy.effects, ApplyCaps) for cap in effect.caps_mw.values()]
    assert asked
    assert all(MIN <= cap <= MAX for cap in asked)
