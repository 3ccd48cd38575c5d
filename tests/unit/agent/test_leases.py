"""Leases in the agent: each rule of the lease protocol that is the agent's to keep (I2, I3, I8)."""

import pytest

from support.node.rig import MAX, MIN, Rig, messages_of, names, of, ref, wall
from wattline_agent.core.effects import ApplyCaps, SaveState
from wattline_protocol.ids import Epoch, Incarnation, Sequence
from wattline_protocol.wire.agent_messages import Adopted, Beat, Lease, LeaseAck, LeaseRefused

W = 1000


@pytest.fixture
def rig() -> Rig:
    """Two GPUs, joined, idle, idle draw learned."""
    made = Rig()
    made.ready()
    return made


@pytest.fixture
def busy(rig: Rig) -> Rig:
    """A task on both GPUs, uncapped."""
    rig.run(ref(), 0, 1)
    rig.pass_s(5)
    rig.effects.clear()
    return rig


def limits(rig: Rig) -> list[int]:
    """What is set at the driver."""
    return [gpu.limit_mw for gpu in rig.gpus]


# --- lower, save, acknowledge -----------------------------------------------------------


def test_caps_go_down_before_the_lease_is_saved_and_acknowledged(busy: Rig) -> None:
    done = busy.lease(wall(1000 * W))
    assert names(done) == ["ApplyCaps", "SaveState", "LeaseAck"]
    assert limits(busy) == [500 * W, 500 * W]
    assert busy.lease_in_force_mw == wall(1000 * W)
    assert messages_of(done, LeaseAck)[0].caps_mw == (500 * W, 500 * W)


def test_a_shrink_is_not_acknowledged_before_the_driver_has_answered(busy: Rig) -> None:
    busy.holds_answers = True
    assert names(busy.lease(wall(1000 * W))) == ["ApplyCaps"]
    busy.pass_s(2)
    assert not messages_of(busy.effects, LeaseAck)
    assert busy.lease_in_force_mw == wall(2 * MAX)
    busy.answer_caps()
    assert messages_of(busy.effects, LeaseAck)


def test_a_growth_is_saved_before_caps_go_up_and_acknowledged_after(busy: Rig) -> None:
    busy.lease(wall(1000 * W))
    assert names(busy.lease(wall(1200 * W))) == ["SaveState", "ApplyCaps", "LeaseAck"]
    assert limits(busy) == [600 * W, 600 * W]


def test_a_growth_is_not_acknowledged_before_its_caps_are_read_back(busy: Rig) -> None:
    busy.lease(wall(1000 * W))
    busy.holds_answers = True
    assert names(busy.lease(wall(1200 * W))) == ["SaveState", "ApplyCaps"]


def test_wanted_caps_are_used(busy: Rig) -> None:
    busy.lease(wall(1000 * W), 650 * W, 350 * W)
    assert limits(busy) == [650 * W, 350 * W]


def test_a_new_split_of_the_same_watts_lowers_first(busy: Rig) -> None:
    busy.lease(wall(1000 * W), 650 * W, 350 * W)
    done = busy.lease(wall(1000 * W), 350 * W, 650 * W)
    first, second = of(done, ApplyCaps)
    assert list(first.caps_mw.items()) == [(0, 350 * W)]
    assert second.caps_mw == {1: 650 * W}
    assert names(done)[-1] == "LeaseAck"


def test_a_shrink_reads_every_limit_back_even_if_none_has_to_change(busy: Rig) -> None:
    busy.lease(wall(1000 * W), 300 * W, 300 * W)
    done = busy.lease(wall(900 * W), 300 * W, 300 * W)
    assert of(done, ApplyCaps)[0].caps_mw == {0: 300 * W, 1: 300 * W}
    assert messages_of(done, LeaseAck)


# --- sequence, epoch, incarnation -------------------------------------------------------


def test_a_repeat_is_acknowledged_again_and_changes_nothing(busy: Rig) -> None:
    message = busy.lease_message(wall(1000 * W))
    busy.say(message)
    assert names(busy.say(message)) == ["LeaseAck"]
    assert names(busy.say(message)) == ["LeaseAck"]


def test_an_older_lease_is_ignored(busy: Rig) -> None:
    old = busy.lease_message(wall(2 * MAX))
    busy.lease(wall(1000 * W))
    assert names(busy.say(old)) == []
    assert limits(busy) == [500 * W, 500 * W]


def test_a_newer_lease_replaces_a_pending_one(busy: Rig) -> None:
    busy.holds_answers = True
    first = busy.lease_message(wall(1300 * W))
    second = busy.lease_message(wall(1000 * W))
    busy.say(first)
    busy.say(second)
    busy.say(first)
    busy.answer_caps()
    assert [ack.seq for ack in messages_of(busy.effects, LeaseAck)] == [second.seq]
    assert limits(busy) == [500 * W, 500 * W]


def test_an_older_lease_does_not_replace_a_pending_one(busy: Rig) -> None:
    busy.holds_answers = True
    old = busy.lease_message(wall(2 * MAX))
    busy.lease(wall(1000 * W))
    busy.say(old)
    busy.answer_caps()
    assert busy.lease_in_force_mw == wall(1000 * W)


@pytest.mark.parametrize(("epoch", "incarnation"), [(0, 0), (1, -1), (2, 0), (0, 1), (1, 1)])
def test_a_lease_of_another_epoch_or_incarnation_is_ignored(
    busy: Rig, epoch: int, incarnation: int
) -> None:
    stray = Lease(
        Epoch(epoch),
        Incarnation(busy.incarnation + incarnation),
        Sequence(99),
        wall(1000 * W),
        (MAX, MAX),
    )
    if (epoch, incarnation) != (1, 0):
        assert names(busy.say(stray)) == []
    assert limits(busy) == [MAX, MAX]


def test_a_lease_in_flight_at_a_restart_is_ignored_after_it(busy: Rig) -> None:
    in_flight = busy.lease_message(wall(2 * MAX))
    busy.lease(wall(1000 * W))
    busy.crash()
    busy.join()
    busy.pass_s(1)
    busy.effects.clear()
    assert not messages_of(busy.say(in_flight), LeaseAck)
    assert limits(busy) == [500 * W, 500 * W]


def test_a_pending_lease_is_void_in_a_new_incarnation(busy: Rig) -> None:
    busy.holds_answers = True
    busy.lease(wall(1000 * W))
    hello = busy.node.state.session
    hello.hello_due_s = busy.now_s
    busy.holds_answers = False
    busy.answer_caps()
    busy.lease(wall(300 * W))
    busy.join()
    busy.pass_s(1)
    assert busy.node.state.pending is None


# --- idleness ---------------------------------------------------------------------------


def test_a_shrink_waits_until_the_gpus_it_counts_as_idle_are_idle(busy: Rig) -> None:
    busy.end(ref())
    busy.handle(busy.seen())
    message = busy.lease_message(wall(2 * 93 * W))
    assert "LeaseAck" not in names(busy.say(message))
    assert limits(busy) == [MIN, MIN]
    assert not messages_of(busy.pass_s(3), LeaseAck)
    done = busy.pass_s(2)
    assert [ack.seq for ack in messages_of(done, LeaseAck)] == [message.seq]
    assert not messages_of(busy.effects, LeaseRefused)


def test_three_seconds_at_idle_draw_not_less(busy: Rig) -> None:
    busy.end(ref())
    busy.handle(busy.seen())
    busy.lease(wall(2 * 93 * W))
    busy.pass_s(1)
    first_idle_s = busy.now_s
    while not messages_of(busy.pass_s(1), LeaseAck):
        assert busy.now_s - first_idle_s < 10
    assert busy.now_s - first_idle_s >= 3.0


def test_a_gpu_with_processes_left_is_not_idle_whatever_it_draws(busy: Rig) -> None:
    busy.end(ref(), leftovers=True)
    busy.lease(wall(2 * 93 * W))
    assert not messages_of(busy.pass_s(9), LeaseAck)
    busy.tasks[ref()].group_ended = True
    assert messages_of(busy.pass_s(6), LeaseAck)


def test_a_task_shorter_than_a_sample_still_ends_idleness(rig: Rig) -> None:
    rig.lease(wall(2 * MAX))
    rig.start(ref(), 0)
    rig.end(ref())
    rig.handle(rig.seen())
    assert not rig.node.state.gpus[0].is_idle


def test_a_gap_between_readings_starts_the_three_seconds_again(busy: Rig) -> None:
    busy.end(ref())
    busy.pass_s(2)
    busy.now_s += 30
    busy.sample()
    assert not any(gpu.is_idle for gpu in busy.node.state.gpus)


def test_an_agent_that_stood_still_finds_idle_gpus_idle(rig: Rig) -> None:
    held_mw = messages_of(rig.pass_s(1), Beat)[-1].holding_mw
    rig.now_s += 30
    rig.sample()
    (beat, *_) = messages_of(rig.effects[-20:], Beat)[-1:]
    assert [gpu.is_idle for gpu in rig.node.state.gpus] == [True, True]
    assert beat.holding_mw == held_mw == wall(2 * 93 * W)


def test_an_agent_that_stood_still_sees_who_loads_its_gpus_since(rig: Rig) -> None:
    rig.now_s += 30
    rig.gpus[1].foreign_mw = 400 * W
    rig.sample()
    assert [gpu.is_idle for gpu in rig.node.state.gpus] == [True, False]


def test_foreign_load_on_an_idle_gpu_counts_at_its_cap_and_squeezes_the_rest(rig: Rig) -> None:
    rig.lease(wall(2 * MAX))
    rig.start(ref(), 0)
    rig.pass_s(4)
    rig.lease(wall(500 * W + 93 * W))
    assert limits(rig) == [500 * W, MIN]
    rig.gpus[1].foreign_mw = 400 * W
    rig.pass_s(1)
    assert limits(rig) == [393 * W, MIN]
    beats = messages_of(rig.pass_s(12), Beat)
    assert any("without a Wattline task" in problem for problem in beats[-1].problems)


def test_foreign_load_makes_a_shrink_fail_in_words(rig: Rig) -> None:
    rig.gpus[1].foreign_mw = 400 * W
    rig.pass_s(1)
    rig.lease(wall(2 * 93 * W))
    assert not messages_of(rig.pass_s(8), LeaseRefused)
    refused = messages_of(rig.pass_s(4), LeaseRefused)
    assert "GPU 1 have no task but are not at idle draw" in refused[0].reason


# --- refusals ---------------------------------------------------------------------------


def test_a_lease_below_the_floors_is_refused_and_caps_are_as_low_as_they_go(busy: Rig) -> None:
    done = busy.lease(wall(2 * MIN) - 1)
    (refused,) = messages_of(done, LeaseRefused)
    assert refused.lowest_mw == wall(2 * MIN)
    assert limits(busy) == [MIN, MIN]
    assert busy.lease_in_force_mw == wall(2 * MAX)
    assert not messages_of(busy.pass_s(3), LeaseAck)


def test_a_repeat_of_a_refused_lease_is_refused_again(busy: Rig) -> None:
    message = busy.lease_message(wall(2 * MIN) - 1)
    busy.say(message)
    assert names(busy.say(message)) == ["LeaseRefused"]


def test_a_refused_lease_is_acknowledged_when_tasks_make_room(busy: Rig) -> None:
    busy.lease(wall(2 * MIN) - 1)
    busy.end(ref())
    assert messages_of(busy.pass_s(6), LeaseAck)


def test_a_gpu_that_refuses_its_cap_counts_in_full_and_its_neighbour_pays(busy: Rig) -> None:
    busy.gpus[1].error = "Insufficient Permissions"
    assert messages_of(busy.lease(wall(1000 * W)), LeaseAck)
    assert limits(busy) == [300 * W, MAX]
    beat = messages_of(busy.pass_s(1), Beat)[-1]
    assert any("Insufficient Permissions" in problem for problem in beat.problems)


def test_where_the_neighbour_cannot_pay_the_lease_is_refused(busy: Rig) -> None:
    busy.gpus[1].error = "Insufficient Permissions"
    done = busy.lease(wall(800 * W))
    (refused,) = messages_of(done, LeaseRefused)
    assert not messages_of(done, LeaseAck)
    assert refused.lowest_mw == wall(MIN + MAX)
    assert "GPU 1 cannot be capped" in refused.reason
    assert limits(busy) == [MIN, MAX]


def test_a_driver_that_says_yes_and_does_nothing_is_found_out(busy: Rig) -> None:
    busy.gpus[1].ignores = True
    assert messages_of(busy.lease(wall(800 * W)), LeaseRefused)


def test_a_hung_gpu_is_not_acknowledged(busy: Rig) -> None:
    busy.gpus[0].is_hung = True
    assert messages_of(busy.lease(wall(800 * W)), LeaseRefused)
    assert not messages_of(busy.pass_s(4), LeaseAck)


def test_a_lost_gpu_counts_in_full(busy: Rig) -> None:
    busy.lease(wall(800 * W))
    busy.gpus[0].is_lost = True
    busy.pass_s(1)
    assert limits(busy)[1] == MIN
    assert messages_of(busy.pass_s(1), Beat)[-1].holding_mw == wall(MIN + MAX)


def test_a_gpu_that_recovers_is_capped_and_the_lease_acknowledged(busy: Rig) -> None:
    busy.gpus[1].error = "Insufficient Permissions"
    busy.lease(wall(800 * W))
    busy.gpus[1].error = ""
    assert messages_of(busy.pass_s(7), LeaseAck)
    assert limits(busy) == [400 * W, 400 * W]


def test_watts_move_between_gpus_down_first_and_up_after_the_read_back(rig: Rig) -> None:
    rig.run(ref(0), 0)
    rig.start(ref(1), 1)
    rig.lease(wall(1000 * W), 700 * W, 300 * W)
    rig.end(ref(0))
    done = rig.handle(rig.seen())
    assert [list(effect.caps_mw.items()) for effect in of(done, ApplyCaps)] == [[(0, MIN)]]
    rig.lease(wall(1000 * W), 300 * W, 700 * W)
    first, second = of(rig.effects, ApplyCaps)[-2:]
    assert max(first.caps_mw.values()) <= 300 * W
    assert list(second.caps_mw.items()) == [(1, 700 * W)]


def test_what_a_gpu_does_not_give_up_is_not_given_to_another(busy: Rig) -> None:
    busy.gpus[1].ignores = True
    busy.lease(wall(1000 * W))
    busy.watch = lambda effect: _check_draw(busy, wall(1000 * W))
    busy.pass_s(20)
    busy.lease(wall(1000 * W), 500 * W, 500 * W)
    busy.pass_s(20)
    assert limits(busy) == [300 * W, MAX]


def _check_draw(rig: Rig, lease_mw: int) -> None:
    assert rig.allowed_wall_mw() <= lease_mw


def test_a_lower_limit_of_the_bmc_does_not_count_because_it_may_be_lifted(busy: Rig) -> None:
    busy.gpus[0].bmc_mw = 250 * W
    busy.pass_s(2)
    assert messages_of(busy.pass_s(1), Beat)[-1].holding_mw == wall(2 * MAX)
    done = busy.lease(wall(1000 * W))
    assert limits(busy) == [250 * W, 500 * W], "a write above it could lift it"
    assert messages_of(done, LeaseAck)[0].caps_mw == (250 * W, 500 * W)


def test_a_limit_that_somebody_raised_is_lowered_at_the_next_sample(busy: Rig) -> None:
    busy.lease(wall(1000 * W))
    busy.gpus[0].limit_mw = MAX
    (beat,) = messages_of(busy.pass_s(1), Beat)
    assert limits(busy) == [500 * W, 500 * W]
    assert beat.holding_mw == wall(1000 * W)
    assert any("raised by another process" in problem for problem in beat.problems)


def test_an_unmanaged_gpu_is_never_capped_and_always_counts_in_full() -> None:
    rig = Rig(managed=frozenset({0}))
    rig.ready()
    assert [gpu.limit_mw for gpu in rig.gpus] == [MIN, MAX]
    assert rig.node.holding_mw == wall(93 * W + MAX)


# --- what was adopted -------------------------------------------------------------------


def test_before_adopted_no_lease_is_taken() -> None:
    rig = Rig()
    rig.boot()
    rig.holds_answers = True
    rig.join()
    assert not messages_of(rig.effects, Adopted)
    assert not messages_of(rig.lease(wall(2 * MAX)), LeaseAck)


def test_an_observer_takes_no_lease() -> None:
    rig = Rig(is_observe=True)
    rig.join()
    refused = messages_of(rig.lease(wall(2 * MIN)), LeaseRefused)
    assert refused[0].lowest_mw == wall(2 * MAX)
    assert [gpu.limit_mw for gpu in rig.gpus] == [MAX, MAX]
    assert not of(rig.effects, ApplyCaps)


def test_every_saved_lease_is_kept_by_the_driver_at_that_moment(busy: Rig) -> None:
    def check(effect: object) -> None:
        if isinstance(effect, SaveState) and effect.state.lease is not None:
            assert busy.allowed_wall_mw() <= effect.state.lease.lease_mw

    busy.watch = check
    for lease_mw in (wall(900 * W), wall(1300 * W), wall(400 * W), wall(1400 * W)):
        busy.lease(lease_mw)
        busy.pass_s(1)
    assert busy.gpus[0].limit_mw > MIN
