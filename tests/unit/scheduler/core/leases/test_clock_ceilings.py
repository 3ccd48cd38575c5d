"""The second actuator in orders: tasks get their clock, and the books never hear of it."""

from support.core.harness import Harness
from support.core.sites import JobBuilder, gpu, job, site
from wattline_protocol.ids import JobId
from wattline_protocol.wire.agent_messages import GpuInfo, StartTask
from wattline_scheduler.power.demand.clocks import EFFICIENT_PERMILLE


def weak(index: int) -> GpuInfo:
    """A card whose least cap is 86 % of its highest."""
    return gpu(
        index,
        can_lock_clocks=True,
        idle_mw=10_000,
        cap_min_mw=60_000,
        cap_default_mw=70_000,
        cap_max_mw=70_000,
    )


def node_of(*gpus: GpuInfo) -> Harness:
    h = Harness(site().rack("a", 1).build())
    h.agent("a1").gpus = list(gpus)
    h.agent("a1").caps_mw = {g.index: g.cap_min_mw for g in gpus}
    h.join()
    h.run(2)
    return h


def eight(*, can_lock: bool) -> list[GpuInfo]:
    return [gpu(index, can_lock_clocks=can_lock) for index in range(8)]


def started(h: Harness, wanted: JobBuilder) -> JobId:
    number = h.submit(wanted)
    h.run(3)
    assert h.state_of(number) == "RUNNING"
    return number


def told_clock(h: Harness) -> int:
    (start,) = h.sent_to("a1", StartTask)
    assert isinstance(start, StartTask)
    return start.order.clock_permille


def test_a_service_that_tolerates_a_little_is_told_to_run_at_efficient_clocks() -> None:
    h = node_of(*eight(can_lock=True))
    started(h, job("chat").service(1).gpus(2).min_performance(0.85))
    assert told_clock(h) == EFFICIENT_PERMILLE


def test_training_that_caps_reach_is_told_nothing() -> None:
    h = node_of(*eight(can_lock=True))
    started(h, job("train").gpus(2).min_performance(0.85))
    assert told_clock(h) == 1000


def test_a_task_runs_at_the_clock_of_the_gpu_that_may_be_slowed_least() -> None:
    """Its GPUs wait for each other: slowing one more than the rest saves nothing."""
    h = node_of(gpu(0, can_lock_clocks=True), weak(1))
    started(h, job().gpus(2).min_performance(0.85))
    assert told_clock(h) == 1000
    h = node_of(weak(0), weak(1))
    started(h, job().gpus(2).min_performance(0.85))
    assert told_clock(h) == 850


def test_a_lock_lowers_nothing_that_is_booked_leased_or_kept() -> None:
    """I2: a lock is not a bound that a driver enforces."""
    service = job("chat").service(1).gpus(4).min_performance(0.85)
    locked, free = (node_of(*eight(can_lock=can)) for can in (True, False))
    for h in (locked, free):
        started(h, service)
        h.run(10)
    assert (told_clock(locked), told_clock(free)) == (EFFICIENT_PERMILLE, 1000)
    assert locked.committed_kw("a1") == free.committed_kw("a1")
    assert locked.node("a1").load == free.node("a1").load
