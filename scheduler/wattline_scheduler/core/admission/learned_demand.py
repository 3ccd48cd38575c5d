"""What is learned of each kind of job while it runs: begun, ended, and put on record."""

from dataclasses import replace

from wattline_protocol.ids import Now, UserName
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.wire.agent_messages import GpuInfo
from wattline_scheduler.core.model.jobs.job import Attempt, Job
from wattline_scheduler.core.model.jobs.job_kind import kind_of
from wattline_scheduler.core.model.state import State
from wattline_scheduler.plan.model.shape import Shape, shape_of
from wattline_scheduler.power.demand.demand_store import SEPARATOR
from wattline_scheduler.power.demand.useful_cap import with_known

MAX_LABEL_CHARS = 120


def fingerprint(job: Job, gpu: GpuInfo) -> str:
    """The kind of a job, and the GPU model it runs on."""
    return f"{job.kind}{SEPARATOR}{gpu.name}"


def shape_for(state: State, owner: UserName, spec: JobSpec) -> Shape:
    """What the planner looks for: the watts that such a job was seen to need, if there was one."""
    shape = shape_of(spec)
    known_mw = state.demand.memory.known_mw(kind_of(owner, spec)) if shape.gpus else 0
    return state.work.shared(replace(shape, need=with_known(shape.need, known_mw)))


def follow_holders(state: State, attempt: Attempt, now: Now) -> None:
    """The attempt got its GPUs, or gave them back: what they draw is that of others from now on.

    Only where one job holds a GPU alone does its draw teach anything of that kind of job; what was
    learned until now goes on record.
    """
    node = state.nodes[attempt.node]
    for index in attempt.record.gpus:
        record = state.demand.forget(node.id, index, now.unix_s)
        if record is not None:
            state.journal.save(record)
        gpu, holders = node.gpus.get(index), node.holders.get(index)
        if gpu is None or not holders:
            continue
        if len(holders) > 1:
            state.demand.begin_shared(node.id, gpu, now.mono_s)
            continue
        job = holders[0].gang.job
        label = f"{job.record.owner} {job.spec.name} {gpu.name}"[:MAX_LABEL_CHARS]
        state.demand.begin(node.id, gpu, fingerprint(job, gpu), label, now.mono_s)


def rest(state: State, attempt: Attempt, now: Now) -> None:
    """The attempt is paused: its last seconds say nothing about how it goes on."""
    for index in attempt.record.gpus:
        state.demand.rest(attempt.node, index, now.mono_s)


def save_learned(state: State, now: Now) -> None:
    """Kinds of jobs that run for long go on record from time to time."""
    for record in state.demand.memory.due(now.mono_s, now.unix_s):
        state.journal.save(record)
