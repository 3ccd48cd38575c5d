"""Command line and environment of a task, from its order. Pure."""

import math
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from wattline_agent.core.ports import LaunchContext
from wattline_agent.executor.launchers.container import NotMountable, container_argv
from wattline_agent.executor.launchers.ray import ray_argv
from wattline_agent.executor.layout import TaskDir, key_of
from wattline_agent.executor.mps import limits
from wattline_agent.executor.tasklib import (
    checkpoint_watch,
    rank_supervisor,
    terminal_launcher,
    torch_launcher,
)
from wattline_agent.keeper.spec import TaskSpec
from wattline_protocol.job.data_values import (
    CHECKPOINT_VARIABLE,
    MODEL_VARIABLE,
    OUTPUT_VARIABLE,
    variable_of,
)
from wattline_protocol.job.http_server import BRIDGE, BRIDGE_MODULE
from wattline_protocol.job.spec import WHOLE_GPU
from wattline_protocol.wire.task_order import TaskOrder

NOFILE_LIMIT = 1024 * 1024
"""Open files; lowered to the hard limit. Data loaders need far more than the usual 1,024."""
RLIMITS = {"core": 0, "nofile": NOFILE_LIMIT}
NO_CORE_AT_ALL = {"core": 1}
"""At a limit of 0 the kernel still pipes a core to a program that core_pattern names (core(5)); at
1 byte it does neither: the size that it gives such a program itself."""

BRIDGE_ARGV = (sys.executable, "-I", "-m", BRIDGE_MODULE)
"""Isolated: the job's PYTHONPATH is its server's."""

LOOPBACK = ("127.0.0.1", "::1")

STOP_PATIENCE = "TORCH_ELASTIC_SHUTDOWN_TIMEOUT"
"""Seconds from SIGTERM to SIGKILL of torchrun's ranks, where torch knows the variable; else 30."""

_PYTHON = re.compile(r"python(\d+(\.\d+)?)?$")
_OPTIONS_WITH_VALUE = ("-X", "-W")
_OWN_INTERPRETER = "python3"


class NotLaunchable(ValueError):
    """The order cannot be turned into a command; the text says what would be valid."""


def argv_of(order: TaskOrder, folder: TaskDir, tasklib: Path, site_id: str = "") -> tuple[str, ...]:
    """The command line of the attempt. Raises NotLaunchable."""
    program = _program_of(order, folder, tasklib)
    if order.pty:
        program = (*terminal_launcher(tasklib), *program)
    return _watched(order, program, tasklib, site_id)


def _watched(
    order: TaskOrder, argv: tuple[str, ...], tasklib: Path, site_id: str
) -> tuple[str, ...]:
    """The same, with the program that follows checkpoints in front of it where there is a pattern
    of them."""
    if not order.checkpoints:
        return argv
    flags = ("--has-run-before",) if order.has_run_before else ()
    if order.saved_step is not None:
        flags = (*flags, f"--saved-step={order.saved_step}")
    if site_id:
        flags = (*flags, f"--site={site_id}")
    return (*checkpoint_watch(tasklib), *flags, "--", order.checkpoints, *argv)


def _program_of(order: TaskOrder, folder: TaskDir, tasklib: Path) -> tuple[str, ...]:
    if order.launcher == "process":
        program, *arguments = order.command
        is_bridge = program == BRIDGE and order.kind == "service"
        return (*BRIDGE_ARGV, *arguments) if is_bridge else order.command
    if order.launcher == "ray":
        first = order.command[0]
        return ray_argv(order, first if _is_python(first) else _OWN_INTERPRETER, tasklib)
    interpreter, options, script = _split_python(order.command)
    meet, procs = order.rendezvous, procs_of(order)
    flags = [
        f"--nnodes={meet.nodes if meet else 1}",
        f"--nproc-per-node={procs}",
        "--max-restarts=0",  # restarts are the scheduler's task
        f"--log-dir={folder.torchrun}",  # else it leaves a directory in /tmp per attempt
    ]
    supervisor = (rank_supervisor(tasklib), str(order.log_limit_bytes // procs))
    where = (meet.host, str(meet.port), str(meet.node_rank)) if meet else ("--standalone",)
    return (interpreter, *options, torch_launcher(tasklib), *where, *flags, *supervisor, *script)


def procs_of(order: TaskOrder) -> int:
    """Ranks that torchrun starts on this node; a process is one."""
    if order.launcher != "torchrun":
        return 1
    meet = order.rendezvous
    return (meet.procs_per_node if meet else 0) or max(len(order.gpus), 1)


def _split_python(command: Sequence[str]) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """(interpreter, its options, script or `-m module` with arguments)."""
    first = command[0]
    if first.endswith(".py"):
        return _OWN_INTERPRETER, (), tuple(command)
    if not _is_python(first):
        raise NotLaunchable(
            f"torchrun starts python programs only: the command should begin with python or a "
            f'.py file, not {first!r} (or use how = "process")'
        )
    at = 1
    while at < len(command) and command[at].startswith("-") and command[at] not in ("-m", "-c"):
        at += 2 if command[at] in _OPTIONS_WITH_VALUE else 1
    if at >= len(command) or command[at] == "-c":
        raise NotLaunchable("torchrun needs a script or -m MODULE after python")
    return first, tuple(command[1:at]), tuple(command[at:])


def _is_python(program: str) -> bool:
    return _PYTHON.fullmatch(Path(program).name) is not None


def environment_of(
    order: TaskOrder,
    context: LaunchContext,
    folder: TaskDir,
    checkpoint_dir: str,
    mps_pipes: str = "",
    interface: str = "",
    secrets: str = "",
) -> dict[str, str]:
    """Variables added to the keeper's; Wattline's take precedence over the job's own.

    `mps_pipes`: pipe directory of the MPS daemon for a task that shares its GPU; empty = none.
    `interface`: see `_network`. `secrets`: directory of its secrets; empty = it has none.
    """
    ref = order.ref
    share_permille = order.gpu_share_permille if order.gpus else 0
    ours = {
        "WATTLINE_JOB": str(ref.job),
        "WATTLINE_JOB_NAME": order.job_name,
        "WATTLINE_TASK": str(ref.task),
        "WATTLINE_ATTEMPT": str(ref.attempt),
        "WATTLINE_NODE": context.node,
        "WATTLINE_CHECKPOINT_DIR": checkpoint_dir,
        "WATTLINE_CHECKPOINT_EVERY_S": f"{order.checkpoint_every_s:g}",
        "WATTLINE_FAILURE_FREE_S": f"{order.failure_free_s:g}",
        "WATTLINE_METRICS": folder.metrics,
        "WATTLINE_STOP_FILE": folder.stop,
        "WATTLINE_NOTICE_FILE": folder.notice,
        "CUDA_VISIBLE_DEVICES": ",".join(context.gpu_uuids),
        **_data_paths(order, context),
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "WATTLINE_GPU_SHARE": f"{share_permille / WHOLE_GPU:g}",
        "WATTLINE_GPU_MEMORY_BYTES": str(context.gpu_memory_bytes),
        **limits(order, context.gpu_memory_bytes, mps_pipes),
    }
    ours |= _gang_environment(order)
    if order.from_scratch:
        ours["WATTLINE_FROM_SCRATCH"] = "1"
    if order.has_output:
        ours[OUTPUT_VARIABLE] = folder.output
    if secrets:
        ours["WATTLINE_SECRETS_DIR"] = secrets
    if order.array_index is not None:  # absent differs from 0 and from an empty text
        ours["WATTLINE_ARRAY_INDEX"] = str(order.array_index)
    if order.kind == "service":
        ours |= {
            "WATTLINE_SERVICE": order.job_name,
            "WATTLINE_GATEWAY": ",".join(order.gateways),
            "WATTLINE_GATEWAY_KEY": ",".join(order.gateway_keys or (order.gateway_public_key,)),
            "WATTLINE_WORKER_SECRET_FILE": folder.secret,
        }
    defaults = {
        "PYTHONUNBUFFERED": "1",
        **_rank_limits(order),
        **_network(order, interface),
        **_meeting_point(order),
    }
    return {**defaults, **order.env, **ours}


def _data_paths(order: TaskOrder, context: LaunchContext) -> dict[str, str]:
    """Where each version of a data set is, and the model."""
    found: dict[str, str] = {}
    for one in order.data:
        path = f"{context.data_root}/{one.manifest_sha256}"
        found[CHECKPOINT_VARIABLE if one.is_checkpoint else variable_of(one.name)] = path
        if one.is_model:
            found[MODEL_VARIABLE] = path
    return found


def _rank_limits(order: TaskOrder) -> dict[str, str]:
    """Threads of a rank: its part of the CPUs that the job requests; torchrun alone would set 1.
    And the time that torchrun gives its ranks to save: the grace of the job."""
    threads = str(max(1, order.cpus // procs_of(order)))
    return {
        **({"OMP_NUM_THREADS": threads} if order.cpus else {}),
        **({STOP_PATIENCE: str(math.ceil(order.grace_s))} if order.launcher == "torchrun" else {}),
    }


def _network(order: TaskOrder, interface: str) -> dict[str, str]:
    """Where the ranks of a gang meet: the interface of its job file, else, over several hosts, that
    on the way to the scheduler (`interface`). Torch would choose by the host's name."""
    meet = order.rendezvous
    has_hosts = meet is not None and meet.nodes > 1 and meet.host not in LOOPBACK
    name = order.interface or (interface if has_hosts else "")
    if order.launcher not in ("torchrun", "container") or not name:
        return {}
    # NCCL takes the name as a prefix, eth1 also for eth10, unless it begins with "=".
    return {"GLOO_SOCKET_IFNAME": name, "NCCL_SOCKET_IFNAME": f"={name}"}


def _meeting_point(order: TaskOrder) -> dict[str, str]:
    """Where the containers of a gang meet, for the launcher that their command starts."""
    meet = order.rendezvous
    if meet is None or order.launcher != "container":
        return {}
    return {"MASTER_ADDR": meet.host, "MASTER_PORT": str(meet.port)}


def _gang_environment(order: TaskOrder) -> dict[str, str]:
    """The size of the gang in this try, and what it makes of the batch of a step."""
    batch = order.global_batch_size
    of_batch = {
        "WATTLINE_GLOBAL_BATCH_SIZE": str(batch),
        "WATTLINE_LOCAL_BATCH_SIZE": str(batch // max(1, order.processes)),
    }
    return {
        "WATTLINE_NODES": str(order.nodes),
        "WATTLINE_NODE_RANK": str(order.node_rank),
        "WATTLINE_WORLD_SIZE": str(order.processes),
        **(of_batch if batch else {}),
    }


def spec_of(
    order: TaskOrder,
    context: LaunchContext,
    folder: TaskDir,
    checkpoint_dir: str,
    tasklib: Path,
    mps_pipes: str = "",
    interface: str = "",
    site_id: str = "",
    secrets: str = "",
) -> TaskSpec:
    """Specification of the attempt for the keeper; of secrets it has paths alone. Raises
    NotLaunchable."""
    cwd = order.workdir or folder.path
    if not cwd.startswith("/"):
        raise NotLaunchable(f"workdir should be an absolute path, not {order.workdir!r}")
    if order.launcher == "container":
        folders = (folder.parent, checkpoint_dir, mps_pipes)
        versions = _data_paths(order, context).values()
        try:
            argv = container_argv(order, context, tasklib, filter(None, folders), secrets, versions)
            argv = _watched(order, argv, tasklib, site_id)
        except NotMountable as error:
            raise NotLaunchable(str(error)) from error
    else:
        argv = argv_of(order, folder, tasklib, site_id)
    return TaskSpec(
        key=key_of(order.ref),
        argv=argv,
        env=environment_of(order, context, folder, checkpoint_dir, mps_pipes, interface, secrets),
        env_append={"PYTHONPATH": str(tasklib)},
        cwd=cwd,
        rlimits=RLIMITS | (NO_CORE_AT_ALL if secrets else {}),
        cpus=order.cpus,
        memory_bytes=order.memory_bytes,
        grace_s=order.grace_s,
        runtime_limit_s=order.runtime_limit_s,
        lease_until_s=context.lease_until_mono_s,
        log_limit_bytes=order.log_limit_bytes,
        run_as=order.run_as,
        own=(),
        make="",
        prefer_cwd="" if order.workdir else order.submit_dir,
        pass_env=context.pass_env,
        stop_signal=signal.Signals[f"SIG{order.stop_signal}"],
        env_files={name: f"{secrets}/{name}" for name, use in order.secrets.items() if use.env},
    )
