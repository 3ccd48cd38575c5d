"""What an agent touches: only its GPUs, and what a dead one left on them; clocks as well as caps.
Real agent process, simulated driver below pynvml."""

import sys
from pathlib import Path

import pytest

from support.node.agent_process import AgentProcess, agent_on, end
from support.node.drivers import agent_process
from support.node.simnode import client, wait_until
from support.programs.fake_scheduler import FakeScheduler, wall
from wattline_protocol.ids import AttemptNo, GpuIndex, JobId, TaskNo, TaskRef
from wattline_protocol.wire.agent_messages import Beat, Hello, StartTask, StopTask
from wattline_protocol.wire.task_order import TaskOrder
from wattline_sim import control
from wattline_sim.node import NodeDir
from wattline_sim.statefile import open_state

GPUS = 4
W = 1000
REF = TaskRef(JobId(1), TaskNo(0), AttemptNo(1))
FOREIGN_LIMIT_W, FOREIGN_LOCK_MHZ = 450, 1200


@pytest.fixture
def node(fresh_node: NodeDir) -> NodeDir:
    return fresh_node


def locks(node: NodeDir) -> list[int]:
    """Ceilings of SM clocks as the driver has them; 0 = none."""
    return [int(gpu.setpoints.locked_max_mhz) for gpu in open_state(node.state_file).gpus[:GPUS]]


def limits_w(node: NodeDir) -> list[int]:
    """Limits the host asked for."""
    return [int(gpu.setpoints.limit_mw) // W for gpu in open_state(node.state_file).gpus[:GPUS]]


def start(site: FakeScheduler, *gpus: int, clock_permille: int = 1000) -> None:
    """Lease enough for all, and start a task that is ordered to run at a clock."""
    site.leased(wall(GPUS * 700 * W), (700 * W,) * GPUS)
    order = TaskOrder(
        ref=REF,
        job_name="decode",
        owner="ada",
        kind="batch",
        command=(sys.executable, "-c", "while True: sum(range(300000))"),
        env={"WATTLINE_SIM_PROFILE": "training-hot"},
        gpus=tuple(GpuIndex(index) for index in gpus),
        launcher="process",
        clock_permille=clock_permille,
    )
    site.send(StartTask(*site.names(), order))


def newest(site: FakeScheduler) -> Beat:
    beat = site.last(Beat)
    assert beat is not None
    return beat


def joined(site: FakeScheduler) -> None:
    site.adopted()
    site.until(lambda: site.last(Beat), "a beat")


def test_a_locked_task_runs_slower_is_shown_and_its_lock_outlives_a_killed_agent(
    node: NodeDir, site: FakeScheduler, tmp_path: Path
) -> None:
    with agent_on(node, tmp_path / "n1.toml", tmp_path / "state") as agent:
        joined(site)
        hello = site.last(Hello)
        assert hello is not None
        assert all(gpu.can_lock_clocks for gpu in hello.gpus)
        start(site, 0, clock_permille=700)
        site.until(lambda: newest(site).gpus[0].locked_mhz, "the lock in a beat")
        ceiling = newest(site).gpus[0].locked_mhz
        assert ceiling == 1980 * 700 // 1000
        assert locks(node) == [ceiling, 0, 0, 0]
        site.until(lambda: (newest(site).gpus[0].power_mw or 0) > 250 * W, "load")
        site.until(lambda: (newest(site).gpus[0].sm_clock_mhz or 9999) <= ceiling, "slower")
        assert newest(site).holding_mw >= wall(700 * W), "it counts as if it were not locked"
        agent.kill()
        assert locks(node)[0] == ceiling
        agent.start()
        site.beat_after(site.incarnation)
        assert newest(site).gpus[0].locked_mhz == ceiling
        site.send(StopTask(*site.names(), REF, 1.0, "enough"))
        site.until(lambda: not newest(site).gpus[0].locked_mhz, "no lock in a beat")
        assert locks(node) == [0] * GPUS


def test_a_lock_whose_task_ended_while_the_agent_was_dead_is_undone(
    node: NodeDir, site: FakeScheduler, tmp_path: Path
) -> None:
    with agent_on(node, tmp_path / "n1.toml", tmp_path / "state") as agent:
        joined(site)
        start(site, 0, clock_permille=700)
        site.until(lambda: newest(site).gpus[0].locked_mhz, "the lock in a beat")
        keeper = int((agent.state_dir / "keeper.pid").read_text())
        agent.kill()
        end(keeper)
        agent.start()
        wait_until(lambda: locks(node) == [0] * GPUS, "the orphaned lock is undone")


def test_gpus_of_others_keep_their_limits_and_locks(
    node: NodeDir, site: FakeScheduler, tmp_path: Path
) -> None:
    client(
        node,
        f"""
for index in (2, 3):
    N.nvmlDeviceSetPowerManagementLimit(gpu(index), {FOREIGN_LIMIT_W * W})
    N.nvmlDeviceSetGpuLockedClocks(gpu(index), 0, {FOREIGN_LOCK_MHZ})
""",
    )
    with agent_on(node, tmp_path / "n1.toml", tmp_path / "state", "--gpus", "0-1") as agent:
        joined(site)
        hello = site.last(Hello)
        assert hello is not None
        assert [gpu.managed for gpu in hello.gpus] == [True, True, False, False]
        start(site, 0, 1, clock_permille=800)
        site.until(lambda: newest(site).gpus[1].locked_mhz, "locks")
        assert limits_w(node)[2:] == [FOREIGN_LIMIT_W] * 2
        agent.kill()
        agent.start()
        site.beat_after(site.incarnation)
        site.send(StopTask(*site.names(), REF, 1.0, "enough"))
        site.until(lambda: not newest(site).gpus[0].locked_mhz, "no locks")
        assert agent.stop() == 0
    assert limits_w(node)[2:] == [FOREIGN_LIMIT_W] * 2
    assert locks(node) == [0, 0, FOREIGN_LOCK_MHZ, FOREIGN_LOCK_MHZ]


def test_lowest_caps_left_by_an_agent_whose_disk_is_gone_are_reclaimed(
    node: NodeDir, site: FakeScheduler, tmp_path: Path
) -> None:
    first = AgentProcess(node, tmp_path / "n1.toml", tmp_path / "first")
    first.start()
    joined(site)
    first.kill()
    first.clean_up()
    assert limits_w(node) == [200] * GPUS, "orphans of a dead agent"
    with agent_on(node, tmp_path / "n1.toml", tmp_path / "second") as agent:
        site.beat_after(site.incarnation)
        assert agent.stop() == 0
    assert limits_w(node) == [700] * GPUS


def test_without_permission_clocks_are_not_offered(node: NodeDir) -> None:
    code = """
collector = open_collector(LIBRARY, SYSFS)
answer([[i.can_lock_clocks, i.clock_max_mhz] for i in collector.gpus()])
answer([[r.ceiling_mhz, r.error] for r in collector.lock_clocks({1: 1005}, 1.0)])
control.no_permission(node)
answer([r.error for r in collector.lock_clocks({1: 0}, 1.0)])
collector.close()
collector = open_collector(LIBRARY, SYSFS)
answer([i.can_lock_clocks for i in collector.gpus()])
collector.close()
"""
    offered, done, refused, then = agent_process(code, node)
    assert offered == [[True, 1980]] * GPUS
    assert done == [[1005, ""]]
    assert refused == ["insufficient permissions"]
    assert then == [False] * GPUS
    assert locks(node) == [0, 1005, 0, 0]
    control.no_permission(node.path, denied=False)
