"""The agent as a process: CURVE, the simulated driver below pynvml, a keeper, real tasks."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from support.node.agent_process import AgentProcess, agent_on, is_alive
from support.node.simnode import wait_until
from support.programs.fake_scheduler import FakeScheduler, wall
from wattline_protocol.ids import AttemptNo, GpuIndex, JobId, TaskNo, TaskRef
from wattline_protocol.text.checklist import Check
from wattline_protocol.wire.agent_messages import (
    Adopted,
    Beat,
    CommandDone,
    Farewell,
    ForgetTask,
    Hello,
    LeaseAck,
    LogChunk,
    ReadLog,
    Rollups,
    StartTask,
    StopTask,
    TaskReport,
    TaskUpdate,
)
from wattline_protocol.wire.task_order import TaskOrder
from wattline_sim import control, truth
from wattline_sim.node import NodeDir

GPUS = 4
W = 1000
REF = TaskRef(JobId(1), TaskNo(0), AttemptNo(1))
BUSY = (
    "import time\nprint('begun', flush=True)\nwhile True:\n sum(range(300000)); time.sleep(0.02)\n"
)


def started(site: FakeScheduler, *gpus: int, code: str = BUSY) -> TaskReport:
    """Start an attempt and wait until it runs."""
    site.leased(wall(GPUS * 700 * W), (700 * W,) * GPUS)
    order = TaskOrder(
        ref=REF,
        job_name="heat",
        owner="ada",
        kind="batch",
        command=(sys.executable, "-c", code),
        env={"WATTLINE_SIM_PROFILE": "training-hot"},
        gpus=tuple(GpuIndex(index) for index in gpus),
        launcher="process",
    )
    site.send(StartTask(*site.names(), order))
    return site.until(lambda: reported(site, "running"), "running task")


def reported(site: FakeScheduler, phase: str) -> TaskReport | None:
    """The newest report of the attempt, from beats and updates, if it is in this phase."""
    for message in reversed(site.heard):
        if isinstance(message, TaskUpdate):
            return message.report if message.report.phase == phase else None
        if isinstance(message, Beat) and message.tasks:
            return message.tasks[0] if message.tasks[0].phase == phase else None
    return None


def true_caps(node: NodeDir) -> tuple[int, ...]:
    """Limits that the simulated GPUs enforced in the last second."""
    wait_until(lambda: any(True for _ in truth.read(node.path)), "the first second on record")
    return list(truth.read(node.path))[-1].cap_mw


def beat_with(site: FakeScheduler, what: str, gpu: int = 0, above_w: int = 0) -> Beat:
    """Wait for a beat in which a GPU draws more than so many watts."""

    def found() -> Beat | None:
        beat = site.last(Beat)
        drawn = beat.gpus[gpu].power_mw if beat is not None else None
        return beat if drawn is not None and drawn > above_w * W else None

    return site.until(found, what)


def test_a_node_joins_works_within_its_lease_and_leaves(
    agent: AgentProcess, site: FakeScheduler, node: NodeDir
) -> None:
    assert site.adopted().holding_mw == wall(GPUS * 200 * W)
    hello = site.last(Hello)
    assert hello is not None
    assert hello.simulated
    assert all(gpu.can_cap for gpu in hello.gpus)
    started(site, 0, 1)
    beat_with(site, "heat", above_w=500)
    ack = site.leased(wall(2 * 300 * W + 2 * 200 * W), (300 * W,) * GPUS)
    assert sum(ack.caps_mw[:2]) <= 2 * 300 * W
    before = len(site.all(Beat))
    site.until(lambda: len(site.all(Beat)) > before + 8, "beats under the new lease")
    beat = site.last(Beat)
    assert beat is not None
    assert beat.simulated
    assert beat.node_source == "hwmon"
    assert all((gpu.power_mw or 0) <= 300 * W for gpu in beat.gpus[:2])
    assert beat.gpus[0].reasons & 0x4
    usage = beat.tasks[0].usage
    assert usage.gpu_energy_mj > 0
    assert usage.cap_bound_gpu_s > 0

    site.send(ReadLog(5, REF, 0))
    chunk = site.until(lambda: site.last(LogChunk), "log")
    assert chunk.data == b"begun\n"
    site.send(StopTask(*site.names(), REF, 5.0, "enough"))
    report = site.until(lambda: reported(site, "ended"), "end")
    assert report.exit is not None
    assert report.exit.signal == 15
    site.send(ForgetTask(*site.names(), REF))
    site.until(lambda: (b := site.last(Beat)) is not None and not b.tasks, "forgotten")

    keeper = int((agent.state_dir / "keeper.pid").read_text())
    assert agent.stop() == 0
    site.until(lambda: site.last(Farewell), "farewell")
    wait_until(lambda: not is_alive(keeper), "end of the keeper that had nothing to keep")
    wait_until(lambda: true_caps(node) == (700 * W,) * GPUS, "default limits")


def test_a_killed_agent_takes_its_task_over_again(
    agent: AgentProcess, site: FakeScheduler, node: NodeDir
) -> None:
    running = started(site, 0)
    ack = site.leased(wall(400 * W + 3 * 200 * W), (400 * W,) * GPUS)
    agent.kill()
    assert is_alive(running.pid or 0)
    seen = len(site.all(Adopted))
    agent.start()
    adopted = site.until(lambda: site.all(Adopted)[seen:], "Adopted after the restart")[0]
    (report,) = adopted.tasks
    assert (report.ref, report.pid, report.readopted) == (REF, running.pid, 1)
    assert adopted.caps_mw[0] == ack.caps_mw[0] == 400 * W
    assert adopted.holding_mw <= ack.lease_mw
    assert "floors_first" not in agent.logged().split("caps_adopted")[1]
    wait_until(lambda: true_caps(node)[0] == 400 * W, "the cap as it was")
    site.until(
        lambda: (
            (again := reported(site, "running")) is not None
            and again.usage.run_s > running.usage.run_s
            and again.readopted == 1
        ),
        "the task in a beat of the new agent",
    )


def test_a_restarted_scheduler_is_joined_again_and_the_outage_replayed(
    agent: AgentProcess, site: FakeScheduler
) -> None:
    running = started(site, 0)
    site.close()
    wait_until(lambda: "connection_lost" in agent.logged(), "loss of the connection")
    site.epoch = 2
    seen = len(site.all(Adopted))
    site.open()
    adopted = site.until(lambda: site.all(Adopted)[seen:], "Adopted of the new epoch")[0]
    assert adopted.epoch == 2
    assert adopted.tasks[0].pid == running.pid
    assert adopted.tasks[0].readopted == 0


def test_an_outage_of_seconds_is_replayed(agent: AgentProcess, site: FakeScheduler) -> None:
    site.until(lambda: site.last(Beat), "a beat")
    site.answers_beats = False
    before = len(site.all(Beat))
    site.until(lambda: len(site.all(Beat)) > before + 28, "unanswered beats")
    site.answers_beats = True
    rollups = site.until(lambda: site.last(Rollups), "roll-ups")
    assert sum(item.seconds for item in rollups.items) > 4.0
    assert rollups.items[0].node_energy_mj > 0


def test_a_hung_and_a_lost_gpu_cost_only_themselves(
    agent: AgentProcess, site: FakeScheduler, node: NodeDir
) -> None:
    control.hang(node.path, 1)
    control.lose_gpu(node.path, 2)

    def found() -> Beat | None:
        beat = site.last(Beat)
        if beat is None or beat.gpus[1].power_mw is not None or not beat.gpus[2].lost:
            return None
        return beat

    beat = site.until(found, "sick GPUs in a beat")
    assert beat.gpus[0].power_mw is not None
    assert beat.gpus[3].power_mw is not None
    site.leased(wall(4 * 700 * W), (300 * W,) * GPUS)
    site.send(
        StartTask(
            *site.names(),
            TaskOrder(REF, "x", "ada", "batch", ("true",), {}, (GpuIndex(2),), "process"),
        )
    )
    done = site.until(lambda: site.last(CommandDone), "answer")
    assert done.outcome == "refused"


def test_a_reloaded_driver_gets_its_caps_again(
    agent: AgentProcess, site: FakeScheduler, node: NodeDir
) -> None:
    started(site, 0)
    site.leased(wall(400 * W + 3 * 200 * W), (400 * W,) * GPUS)
    control.reload_driver(node.path)
    site.until(
        lambda: (b := site.last(Beat)) is not None and any("reloaded" in p for p in b.problems),
        "the reload in a beat",
    )
    site.until(
        lambda: (
            (b := site.last(Beat)) is not None
            and b.gpus[0].cap_mw == 400 * W
            and b.gpus[1].cap_mw == 200 * W
        ),
        "caps in force again",
    )


def test_a_state_directory_that_fails_stops_the_agent_at_its_floors(
    agent: AgentProcess, site: FakeScheduler, node: NodeDir
) -> None:
    started(site, 0)
    beat_with(site, "heat", above_w=300)
    (agent.state_dir / "agent.state.new").mkdir()
    acks = len(site.all(LeaseAck))
    site.lease(wall(GPUS * 600 * W), (600 * W,) * GPUS)
    assert agent.ended() == 74
    assert "cannot write" in agent.logged()
    site.pump()
    assert len(site.all(LeaseAck)) == acks
    wait_until(lambda: true_caps(node) == (200 * W,) * GPUS, "floors in force")


def test_an_agent_whose_state_directory_is_deleted_ends_and_its_tasks_run_no_second_time(
    agent: AgentProcess, site: FakeScheduler, node: NodeDir
) -> None:
    running = started(site, 0)
    shutil.rmtree(agent.state_dir)
    assert agent.ended() == 74
    assert "state_unusable" in agent.logged()
    wait_until(lambda: not is_alive(running.pid or 0), "the task ends with its keeper")
    wait_until(lambda: true_caps(node) == (200 * W,) * GPUS, "floors in force")


def test_a_killed_keeper_is_replaced_and_its_task_reported(
    agent: AgentProcess, site: FakeScheduler
) -> None:
    running = started(site, 0)
    keeper = int((agent.state_dir / "keeper.pid").read_text())
    os.kill(keeper, signal.SIGKILL)
    report = site.until(lambda: reported(site, "ended"), "the lost task", 60.0)
    assert report.exit is not None
    assert report.exit.kind == "keeper_lost"
    assert not is_alive(running.pid or 0)


def test_a_keeper_that_hangs_is_a_problem_until_it_answers(
    agent: AgentProcess, site: FakeScheduler
) -> None:
    running = started(site, 0)
    keeper = int((agent.state_dir / "keeper.pid").read_text())
    os.kill(keeper, signal.SIGSTOP)
    try:
        site.until(lambda: has_problem(site, "keeper_silent"), "the silence", 60.0)
    finally:
        os.kill(keeper, signal.SIGCONT)
    site.until(lambda: not has_problem(site, "keeper_silent"), "its answer", 60.0)
    assert is_alive(running.pid or 0)


def has_problem(site: FakeScheduler, kind: str) -> bool:
    """Whether the newest beat reports it."""
    beat = site.last(Beat)
    return beat is not None and kind in {one.kind for one in beat.conditions}


def test_an_observer_watches_and_caps_nothing(
    node: NodeDir, site: FakeScheduler, tmp_path: Path
) -> None:
    control.reload_driver(node.path)
    with agent_on(node, tmp_path / "n1.toml", tmp_path / "state", "--observe") as running:
        adopted = site.adopted()
        site.until(lambda: len(site.all(Beat)) > 3, "beats")
        assert adopted.holding_mw == wall(GPUS * 700 * W)
        assert adopted.caps_mw == (700 * W,) * GPUS
        assert "would_cap" in running.logged()
        assert running.stop() == 0


def test_the_check_on_a_node_where_everything_works(
    node: NodeDir, site: FakeScheduler, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "wattline_agent", "--check", "--json"]
    command += ["--bundle", str(tmp_path / "n1.toml"), "--state-dir", str(tmp_path / "state")]
    command += ["--sysfs-root", str(node.sysfs), "--nvml-lib", str(node.library)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        site.until(lambda: process.poll() is not None or None, "end of the check")
        assert process.stdout is not None
        rows = json.loads(process.stdout.read())
    checks = {row["name"]: Check(**row) for row in rows}
    assert process.returncode == 0, checks
    for name in ("NVML", "power caps", "persistence", "node power", "inlet", "state", "keys"):
        assert checks[name].verdict == "ok", checks[name]
    assert checks["scheduler"].verdict == "ok", checks["scheduler"]
    assert "simulated" in checks["NVML"].found
    assert "podman" in checks["containers"].found  # with its path, or that there is none
    closed = [folder for folder in tmp_path.parents if not folder.stat().st_mode & 0o001]
    if os.geteuid() == 0:
        assert all(str(folder) in checks["accounts"].remedy for folder in closed), checks
        assert checks["accounts"].verdict == ("warning" if closed else "ok")
