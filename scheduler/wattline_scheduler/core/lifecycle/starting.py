"""Starts placed gangs: records attempts, obtains their watts, then sends StartTask to all."""

from hashlib import sha256
from ipaddress import ip_address

from wattline_protocol.ids import AttemptNo, GpuIndex, Now, TaskRef, UnixTime
from wattline_protocol.job.http_server import bridge_command
from wattline_protocol.job.ranks import interface_on, procs_per_node
from wattline_protocol.job.spec import RENDEZVOUS_LAUNCHERS, JobSpec
from wattline_protocol.site.labels import labels_text
from wattline_protocol.site.run_as import account_of
from wattline_protocol.site.wall_power import PERMILLE
from wattline_protocol.wire.agents.data_messages import TaskData
from wattline_protocol.wire.mig import MigInstance
from wattline_protocol.wire.task_order import Rendezvous, TaskOrder
from wattline_scheduler.core.admission.learned_demand import observe_holders
from wattline_scheduler.core.admission.quota_checks import count
from wattline_scheduler.core.leases.lease_load import is_covered
from wattline_scheduler.core.leases.leases import grow_for, in_order, is_waiting, waiting_gangs
from wattline_scheduler.core.lifecycle.checkpoint_times import checkpoint_every_s, note_failures
from wattline_scheduler.core.lifecycle.ending import end_gang
from wattline_scheduler.core.lifecycle.isolation import ends_isolated
from wattline_scheduler.core.lifecycle.job_state import save_gang
from wattline_scheduler.core.model import command_outbox
from wattline_scheduler.core.model.data.job_data import task_data
from wattline_scheduler.core.model.data.stored_checkpoints import resume_data
from wattline_scheduler.core.model.gpu_holders import allocate
from wattline_scheduler.core.model.jobs.job import (
    Attempt,
    Gang,
    Paused,
    Running,
    Starting,
)
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.queue.remaining_time import START_WAIT_S
from wattline_scheduler.core.model.state import State
from wattline_scheduler.plan.model.device_classes import gpu_of, instance_of
from wattline_scheduler.plan.model.snapshot import Placement
from wattline_scheduler.power.demand.clocks import clock_permille
from wattline_scheduler.records import AttemptRecord

UNABLE = "no longer starts tasks as other accounts ([run_as])"
TOO_OLD = "which does not know recovery.stop_signal and recovery.checkpoints"
LOOPBACK = "127.0.0.1"


def place(state: State, gang: Gang, placement: Placement, now: Now) -> None:
    """Records the attempts and requests their watts, in this order (I9)."""
    gang.resumed_step = -1 if gang.checkpoint is None else gang.checkpoint.step
    gang.attempt = AttemptNo(max(gang.attempt, state.attempt_floor) + 1)
    _note_growth(gang, len(placement.tasks))
    gang.size = len(placement.tasks)
    gang.room_since = None
    gang.reason = gang.warning = ""
    gang.idle = None
    gang.job.wait_reason = ""
    state.work.move(gang, Starting(now.mono_s), now)
    for rank, task in enumerate(placement.tasks):
        gpus, mig = _given(state.nodes[task.node], task.gpus)
        record = AttemptRecord(
            job=gang.job.id,
            task=gang.task_no(rank),
            attempt=gang.attempt,
            node=task.node,
            gpus=gpus,
            state="STARTING",
            placed_unix_s=now.unix_s,
            mig=mig,
            has_task_lease=ends_isolated(state, gang),
        )
        state.journal.save(record)
        take(state, Attempt(gang, record), now)
    save_gang(state, gang, now)
    advance(state, gang, now)


def _note_growth(gang: Gang, size: int) -> None:
    """Counts stops that brought no more tasks: after each the next one waits twice as long."""
    if gang.grows_from:
        gang.vain_growths = gang.vain_growths + 1 if size <= gang.grows_from else 0
        gang.grows_from = 0


def _given(
    node: NodeNow, devices: tuple[GpuIndex, ...]
) -> tuple[tuple[GpuIndex, ...], MigInstance | None]:
    """GPUs of the planner's devices, and the MIG device if there is one."""
    gpus = tuple(map(gpu_of, devices))
    migs = (instance_of(node.gpus[gpu_of(one)], one) for one in devices)
    return gpus, next((mig for mig in migs if mig is not None), None)


def take(state: State, attempt: Attempt, now: Now) -> None:
    """Adds a live attempt to every index; raises if its part of a GPU is not free."""
    node, record, shape = state.nodes[attempt.node], attempt.record, attempt.gang.job.shape
    allocate(node, attempt)
    attempt.gang.live.append(attempt)
    state.work.live[record.ref] = attempt
    node.attempts[record.ref] = attempt
    node.cpus_used += shape.cpus
    node.memory_used_bytes += shape.memory_bytes
    node.outdate()
    count(state, attempt)
    observe_holders(state, attempt, now)


def advance(state: State, gang: Gang, now: Now) -> None:
    """Requests the gang's watts; once every node has acknowledged them, starts or resumes it."""
    if not grow_for(state, gang, now):
        return
    if isinstance(gang.phase, Starting):
        unable = _unable(state, gang)
        if unable:  # an agent without support for it starts the task as root
            end_gang(state, gang, "requeued", unable, now)
            return
        state.work.move(gang, Starting(gang.phase.since, is_ordered=True), now)
        gang.rendezvous_port = draw_port(state, gang) if _has_rendezvous(gang) else 0
        for attempt in gang.live:
            attempt.is_ordered = True
            command_outbox.order_start(
                state, state.nodes[attempt.node], task_order(state, attempt), now
            )
    elif isinstance(gang.phase, Paused):
        shifted_unix_s = UnixTime(now.unix_s - gang.ran_s)
        state.work.move(gang, Running(now.mono_s, gang.ran_s, shifted_unix_s), now)
        for attempt in gang.live:
            command_outbox.order_resume(state, state.nodes[attempt.node], attempt.record.ref, now)
        save_gang(state, gang, now)
        state.journal.note("gang_resumed", f"{gang.name} resumed", now, job=gang.job.id)


def _unable(state: State, gang: Gang) -> str:
    """The first node that cannot start it, with the reason; empty = none."""
    rules, recovery = state.site.run_as, gang.job.spec.recovery
    is_plain = recovery.stop_signal == "TERM" and not recovery.checkpoints
    account = account_of(rules, gang.job.record.owner) or ""
    data = task_data(state.data, gang.job.spec)
    for attempt in gang.live:
        node = state.nodes[attempt.node]
        if not (is_plain or node.takes_recovery):
            return f"{node.id} has an older agent or keeper, {TOO_OLD}"
        if lost := gang.job.shape.labels - node.labels:
            return f"{node.id} no longer has {labels_text(lost)}"
        if lacks := lacking_data(node, data + resume_data(gang, node.id)):
            return f"{node.id} no longer has {lacks}"
        if not node.starts_as(rules, account):
            own = node.keeper_account
            is_bound = account and own and not node.can_run_as
            only = f"starts tasks only as {own}, its keeper's account, not as {account} ([run_as])"
            return f"{node.id} {only if is_bound else UNABLE}"
    return ""


def lacking_data(node: NodeNow, data: tuple[TaskData, ...]) -> str:
    """The first version that tasks could not read there; empty = none."""
    lacking = (one.reference for one in data if not node.data.is_ready(one.manifest_sha256))
    return next(lacking, "")


def advance_all(state: State, now: Now) -> None:
    """Advances every gang that waits for watts, after acknowledgements."""
    state.wants_advance = False
    for gang in waiting_gangs(state):
        advance(state, gang, now)


def start_covered(state: State, node: NodeNow, now: Now) -> None:
    """Advances gangs on this node whose watts are all in force; requests no growth."""
    here = {attempt.gang.key: attempt.gang for attempt in node.attempts.values()}
    for gang in in_order(gang for gang in here.values() if is_waiting(gang)):
        if all(is_covered(state, state.nodes[a.node], gang) for a in gang.live):
            advance(state, gang, now)


def expire_starts(state: State, now: Now) -> None:
    """Requeues gangs whose watts were not granted in time, or whose node is silent or off."""
    for gang in waiting_gangs(state):
        if not isinstance(gang.phase, Starting):
            continue
        unavailable = [a.node for a in gang.live if state.nodes[a.node].state in ("silent", "off")]
        if unavailable:
            end_gang(
                state,
                gang,
                "requeued",
                f"{unavailable[0]} became unavailable before the start",
                now,
            )
        elif now.mono_s - gang.phase.since > START_WAIT_S:
            reason = f"its watts were not granted within {START_WAIT_S:.0f} s"
            end_gang(state, gang, "requeued", reason, now)


def task_order(state: State, attempt: Attempt) -> TaskOrder:
    """The order with all that the agent needs to run the attempt."""
    gang, record = attempt.gang, attempt.record
    spec = gang.job.spec
    run_as = account_of(state.site.run_as, gang.job.record.owner)
    if run_as is None:
        raise ValueError(f"{gang.name} starts without a host account")
    note_failures(state, gang)
    gateways = _gateways(state) if spec.kind == "service" else ()
    keys = tuple(key for _, key in gateways)
    saved = gang.checkpoint if gang.has_saved else None
    return TaskOrder(
        ref=record.ref,
        job_name=spec.name,
        owner=gang.job.record.owner,
        kind=spec.kind,
        command=_command(spec),
        env=spec.env,
        gpus=record.gpus,
        launcher=spec.launch.how,
        gpu_share_permille=attempt.gpu_milli,
        mig="" if record.mig is None else record.mig.uuid,
        workdir=spec.workdir,
        submit_dir=spec.submit_dir,
        array_index=spec.array.indices[gang.number] if spec.array is not None else None,
        rendezvous=_rendezvous(state, attempt) if _has_rendezvous(gang) else None,
        cpus=gang.job.shape.cpus if spec.resources.cpus_per_gpu else 0,
        memory_bytes=spec.resources.memory_bytes,
        grace_s=gang.job.grace_s,
        runtime_limit_s=spec.limits.runtime_s,
        checkpoint_every_s=checkpoint_every_s(gang.job, spec),
        failure_free_s=gang.job.failure_free_s,
        clock_permille=_clock_permille(state, attempt),
        on_isolation="stop" if record.has_task_lease else "continue",
        gateways=tuple(endpoint for endpoint, _ in gateways),
        gateway_public_key=keys[0] if keys else "",
        gateway_keys=keys,
        interface=interface_on(spec.launch.interface, state.nodes[attempt.node].site.labels),
        run_as=run_as,
        nodes=gang.size,
        node_rank=record.task - gang.task_no(0),
        processes=gang.size * procs_per_node(spec),
        global_batch_size=spec.launch.global_batch_size,
        stop_signal=spec.recovery.stop_signal,
        checkpoints=spec.recovery.checkpoints,
        has_run_before=any(a.record.started_unix_s is not None for a in gang.past),
        saved_step=None if saved is None else saved.step,
        from_scratch=spec.recovery.from_scratch,
        image=spec.launch.image,
        secrets=spec.secrets,
        data=task_data(state.data, spec) + resume_data(gang, record.node),
        has_output=spec.data.has_output and record.task == gang.task_no(0),
        pty=spec.launch.pty,
    )


def _has_rendezvous(gang: Gang) -> bool:
    """Of containers those of several nodes: the command of the image starts torchrun itself."""
    how = gang.job.spec.launch.how
    return how in RENDEZVOUS_LAUNCHERS or (how == "container" and gang.size > 1)


def _command(spec: JobSpec) -> tuple[str, ...]:
    http = None if spec.service is None else spec.service.http
    return spec.command if http is None else bridge_command(http, spec.command)


def _gateways(state: State) -> tuple[tuple[str, str], ...]:
    """Endpoint and key of each gateway of the site file that is enrolled."""
    keys = state.gateway_keys
    return tuple((g.worker_endpoint, keys[g.name]) for g in state.site.gateways if g.name in keys)


def _clock_permille(state: State, attempt: Attempt) -> int:
    """The highest clock fraction among its GPUs: a task is as fast as its slowest GPU."""
    gpus = state.nodes[attempt.node].gpus
    need = attempt.gang.job.shape.need
    held = [gpus[index] for index in attempt.record.gpus if index in gpus]
    return max((clock_permille(need, gpu) for gpu in held), default=PERMILLE)


def _rendezvous(state: State, attempt: Attempt) -> Rendezvous:
    gang, spec = attempt.gang, attempt.gang.job.spec
    rank = attempt.record.task - gang.task_no(0)
    return Rendezvous(
        host=rendezvous_host(_members(state, gang)),
        port=gang.rendezvous_port,
        node_rank=rank,
        nodes=gang.size,
        procs_per_node=procs_per_node(spec),
    )


def _members(state: State, gang: Gang) -> list[NodeNow]:
    """The nodes of its live attempts, by rank."""
    by_task = sorted(gang.live, key=lambda attempt: attempt.record.task)
    return [state.nodes[attempt.node] for attempt in by_task]


def rendezvous_host(members: list[NodeNow]) -> str:
    """Address of the host of rank 0; loopback when all tasks are on one host.

    Its name where its address is not known, or is none that others can reach.
    """
    hostnames = {node.record.hostname for node in members}
    if len(hostnames) == 1:
        return LOOPBACK
    first = members[0]
    return first.address if _is_reachable(first.address) else first.record.hostname


def _is_reachable(address: str) -> bool:
    """Its agent reports it, so it may be any text."""
    try:
        found = ip_address(address)
    except ValueError:
        return False
    return not (found.is_loopback or found.is_unspecified or found.is_multicast)


def draw_port(state: State, gang: Gang) -> int:
    """A port of the site's range for the current try, that no other gang of the node of rank 0 has.

    A digest of the run and the try: a run is named at random, so that it cannot be predicted.
    """
    first_node = _members(state, gang)[0]
    taken = {attempt.gang.rendezvous_port for attempt in first_node.attempts.values()}
    first, last = state.site.rendezvous_ports
    name = f"{state.instance} {TaskRef(gang.job.id, gang.task_no(0), gang.attempt)}"
    drawn, count = int.from_bytes(sha256(name.encode()).digest()[:8], "big"), last - first + 1
    ports = (first + (drawn + step) % count for step in range(count))
    return next((port for port in ports if port not in taken), first + drawn % count)
