"""What the agent says about its GPUs and tasks, what it learns from watching, what it spools."""

import pytest

from support.node.rig import IDLE, MAX, MIN, Rig, messages_of, of, ref, wall
from wattline_agent.core.effects import DropSpooled, SaveUsage, Spool
from wattline_agent.core.events import ConnectionLost, DeviceReported
from wattline_agent.core.ports import DeviceEvent, HostReading
from wattline_protocol.ids import GpuIndex
from wattline_protocol.wire.agent_messages import Beat, Hello, Rollups, RollupsSeen, TaskUpdate
from wattline_protocol.wire.agents.host_load import HostLoad, LinkLoad

W = 1000


@pytest.fixture
def rig() -> Rig:
    """Two idle GPUs and a lease for all of both."""
    made = Rig()
    made.ready()
    made.lease(wall(2 * MAX))
    return made


def beat(rig: Rig, seconds: float = 1) -> Beat:
    """The newest beat after some time."""
    return messages_of(rig.pass_s(seconds), Beat)[-1]


def test_a_beat_a_second_with_everything(rig: Rig) -> None:
    rig.run(ref(), 0)
    beats = messages_of(rig.pass_s(10), Beat)
    assert len(beats) == 10
    assert [b.seq for b in beats] == list(range(beats[0].seq, beats[0].seq + 10))
    last = beats[-1]
    assert last.gpus[0].power_mw == MAX
    assert last.gpus[0].cap_mw == MAX
    assert not last.gpus[0].is_idle
    assert last.gpus[1].is_idle
    assert last.holding_mw == wall(MAX + 93 * W)
    assert last.lease_mw == wall(2 * MAX)
    assert last.tasks[0].phase == "running"


def test_simulated_watts_are_marked() -> None:
    rig = Rig(is_simulated=True)
    hello = messages_of(rig.join(), Hello)[0]
    assert hello.simulated
    assert beat(rig, 2).simulated


def test_a_beat_has_the_load_of_disk_and_network(rig: Rig) -> None:
    link = LinkLoad("ib0", 2e9, 1e6, 25e9)
    rig.host = HostReading(0.0, 0, disk_busy=0.25, disk_bytes=100, disk_used_bytes=71, link=link)
    assert beat(rig).host == HostLoad(100, 71, 0.25, link)


def test_a_gpu_that_is_not_read_says_so_and_its_neighbour_is_read(rig: Rig) -> None:
    rig.gpus[0].is_hung = True
    last = beat(rig)
    assert last.gpus[0].power_mw is None
    assert not last.gpus[0].is_idle
    assert last.gpus[1].power_mw == IDLE
    assert any("GPU 0: no reading for 9 s" in problem for problem in last.problems)


# --- usage ------------------------------------------------------------------------------


def test_energy_and_time_of_an_attempt(rig: Rig) -> None:
    rig.run(ref(), 0, 1)
    usage = beat(rig, 20).tasks[0].usage
    assert usage.run_s == pytest.approx(20, abs=1.1)
    assert usage.gpu_s == 2 * usage.run_s
    assert usage.gpu_energy_mj == pytest.approx(2 * 20 * MAX, rel=0.06)
    assert usage.util_gpu_s == pytest.approx(2 * 20, rel=0.06)


def test_what_died_with_its_keeper_counts_as_long_as_it_was_seen_to_run(rig: Rig) -> None:
    """The next keeper does not know how long that was."""
    rig.run(ref(), 0)
    rig.pass_s(5)
    ran_s = rig.node.state.attempts[ref()].usage.run_s
    rig.end(ref(), "keeper_lost")
    rig.tasks[ref()].ended_s = rig.tasks[ref()].started_s
    (update,) = messages_of(rig.handle(rig.seen()), TaskUpdate)
    usage = update.report.usage
    assert usage.run_s == usage.gpu_s == ran_s == pytest.approx(5, abs=1.1)


def test_node_energy_is_at_the_wall_with_the_share_of_the_rest(rig: Rig) -> None:
    rig.host = HostReading(0.0, 0, non_gpu_mw=600 * W)
    rig.run(ref(), 0)
    usage = beat(rig, 20).tasks[0].usage
    expected_mj = (20 * MAX + 20 * 600 * W / 2) * 1000 / 940
    assert usage.node_energy_mj == pytest.approx(expected_mj, rel=0.06)


def test_without_a_sensor_the_rest_is_modelled_between_base_and_worst(rig: Rig) -> None:
    rig.host = HostReading(cpu_pct=0.0, memory_used_bytes=0)
    assert beat(rig).non_gpu_mw == 320 * W
    rig.host = HostReading(cpu_pct=100.0, memory_used_bytes=0)
    assert beat(rig).non_gpu_mw == 800 * W


def test_cap_bound_time_comes_from_the_throttle_counter(rig: Rig) -> None:
    rig.run(ref(), 0)
    rig.pass_s(1)
    rig.gpus[0].throttle_ns += 400_000_000
    last = beat(rig)
    assert last.gpus[0].cap_bound_ms == 400
    assert last.tasks[0].usage.cap_bound_gpu_s == pytest.approx(0.4)
    assert beat(rig).gpus[0].cap_bound_ms == 0


def test_the_mean_cap_of_an_attempt_counts_the_time_in_which_the_cap_was_known(rig: Rig) -> None:
    rig.run(ref(), 0)
    usage = beat(rig, 10).tasks[0].usage
    assert usage.cap_gpu_s == pytest.approx(usage.gpu_s, abs=1.1)
    assert usage.cap_gpu_mj == pytest.approx(usage.cap_gpu_s * MAX, rel=0.01)


def test_a_counter_that_starts_again_does_not_go_backwards(rig: Rig) -> None:
    rig.run(ref(), 0)
    before = beat(rig, 5).tasks[0].usage.gpu_energy_mj
    rig.gpus[0].energy_mj = 0
    after = beat(rig).tasks[0].usage.gpu_energy_mj
    assert after - before == pytest.approx(MAX, rel=0.01)


def test_the_last_step_of_an_ended_attempt_is_booked_and_no_more(rig: Rig) -> None:
    rig.run(ref(), 0)
    rig.pass_s(5)
    rig.end(ref())
    first = beat(rig).tasks[0].usage
    assert first.gpu_energy_mj == pytest.approx(6 * MAX, rel=0.2)
    assert beat(rig, 5).tasks[0].usage == first


def test_usage_is_put_on_disk_now_and_then(rig: Rig) -> None:
    rig.run(ref(), 0)
    rig.effects.clear()
    saves = of(rig.pass_s(30), SaveUsage)
    assert 2 <= len(saves) <= 4


# --- learning ---------------------------------------------------------------------------


def test_idle_draw_is_assumed_high_until_it_was_seen() -> None:
    rig = Rig()
    done = rig.join()
    assert [gpu.idle_mw for gpu in messages_of(done, Hello)[0].gpus] == [MAX // 4, MAX // 4]


def test_idle_draw_is_learned_with_a_margin_and_told(rig: Rig) -> None:
    assert rig.disk.state is not None
    assert rig.disk.state.idle_mw == {"GPU-0": 93 * W, "GPU-1": 93 * W}
    assert [gpu.idle_mw for gpu in rig.node.state.session.member.reported] == [93 * W] * 2  # type: ignore[union-attr]  # joined


def test_idle_draw_that_rises_is_learned_and_told(rig: Rig) -> None:
    rig.gpus[0].foreign_mw = 100 * W
    rig.gpus[0].util_pct = 0
    rig.effects.clear()
    rig.pass_s(14)
    assert rig.disk.state is not None
    assert rig.disk.state.idle_mw["GPU-0"] == 130 * W
    rig.pass_s(4)
    assert messages_of(rig.effects, Hello)[-1].gpus[0].idle_mw == 130 * W


def test_load_is_never_learned_as_idle(rig: Rig) -> None:
    rig.gpus[0].foreign_mw = 150 * W
    rig.pass_s(30)
    assert rig.disk.state is not None
    assert rig.disk.state.idle_mw["GPU-0"] == 93 * W


def test_overshoot_is_learned_per_model_and_squeezes_the_caps(rig: Rig) -> None:
    rig.run(ref(), 0, 1)
    rig.lease(wall(1000 * W))
    rig.gpus[0].overshoot_permille = 1035
    rig.pass_s(8)
    assert rig.disk.state is not None
    assert list(rig.disk.state.overshoot_permille.values()) == [1040]
    assert [gpu.limit_mw for gpu in rig.gpus] == [480 * W, 480 * W]
    assert any("above its cap" in problem for problem in beat(rig).problems)
    assert messages_of(rig.effects, Hello)[-1].gpus[1].overshoot_permille == 1040


def test_no_beat_shows_more_than_the_lease_while_caps_are_being_mended(rig: Rig) -> None:
    rig.run(ref(), 0, 1)
    rig.lease(wall(1000 * W))
    rig.gpus[0].overshoot_permille = 1035
    beats = messages_of(rig.pass_s(10), Beat)
    assert all(b.holding_mw <= b.lease_mw for b in beats)


def test_a_driver_that_does_not_answer_delays_a_beat_and_does_not_stop_it(rig: Rig) -> None:
    rig.run(ref(), 0, 1)
    rig.holds_answers = True
    rig.lease(wall(1000 * W))
    assert len(messages_of(rig.pass_s(6), Beat)) >= 5


def test_the_lag_of_the_average_after_a_cut_is_no_overshoot(rig: Rig) -> None:
    rig.run(ref(), 0, 1)
    rig.pass_s(5)
    rig.lease(wall(1000 * W))
    rig.gpus[0].overshoot_permille = 1400
    rig.pass_s(2)
    rig.gpus[0].overshoot_permille = 1000
    rig.pass_s(5)
    assert rig.disk.state is not None
    assert rig.disk.state.overshoot_permille == {}


def test_a_cap_without_effect_makes_the_gpu_count_in_full(rig: Rig) -> None:
    rig.run(ref(), 0, 1)
    rig.lease(wall(1000 * W), 300 * W, 700 * W)
    rig.gpus[0].overshoot_permille = 2000
    rig.pass_s(6)
    last = beat(rig)
    assert any("the cap has no effect" in problem for problem in last.problems)
    assert rig.gpus[1].limit_mw == 300 * W
    assert last.holding_mw == wall(MAX + 300 * W)


def test_a_host_that_draws_more_than_the_site_file_says_is_counted_and_told(rig: Rig) -> None:
    rig.run(ref(), 0, 1)
    rig.lease(wall(1000 * W))
    rig.host = HostReading(0.0, 0, node_mw=2_000 * W, source="hwmon", non_gpu_mw=900 * W)
    rig.pass_s(9)
    assert rig.gpus[0].limit_mw == 500 * W
    last = beat(rig, 3)
    assert rig.gpus[0].limit_mw == 450 * W
    assert any("non-GPU load of 900 W" in problem for problem in last.problems)


def test_a_moment_of_high_node_power_changes_nothing(rig: Rig) -> None:
    rig.host = HostReading(0.0, 0, node_mw=2_000 * W, source="hwmon", non_gpu_mw=900 * W)
    rig.pass_s(5)
    rig.host = HostReading(0.0, 0, node_mw=1_500 * W, source="hwmon", non_gpu_mw=500 * W)
    rig.pass_s(20)
    assert rig.node.state.non_gpu_seen_mw == 0


def test_events_of_the_driver_stay_in_the_beats_for_a_while(rig: Rig) -> None:
    rig.handle(DeviceReported((DeviceEvent(GpuIndex(1), "xid", 79, "fell off the bus"),)))
    assert any("GPU 1 xid 79" in problem for problem in beat(rig).problems)
    rig.now_s += 700
    assert not any("xid" in problem for problem in beat(rig).problems)


def test_problems_are_bounded(rig: Rig) -> None:
    for code in range(200):
        rig.handle(DeviceReported((DeviceEvent(GpuIndex(0), "xid", code, "x" * 500),)))
    problems = beat(rig).problems
    assert len(problems) == 16
    assert "more problems" in problems[-1]
    assert max(map(len, problems)) <= 200


# --- outage -----------------------------------------------------------------------------


def test_an_outage_is_spooled_by_the_minute_and_replayed_in_order(rig: Rig) -> None:
    rig.run(ref(), 0)
    rig.pass_s(5)
    rig.handle(ConnectionLost())
    rig.effects.clear()
    rig.pass_s(150)
    assert len(of(rig.effects, Spool)) == 2
    rig.join()
    rig.pass_s(2)
    (rollups,) = messages_of(rig.effects, Rollups)[:1]
    assert [round(item.seconds) for item in rollups.items][:2] == [60, 60]
    assert sum(item.seconds for item in rollups.items) == pytest.approx(150, abs=3)
    assert rollups.items[0].gpu_energy_mj[0] == pytest.approx(60 * MAX, rel=0.02)
    assert rollups.items[0].start_unix_s < rollups.items[1].start_unix_s
    done = rig.say(RollupsSeen(rollups.last))
    assert of(done, DropSpooled) == [DropSpooled(rollups.last)]
    assert rig.disk.spool == []


def test_rollups_are_repeated_until_they_are_seen(rig: Rig) -> None:
    rig.handle(ConnectionLost())
    rig.pass_s(70)
    rig.join()
    rig.effects.clear()
    rig.pass_s(25)
    lasts = [message.last for message in messages_of(rig.effects, Rollups)]
    assert len(lasts) >= 2
    assert len(set(lasts)) == 1


def test_an_ordinary_delay_is_not_spooled(rig: Rig) -> None:
    rig.pass_s(4, answered=False)
    rig.pass_s(30)
    assert not of(rig.effects, Spool)


def test_what_is_over_the_lease_is_said(rig: Rig) -> None:
    rig.lease(wall(2 * 93 * W))
    rig.gpus[0].foreign_mw = 400 * W
    last = beat(rig)
    assert last.holding_mw == wall(MIN + 93 * W)
    assert any("above its lease" in problem for problem in last.problems)
