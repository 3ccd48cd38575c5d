"""Work that is old enough to be sent away, and is slow to go where a test wants that."""

import pytest

from support.core.harness import Harness
from support.core.sites import JobBuilder
from wattline_protocol.ids import JobId, TaskRef
from wattline_protocol.wire.agent_messages import TaskUsage
from wattline_scheduler.core.model.jobs.job import Running


def work(h: Harness, number: JobId, run_s: float) -> TaskRef:
    """Its task has run for so long, and says so."""
    gang = h.gang(number)
    attempt = gang.live[0]
    h.cluster.state.work.move(gang, Running(h.now.mono_s, run_s), h.now)
    task = h.agent(attempt.node).tasks[attempt.record.ref]
    task.usage = TaskUsage(run_s=run_s, gpu_s=run_s * len(task.order.gpus))
    h.run(1)
    return attempt.record.ref


def fill(h: Harness, wanted: JobBuilder, run_s: float = 100.0) -> JobId:
    number = h.submit(wanted)
    assert h.state_of(number) == "RUNNING"
    work(h, number, run_s)
    return number


def is_slow_to_stop(h: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop notices are taken, and no task ends by itself."""
    for agent in h.agents.values():
        monkeypatch.setattr(agent, "_stop", lambda command, agent=agent: agent._done(command.seq))
