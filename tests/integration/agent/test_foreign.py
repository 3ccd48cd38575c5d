"""A process that somebody starts on a GPU beside the agent: seen, named, and not started beside.
Real agent process, simulated driver below pynvml, a real process that the driver lists."""

import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from support.node.agent_process import AgentProcess
from support.programs.fake_scheduler import FakeScheduler, wall
from wattline_protocol.ids import AttemptNo, GpuIndex, JobId, TaskNo, TaskRef
from wattline_protocol.wire.agent_messages import Beat, CommandDone, GpuSample, StartTask
from wattline_protocol.wire.task_order import TaskOrder
from wattline_sim.node import NodeDir

GPUS = 2
W = 1000
BUSY = "import time\nwhile True:\n sum(range(300000)); time.sleep(0.02)\n"


@pytest.fixture
def node(fresh_node: NodeDir) -> NodeDir:
    return fresh_node


@pytest.fixture
def agent(agent: AgentProcess, site: FakeScheduler) -> AgentProcess:
    """It may use all its GPUs."""
    site.leased(wall(GPUS * 700 * W), (700 * W,) * GPUS)
    return agent


@contextmanager
def somebody_on(node: NodeDir, gpu: int) -> Iterator[int]:
    """A process of another session that uses the GPU; its number."""
    env = {**os.environ, **node.env(), "CUDA_VISIBLE_DEVICES": str(gpu)}
    with subprocess.Popen([sys.executable, "-c", BUSY], env=env, start_new_session=True) as process:
        yield process.pid
        process.kill()


def sample_where(site: FakeScheduler, gpu: int, *, is_used: bool) -> GpuSample:
    """The newest beat says of this GPU that it is in foreign use, or is not."""

    def found() -> GpuSample | None:
        beat = site.last(Beat)
        sample = beat.gpus[gpu] if beat is not None else None
        return sample if sample is not None and bool(sample.foreign) == is_used else None

    return site.until(found, f"foreign use {is_used} of GPU {gpu}")


def start(site: FakeScheduler, job: int, gpu: int) -> CommandDone:
    order = TaskOrder(
        ref=TaskRef(JobId(job), TaskNo(0), AttemptNo(1)),
        job_name="heat",
        owner="ada",
        kind="batch",
        command=(sys.executable, "-c", BUSY),
        env={},
        gpus=(GpuIndex(gpu),),
        launcher="process",
    )
    command = StartTask(*site.names(), order)
    site.send(command)
    answers = site.all
    return site.until(
        lambda: next((one for one in answers(CommandDone) if one.seq == command.seq), None),
        "the answer",
    )


def test_it_is_named_nothing_starts_there_and_later_it_is_free_again(
    agent: AgentProcess, site: FakeScheduler, node: NodeDir
) -> None:
    del agent
    with somebody_on(node, 1) as pid:
        (process,) = sample_where(site, 1, is_used=True).foreign
        assert process.pid == pid
        assert process.name.startswith("python")
        assert process.user == pwd.getpwuid(os.getuid()).pw_name
        assert process.memory_bytes
        refused = start(site, 1, 1)
        assert refused.outcome == "refused"
        assert f"GPU 1 is in use by process {pid} (python" in refused.detail
        assert start(site, 2, 0).outcome == "done"
    assert not sample_where(site, 1, is_used=False).foreign
    beats = len(site.all(Beat))
    site.until(lambda: len(site.all(Beat)) > beats + 4, "looks at the task's own processes")
    assert not any(beat.gpus[0].foreign for beat in site.all(Beat)), "a task's is not foreign"
    assert start(site, 3, 1).outcome == "done"
