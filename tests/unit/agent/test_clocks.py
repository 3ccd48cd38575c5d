"""Locked clocks: wanted by an order or by a lease that caps do not keep; no book falls (I2)."""

from support.node.parts import MAX, MIN, W, messages_of, of, ref, wall
from support.node.rig import Rig
from wattline_agent.core.effects import LockClocks, SaveState
from wattline_agent.core.events import StopAsked
from wattline_agent.core.ports import DeviceInfo
from wattline_agent.core.power.clocks import clock_for_draw
from wattline_protocol.wire.agent_messages import Beat, Hello, LeaseAck, LeaseRefused


def lockable(gpus: int = 2, *, can_cap: bool = True) -> Rig:
    """A node whose GPUs' clocks can be locked, joined and known to be idle."""
    rig = Rig(gpus=gpus)
    for gpu in rig.gpus:
        gpu.can_lock, gpu.can_cap = True, can_cap
    rig.ready()
    return rig


def ceilings(rig: Rig) -> list[int]:
    return [gpu.locked_mhz for gpu in rig.gpus]


def test_a_new_agent_undoes_locks_that_nothing_on_file_explains() -> None:
    rig = Rig(gpus=2)
    for gpu in rig.gpus:
        gpu.can_lock, gpu.locked_mhz = True, 900
    rig.ready()
    assert ceilings(rig) == [0, 0]


def test_gpus_that_are_not_ours_keep_their_locks() -> None:
    rig = Rig(gpus=2, managed=frozenset({0}))
    for gpu in rig.gpus:
        gpu.can_lock, gpu.locked_mhz = True, 900
    rig.ready()
    assert ceilings(rig) == [0, 900]


def test_an_order_with_a_ceiling_locks_its_gpus_for_as_long_as_it_runs() -> None:
    rig = lockable()
    rig.run(ref(), 0, clock_permille=700)
    assert ceilings(rig) == [1400, 0]
    (beat,) = messages_of(rig.pass_s(1), Beat)[-1:]
    assert [sample.locked_mhz for sample in beat.gpus] == [1400, 0]
    rig.end(ref())
    rig.pass_s(2)
    assert ceilings(rig) == [0, 0]


def test_a_lock_lowers_nothing_that_is_held_or_committed() -> None:
    free, rig = lockable(), lockable()
    free.run(ref(), 0)
    rig.run(ref(), 0, clock_permille=500)
    assert ceilings(rig) == [1000, 0]
    assert rig.node.holding_mw == free.node.holding_mw


def test_the_lock_is_on_disk_before_it_is_set() -> None:
    rig = lockable()
    rig.lease(wall(2 * MAX))
    done = rig.start(ref(), 0, clock_permille=700)
    locks = [at for at, effect in enumerate(done) if isinstance(effect, LockClocks)]
    saves = [
        at
        for at, effect in enumerate(done)
        if isinstance(effect, SaveState) and effect.state.locked_mhz
    ]
    assert saves[0] < locks[0]


def test_a_restarted_agent_takes_over_the_locks_of_its_tasks_and_undoes_the_rest() -> None:
    rig = lockable()
    rig.run(ref(), 0, clock_permille=700)
    rig.run(ref(1), 1, clock_permille=800)
    rig.crash()
    rig.end(ref(1))
    done = rig.join()
    assert [effect.ceilings_mhz for effect in of(done, LockClocks)] == [{1: 0}]
    assert ceilings(rig) == [1400, 0]


def test_a_clean_stop_with_tasks_leaves_their_locks() -> None:
    rig = lockable()
    rig.run(ref(), 0, clock_permille=700)
    rig.handle(StopAsked())
    assert ceilings(rig) == [1400, 0]


def test_a_clean_stop_without_tasks_undoes_what_is_locked() -> None:
    rig = lockable()
    rig.run(ref(), 0, clock_permille=700)
    rig.gpus[0].error = "busy"  # so that the end of the task does not undo it
    rig.end(ref())
    rig.pass_s(2)
    rig.gpus[0].error = ""
    assert ceilings(rig) == [1400, 0]
    rig.handle(StopAsked())
    assert ceilings(rig) == [0, 0]
    assert rig.disk.state is not None
    assert not rig.disk.state.locked_mhz


def test_a_reloaded_driver_has_no_locks_and_gets_them_again() -> None:
    rig = lockable()
    rig.run(ref(), 0, clock_permille=700)
    rig.reload_driver()
    assert ceilings(rig) == [1400, 0]


def test_a_refused_lock_is_a_problem_that_is_tried_again() -> None:
    rig = lockable()
    rig.run(ref(), 0, clock_permille=700)
    rig.gpus[0].error = "no permission"
    rig.end(ref())
    (beat,) = messages_of(rig.pass_s(3), Beat)[-1:]
    assert any("clocks cannot be locked: no permission" in text for text in beat.problems)
    assert ceilings(rig) == [1400, 0]
    rig.gpus[0].error = ""
    (beat,) = messages_of(rig.pass_s(8), Beat)[-1:]
    assert ceilings(rig) == [0, 0]
    assert not any("clocks" in text for text in beat.problems)


def test_a_gpu_that_no_cap_holds_runs_slower_when_the_lease_is_not_kept() -> None:
    rig = lockable(can_cap=False)
    rig.run(ref(), 0)
    done = rig.lease(wall(MAX // 2 + MIN))
    assert messages_of(done, LeaseRefused), "it counts in full, whatever its clocks"
    assert 0 < rig.gpus[0].locked_mhz < 2000
    rig.lease(wall(2 * MAX))
    assert messages_of(rig.effects, LeaseAck)
    assert ceilings(rig) == [0, 0]


def test_gpus_that_caps_hold_are_never_slowed_by_a_lease() -> None:
    rig = lockable()
    rig.run(ref(), 0)
    rig.lease(wall(100 * W))
    assert ceilings(rig) == [0, 0]


def test_a_hello_says_whose_clocks_can_be_locked() -> None:
    rig = Rig(gpus=2)
    rig.gpus[1].can_lock = True
    (hello, *_) = messages_of(rig.join(), Hello)
    assert [gpu.can_lock_clocks for gpu in hello.gpus] == [False, True]


def test_an_observer_locks_nothing() -> None:
    rig = Rig(gpus=2, is_observe=True)
    for gpu in rig.gpus:
        gpu.can_lock, gpu.locked_mhz = True, 900
    rig.join()
    rig.pass_s(5)
    assert ceilings(rig) == [900, 900]


def test_the_clock_for_a_draw_falls_with_the_draw() -> None:
    shares = [clock_for_draw(mw, 70 * W, 700 * W) for mw in range(700 * W, 60 * W, -20 * W)]
    assert shares[0] == 1000
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] == 300


def test_infos_of_drivers_without_clocks_need_not_mention_them() -> None:
    info = DeviceInfo(0, "GPU-0", "x", 1, MIN, MAX, MAX, can_cap=True)  # type: ignore[arg-type]  # an index
    assert not info.can_lock_clocks
