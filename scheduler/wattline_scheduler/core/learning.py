"""What is learned of each kind of job while it runs: begun, ended, and put on record."""

from dataclasses import replace
from hashlib import blake2b

import msgspec

from wattline_protocol.ids import Now, UserName
from wattline_protocol.job import JobSpec
from wattline_protocol.messages import GpuInfo
from wattline_scheduler.core.jobs import Attempt, Job
from wattline_scheduler.core.state import State
from wattline_scheduler.plan.snapshot import Shape, shape_of
from wattline_scheduler.power.demand_memory import SEPARATOR
from wattline_scheduler.power.keeps import with_known

DIGEST_BYTES = 16

MAX_LABEL_CHARS = 120


def kind_of(owner: UserName, spec: JobSpec) -> str:
    """Jobs with the same one are taken to draw alike: user, command, launcher and shape."""
    shape = (spec.resources.nodes, spec.resources.gpus_per_node, spec.launch.procs_per_node)
    what = (owner, spec.kind, spec.command, spec.launch.how, *shape)
    return blake2b(msgspec.msgpack.encode(what), digest_size=DIGEST_BYTES).hexdigest()


def fingerprint(job: Job, gpu: GpuInfo) -> str:
    """The kind of a job, and the GPU model it runs on."""
    return f"{kind_of(job.record.owner, job.spec)}{SEPARATOR}{gpu.name}"


def shape_for(state: State, owner: UserName, spec: JobSpec) -> Shape:
    """What the planner looks for: the watts that such a job was seen to need, if there was one."""
    shape = shape_of(spec)
    known_mw = state.demand.memory.known_mw(kind_of(owner, spec)) if shape.gpus else 0
    return replace(shape, need=with_known(shape.need, known_mw))


def start_learning(state: State, attempt: Attempt, now: Now) -> None:
    """The attempt holds its GPUs from now on."""
    node, job = state.nodes[attempt.node], attempt.gang.job
    for index in attempt.record.gpus:
        gpu = node.gpus.get(index)
        if gpu is not None:
            label = f"{job.record.owner} {job.spec.name} {gpu.name}"[:MAX_LABEL_CHARS]
            state.demand.begin(node.id, gpu, fingerprint(job, gpu), label, now.mono_s)


def stop_learning(state: State, attempt: Attempt, now: Now) -> None:
    """The attempt is over: what was learned of its kind of job goes on record."""
    for index in attempt.record.gpus:
        record = state.demand.forget(attempt.node, index, now.unix_s)
        if record is not None:
            state.journal.save(record)


def rest(state: State, attempt: Attempt, now: Now) -> None:
    """The attempt is paused: its last seconds say nothing about how it goes on."""
    for index in attempt.record.gpus:
        state.demand.rest(attempt.node, index, now.mono_s)


def save_learned(state: State, now: Now) -> None:
    """Kinds of jobs that run for long go on record from time to time."""
    for record in state.demand.memory.due(now.mono_s, now.unix_s):
        state.journal.save(record)
