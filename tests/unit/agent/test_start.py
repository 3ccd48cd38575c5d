"""Start and stop of an agent: adoption of caps and tasks, floors, reloads, defaults (I6)."""

import pytest

from support.node.rig import MAX, MIN, Rig, messages_of, names, of, ref, wall
from wattline_agent.core.effects import ApplyCaps, Kill, RestoreCaps, SaveState, Thaw, WouldCap
from wattline_agent.core.events import Connected, StopAsked, TimePassed
from wattline_agent.core.link.adoption import MOST_WAIT_S
from wattline_protocol.wire.agent_messages import (
    Adopted,
    Beat,
    Farewell,
    Hello,
    LeaseAck,
    StartTask,
)

W = 1000


@pytest.fixture
def busy() -> Rig:
    """A task on GPU 0 at 500 W, GPU 1 idle."""
    rig = Rig()
    rig.ready()
    rig.run(ref(), 0)
    rig.lease(wall(500 * W + 93 * W))
    rig.pass_s(4)
    rig.effects.clear()
    return rig


def limits(rig: Rig) -> list[int]:
    """What is set at the driver."""
    return [gpu.limit_mw for gpu in rig.gpus]


def test_floors_before_anything_else() -> None:
    rig = Rig()
    done = rig.boot()
    assert names(done)[0] == "ApplyCaps"
    assert limits(rig) == [MIN, MIN]
    assert not messages_of(done, Hello)


def test_hello_waits_for_the_floors() -> None:
    rig = Rig()
    rig.holds_answers = True
    rig.boot()
    assert not messages_of(rig.handle(Connected()), Hello)
    rig.answer_caps()
    assert messages_of(rig.effects, Hello)


def test_a_restart_keeps_caps_that_fit_the_lease_on_file(busy: Rig) -> None:
    busy.crash()
    assert not of(busy.boot(), ApplyCaps)
    busy.pass_s(10)
    assert limits(busy) == [500 * W, MIN]


def test_a_restart_keeps_its_lease_while_the_scheduler_is_away(busy: Rig) -> None:
    busy.crash()
    busy.boot()
    assert busy.lease_in_force_mw == wall(593 * W)


@pytest.mark.parametrize("what", ["boot", "driver", "limit", "file", "unread"])
def test_floors_where_nothing_vouches_for_the_caps(busy: Rig, what: str) -> None:
    busy.crash()
    if what == "boot":
        busy.boot_id = "boot-2"
    elif what == "driver":
        busy.driver_loads += 1
    elif what == "limit":
        busy.gpus[0].limit_mw = 501 * W
    elif what == "unread":
        busy.gpus[0].is_hung = True
    else:
        busy.disk.state = None
        busy.node = busy._node()
    done = busy.boot()
    assert of(done, ApplyCaps)
    assert limits(busy)[0] == (500 * W if what == "unread" else MIN)
    assert busy.lease_in_force_mw is None


def test_a_host_limit_above_the_bmc_does_not_fit(busy: Rig) -> None:
    busy.gpus[0].limit_mw, busy.gpus[0].bmc_mw = MAX, 500 * W
    busy.crash()
    assert of(busy.boot(), ApplyCaps)


def test_adopted_after_a_restart_says_no_more_than_the_books_had(busy: Rig) -> None:
    busy.crash()
    done = busy.join()
    assert not messages_of(done, Adopted)
    (adopted,) = messages_of(busy.pass_s(4), Adopted)[:1]
    assert adopted.holding_mw == wall(593 * W)
    assert adopted.caps_mw == (500 * W, MIN)


def test_a_restarted_agent_that_stood_still_does_not_look_like_growth_to_the_books(
    busy: Rig,
) -> None:
    busy.crash()
    busy.join()
    busy.pass_s(2)
    busy.now_s += 10
    assert not messages_of(busy.handle(TimePassed()), Adopted)
    (adopted,) = messages_of(busy.pass_s(5), Adopted)[:1]
    assert adopted.holding_mw == wall(593 * W)


def test_adopted_is_said_in_the_end_even_where_every_sample_takes_long() -> None:
    rig = Rig()
    rig.ready()
    rig.lease(wall(2 * 93 * W))
    rig.crash()
    for gpu in rig.gpus:
        gpu.foreign_mw = MAX
    rig.boot()
    rig.sample()  # so that they are not presumed idle when it joins
    said = messages_of(rig.join(), Adopted)
    for _ in range(8):
        assert not said or rig.now_s - rig.node.state.started_s >= MOST_WAIT_S
        rig.now_s += 4
        said += messages_of(rig.sample(), Adopted)
    assert said


def test_adopted_is_said_in_the_end_even_if_a_gpu_is_not_idle(busy: Rig) -> None:
    busy.crash()
    busy.gpus[1].foreign_mw = MAX
    busy.join()
    (adopted,) = messages_of(busy.pass_s(6), Adopted)[:1]
    assert adopted.holding_mw == wall(393 * W + MIN)


def test_a_presumed_idle_gpu_raises_no_cap_before_adoption() -> None:
    rig = Rig()
    rig.join()
    rig.run(ref(), 0)
    rig.lease(wall(MIN + MIN))
    assert limits(rig) == [MIN, MIN]
    rig.crash()
    rig.boot()
    rig.pass_s(2)
    assert limits(rig) == [MIN, MIN]


def test_a_running_task_is_taken_over_and_counted(busy: Rig) -> None:
    for times in (1, 2):
        busy.crash()
        busy.join()
        (adopted,) = messages_of(busy.pass_s(4), Adopted)[:1]
        (report,) = adopted.tasks
        assert (report.ref, report.phase, report.readopted) == (ref(), "running", times)
    assert busy.launches == [ref()]


def test_what_ended_while_no_agent_ran_is_reported(busy: Rig) -> None:
    busy.crash()
    busy.end(ref())
    busy.join()
    (adopted,) = messages_of(busy.pass_s(6), Adopted)[:1]
    assert adopted.tasks[0].phase == "ended"
    assert adopted.tasks[0].readopted == 0


def test_energy_of_the_time_without_an_agent_is_booked(busy: Rig) -> None:
    busy.pass_s(10)
    before_mj = messages_of(busy.pass_s(1), Beat)[-1].tasks[0].usage.gpu_energy_mj
    busy.crash()
    busy.now_s += 100
    busy.gpus[0].energy_mj += 100 * 500 * W
    busy.join()
    beats = messages_of(busy.pass_s(6), Beat)
    booked_mj = beats[-1].tasks[0].usage.gpu_energy_mj - before_mj
    assert booked_mj == pytest.approx(106 * 500 * W, rel=0.05)


def test_a_driver_reload_brings_floors_then_the_caps_again(busy: Rig) -> None:
    busy.reload_driver()
    assert of(busy.effects, ApplyCaps)[0].caps_mw == {0: MIN, 1: MIN}
    busy.pass_s(5)
    assert limits(busy) == [500 * W, MIN]
    beat = messages_of(busy.effects, Beat)[-1]
    assert any("reloaded" in problem for problem in beat.problems)
    assert busy.disk.state is not None
    assert busy.disk.state.driver_instance == busy.driver_instance


def test_a_driver_reload_while_caps_are_being_set(busy: Rig) -> None:
    busy.holds_answers = True
    busy.lease(wall(400 * W + 93 * W))
    busy.reload_driver()
    busy.handle(busy.kept_answers.pop(0))
    assert not messages_of(busy.effects, LeaseAck)
    assert busy.node.state.gpus[0].enforced_mw is None
    busy.answer_caps()
    busy.pass_s(5)
    assert limits(busy) == [400 * W, MIN]


def test_a_clean_stop_without_tasks_restores_what_was_found() -> None:
    rig = Rig()
    rig.gpus[1].limit_mw = 600 * W
    rig.join()
    rig.pass_s(4)
    assert rig.node.is_settled
    done = rig.handle(StopAsked())
    assert messages_of(done, Farewell)
    assert limits(rig) == [MAX, 600 * W]
    assert names(rig.handle(TimePassed())) == []


def test_a_limit_comes_back_only_where_the_gpu_was_seen_idle_since_its_task_ended(
    busy: Rig,
) -> None:
    busy.end(ref())
    busy.pass_s(1)
    assert not busy.node.is_settled
    busy.handle(StopAsked())
    assert limits(busy) == [MIN, MAX]


def test_a_stop_with_a_task_has_nothing_to_wait_for(busy: Rig) -> None:
    assert busy.node.is_settled


def test_a_stop_waits_no_longer_than_until_all_were_seen_idle(busy: Rig) -> None:
    busy.end(ref())
    busy.pass_s(5)
    assert busy.node.is_settled
    busy.handle(StopAsked())
    assert limits(busy) == [MAX, MAX]


def test_a_stop_does_not_wait_for_a_gpu_that_is_gone() -> None:
    rig = Rig()
    rig.join()
    rig.pass_s(4)
    rig.gpus[0].is_lost = True
    rig.pass_s(1)
    assert rig.node.is_settled
    rig.handle(StopAsked())
    assert limits(rig) == [MIN, MAX]


def test_a_clean_stop_with_a_task_leaves_caps_and_task_alone(busy: Rig) -> None:
    done = busy.handle(StopAsked())
    assert messages_of(done, Farewell)
    assert not of(done, RestoreCaps)
    assert limits(busy) == [500 * W, MIN]
    assert busy.tasks[ref()].phase == "running"


def test_after_a_clean_stop_the_next_start_begins_with_floors() -> None:
    rig = Rig()
    rig.join()
    rig.handle(StopAsked())
    rig.crash()
    rig.boot()
    assert limits(rig) == [MIN, MIN]


def test_an_observer_caps_nothing_starts_nothing_and_shows_what_it_would_do() -> None:
    rig = Rig(is_observe=True)
    done = rig.join()
    assert messages_of(done, Hello)[0].observe
    assert not any(gpu.can_cap for gpu in messages_of(done, Hello)[0].gpus)
    assert of(done, WouldCap)[0].caps_mw == (MIN, MIN)
    assert messages_of(done, Adopted)[0].holding_mw == wall(2 * MAX)
    rig.start(ref(), 0)
    rig.pass_s(5)
    rig.handle(StopAsked())
    assert limits(rig) == [MAX, MAX]
    assert not rig.launches


def test_nothing_is_done_before_the_first_event() -> None:
    rig = Rig()
    with pytest.raises(ValueError, match="TimePassed before Started"):
        rig.node.handle(TimePassed(), rig.now)


def test_an_order_of_the_old_incarnation_is_void_after_a_restart(busy: Rig) -> None:
    busy.lease(wall(2 * MAX))
    order: StartTask = busy.start_message(ref(1), 1)
    busy.crash()
    busy.join()
    busy.pass_s(6)
    assert names(busy.say(order)) == []


def test_the_state_is_saved_when_the_boot_is_known() -> None:
    rig = Rig()
    states = [effect.state for effect in of(rig.boot(), SaveState)]
    assert states[-1].boot_id == rig.boot_id
    assert states[-1].found_mw == {"GPU-0": MAX, "GPU-1": MAX}


@pytest.mark.parametrize("freezes", [True, False])
def test_what_was_allocated_a_gpu_that_is_gone_is_paused_and_resumed_or_killed(
    busy: Rig, *, freezes: bool
) -> None:
    """One that fell off the bus: the driver does not list it to an agent that is started again."""
    busy.lease(wall(2 * MAX))
    busy.start(ref(2), 1, gpu_share_permille=500)
    busy.start(ref(4), 1, gpu_share_permille=500)
    busy.crash()
    busy.gpus.pop()
    busy.keeps_freezes = not freezes
    busy.ready()
    assert busy.node.shared_gpus == frozenset()
    busy.lease(wall(2 * MAX))
    busy.pause(ref(2), 5.0)
    done = busy.pass_s(6)
    assert [kill.ref for kill in of(done, Kill)] == ([] if freezes else [ref(2)])
    assert len(of(done + busy.resume(ref(2)), Thaw)) == freezes
    assert busy.tasks[ref(2)].phase == ("running" if freezes else "ended")
