"""Learned power demand per kind of job: observation begins, ends, and is saved."""

from dataclasses import replace

from wattline_protocol.ids import Now, UserName
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.site.labels import secret_label
from wattline_protocol.wire.agent_messages import GpuInfo
from wattline_scheduler.core.model.jobs.job import Attempt, Job
from wattline_scheduler.core.model.jobs.job_kind import kind_of
from wattline_scheduler.core.model.state import State
from wattline_scheduler.plan.model.shape import Shape, shape_of
from wattline_scheduler.power.demand.demand_store import SEPARATOR
from wattline_scheduler.power.demand.useful_cap import with_known

MAX_LABEL_CHARS = 120


def fingerprint(job: Job, gpu: GpuInfo) -> str:
    """Key of the learned demand: kind of job and GPU model."""
    return f"{job.kind}{SEPARATOR}{gpu.name}"


def shape_for(state: State, owner: UserName, spec: JobSpec) -> Shape:
    """Shape of a job for the planner, with the learned watts of its kind if known, and the secrets
    of its owner that each node must have."""
    shape = shape_of(spec)
    entries = [use.entry for use in spec.secrets.values()]
    if spec.data.store_secret:
        entries.append(spec.data.store_secret)
    secrets = frozenset(secret_label(owner, entry) for entry in entries)
    known_mw = state.demand.memory.known_mw(kind_of(owner, spec)) if shape.gpus else 0
    need = with_known(shape.need, known_mw)
    return state.work.shared(replace(shape, need=need, labels=shape.labels | secrets))


def observe_holders(state: State, attempt: Attempt, now: Now) -> None:
    """Begins or ends observation when the GPUs of an attempt are allocated or released.

    Only a GPU allocated to one job alone teaches the demand of its kind; what was learned so far is
    saved.
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


def pause_observation(state: State, attempt: Attempt, now: Now) -> None:
    """Ignores the last seconds of a paused attempt: they do not predict its draw after resume."""
    for index in attempt.record.gpus:
        state.demand.rest(attempt.node, index, now.mono_s)


def save_learned(state: State, now: Now) -> None:
    """Saves, from time to time, what was learned of kinds that run for long."""
    for record in state.demand.memory.due(now.mono_s, now.unix_s):
        state.journal.save(record)
