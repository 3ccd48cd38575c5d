"""Checks whether an order can be accepted, and prepares its launch."""

from collections.abc import Iterable

from wattline_agent.core import held_data
from wattline_agent.core.model import NodeState
from wattline_agent.core.ports import LaunchContext
from wattline_agent.core.power import foreign_processes, held_watts, raised_caps
from wattline_agent.core.power.gpus import Gpu
from wattline_protocol.ids import GpuIndex, Now
from wattline_protocol.job.spec import WHOLE_GPU
from wattline_protocol.text.wording import counted, power_text
from wattline_protocol.wire.agent_messages import StartTask
from wattline_protocol.wire.agents.data_messages import MAX_KEPT_OUTPUTS, MAX_KEPT_OUTPUTS_OF_USER
from wattline_protocol.wire.task_order import TaskOrder

MAX_ATTEMPTS = 256
"""Per node at a time, including ended ones that the scheduler has not forgotten."""


def refusal(state: NodeState, command: StartTask, now: Now) -> str:
    """Why the attempt is refused; empty = it is accepted."""
    order = command.order
    if state.facts.is_observe:
        return "observe mode: this agent starts no tasks"
    if state.closed.forbids(order.ref, command.seq):
        return "stopped or forgotten before this command arrived"
    if len(state.attempts) >= MAX_ATTEMPTS:
        return f"{MAX_ATTEMPTS} attempts are on record here, the maximum"
    if full := _outputs_full(state, order):
        return full
    for other in state.attempts.values():
        if (other.ref.job, other.ref.task) == (order.ref.job, order.ref.task) and other.holds_gpus:
            return f"attempt {other.ref} of the same task has not ended"
    if len(set(order.gpus)) != len(order.gpus):
        return "a GPU is listed twice"
    if order.mig and len(order.gpus) != 1:
        return f"a MIG device belongs to one GPU, {len(order.gpus)} are listed"
    unfit = next((why for index in order.gpus if (why := _unfit(state, index, order, now))), "")
    return unfit or held_data.lacks(state, order)


def _outputs_full(state: NodeState, order: TaskOrder) -> str:
    """Why no more outputs are kept here, of which the scheduler may know fewer. Empty = this one is
    kept, or has none."""
    if not order.has_output:
        return ""
    kept = [a.order.owner for a in state.attempts.values() if a.order.has_output]
    own = kept.count(order.owner)
    if own >= MAX_KEPT_OUTPUTS_OF_USER:
        return f"unpublished here: {counted(own, 'output')} of {order.owner}, a user's maximum"
    if len(kept) >= MAX_KEPT_OUTPUTS:
        return f"unpublished here: {counted(len(kept), 'output')}, the maximum"
    return ""


def _unfit(state: NodeState, index: GpuIndex, order: TaskOrder, now: Now) -> str:
    """Why this GPU cannot take the task, or the requested share."""
    share_permille = order.gpu_share_permille
    if not 0 <= index < len(state.gpus):
        return f"there is no GPU {index}; this node has {len(state.gpus)}"
    gpu = state.gpus[index]
    if not gpu.is_managed:
        return f"GPU {index} is not managed by this agent"
    if gpu.raised is not None:
        return f"GPU {index} is not allocated: {raised_caps.describe(gpu.raised)}"
    if not gpu.is_healthy(now.mono_s):
        reason = gpu.stale.reason if gpu.stale is not None else "its UUID was not read"
        return f"GPU {index} is not healthy: {reason}"
    if gpu.foreign:
        return foreign_processes.why_not_given(gpu)
    if order.mig or gpu.info.mig is not None:
        return _unfit_mig(state, gpu, order.mig)
    if share_permille < WHOLE_GPU and not gpu.info.can_share:
        return f"GPU {index} cannot be shared: its compute mode admits one process only"
    free_permille = held_watts.free_permille(state, index)
    if share_permille <= free_permille:
        return ""
    held = ", ".join(str(attempt.ref) for attempt in held_watts.users(state, index))
    left = f": {free_permille / WHOLE_GPU:g} of it is left" if free_permille else ""
    return f"GPU {index} is held by {held}{left}"


def _unfit_mig(state: NodeState, gpu: Gpu, uuid: str) -> str:
    """Why this MIG device is unavailable; without one, why the GPU is."""
    if not uuid:
        return f"GPU {gpu.index} is in MIG mode: only its MIG devices are allocated"
    if uuid not in (one.uuid for one in gpu.info.mig or ()):
        return f"GPU {gpu.index} has no MIG device {uuid}"
    held = [str(a.ref) for a in held_watts.users(state, gpu.index) if a.mig in (uuid, "")]
    return f"MIG device {uuid} is held by {', '.join(held)}" if held else ""


def shortage(state: NodeState, gpus: Iterable[GpuIndex]) -> str:
    """Why the newest lease does not cover these GPUs at their floor; empty = it does."""
    needed_mw, covered_mw = held_watts.floor_with_mw(state, set(gpus)), held_watts.covered_mw(state)
    if needed_mw <= covered_mw:
        return ""
    lacks = power_text(needed_mw - covered_mw, is_wanted=True)
    return f"its lease of {power_text(covered_mw)} lacks {lacks} for this task"


def context(state: NodeState, order: TaskOrder) -> LaunchContext:
    """Parameters of its launch."""
    terms = state.file.terms
    assert terms is not None, "nothing starts before a Welcome"  # noqa: S101 - I2
    uuids, memory_bytes = _given(state, order)
    return LaunchContext(
        gpu_uuids=uuids,
        gpu_memory_bytes=memory_bytes,
        checkpoint_root=terms.checkpoint_root,
        lease_until_mono_s=leased_until_s(state) if order.on_isolation == "stop" else None,
        node=state.facts.node,
        pass_env=terms.pass_env,
        gpu_models=tuple(state.gpus[index].info.name for index in order.gpus),
        containers=terms.containers,
        is_simulated=state.facts.is_simulated,
        data_root=state.facts.data_root,
    )


def leased_until_s(state: NodeState) -> float:
    """When a task lease runs out that nothing renews: it counts from the last contact."""
    terms = state.file.terms
    assert terms is not None, "commands come after a Welcome"  # noqa: S101 - I7
    return state.session.heard_s + terms.task_lease_s


def _given(state: NodeState, order: TaskOrder) -> tuple[tuple[str, ...], int]:
    """The devices the task sees, and how much memory of each it may use."""
    infos = [state.gpus[index].info for index in order.gpus]
    if order.mig:
        sizes = [one.memory_bytes for one in infos[0].mig or () if one.uuid == order.mig]
        return (order.mig,), min(sizes, default=0)
    memory_bytes = min((info.memory_bytes for info in infos), default=0)
    return tuple(info.uuid for info in infos), memory_bytes * order.gpu_share_permille // WHOLE_GPU
