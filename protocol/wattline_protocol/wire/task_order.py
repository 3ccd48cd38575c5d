"""What an agent passes to an attempt, an order and notices; and what it reads of its ranks."""

from typing import Literal

import msgspec

from wattline_protocol.ids import GpuIndex, TaskRef, UnixTime
from wattline_protocol.job.spec import (
    WHOLE_GPU,
    JobKind,
    Launcher,
    SecretUse,
    Share,
    StopSignal,
)
from wattline_protocol.wire.agents.data_messages import TaskData
from wattline_protocol.wire.bounds import (
    Amount,
    Argument,
    Bytes,
    Count,
    Few,
    Index,
    Many,
    Millijoules,
    Name,
    OfGpus,
    Path,
    Permille,
    Port,
    Seconds,
    Sentence,
    Serial,
    Table,
    Time,
    Word,
)

PORT_TAKEN_STATUS = 75
"""Exit status of a torchrun launcher whose port another program has: EX_TEMPFAIL of sysexits.h. The
launcher itself has no other use for it, and ends with 1 whatever status a rank ends with."""


class Rendezvous(msgspec.Struct, frozen=True):
    """Where the processes of a torchrun gang meet."""

    host: Word[str]
    port: Port
    node_rank: Count[int]
    nodes: Count[int]
    procs_per_node: Count[int]


NoticeKind = Literal[
    "pause", "window", "reservation", "preemption", "drain", "limit", "resize", "stop"
]
"""What interrupts a task: a lowered budget, a scheduled one, nodes reserved for others, a job of
higher priority, an operator's drain, a limit of the job, another number of nodes, another stop."""


class Notice(msgspec.Struct, frozen=True):
    """What will interrupt an attempt, and when: one line of JSON in its notice file."""

    what: NoticeKind
    at_unix_s: Time[UnixTime]
    why: Sentence
    grace_s: Seconds = 0.0
    """Time from then to the kill; 0 = it is frozen, or nothing interrupts it for certain."""


MJ_PER_KWH = 3_600_000_000
"""Millijoules."""


class TaskUsage(msgspec.Struct, frozen=True):
    """Usage of an attempt; cumulative, survives restarts. GPU time counts by share of the GPU."""

    run_s: Amount = 0.0
    gpu_s: Amount = 0.0
    gpu_energy_mj: Millijoules = 0
    node_energy_mj: Millijoules = 0
    """GPU energy plus this attempt's share of the node's other consumption, at the wall."""
    util_gpu_s: Amount = 0.0
    """Integral of GPU utilisation: divide by gpu_s for the mean."""
    cap_bound_gpu_s: Amount = 0.0
    cap_gpu_s: Amount = 0.0
    cap_gpu_mj: Millijoules = 0
    """GPU time in which the cap in force was known, and its integral: divide for the mean cap."""
    cpu_s: Amount = 0.0
    max_rss_bytes: Bytes = 0
    cpu_capacity_s: Amount = 0.0  # run time times the CPUs that it may use
    disk_s: Amount = 0.0
    disk_busy_s: Amount = 0.0
    network_s: Amount = 0.0
    network_busy_s: Amount = 0.0
    """Time in which the node's busiest disk and link were measured, and how much of it they were
    busy, with the work of others."""


class RankFailure(msgspec.Struct, frozen=True):
    """The first rank of an attempt that failed by itself, with torchrun."""

    rank: Count[int]
    """In the gang."""
    unix_s: Time[float]
    error: Sentence
    """One line: its exception and where it was raised, else how it ended."""


class TaskOrder(msgspec.Struct, frozen=True):
    """Everything an agent needs to run one attempt. Never contains a secret."""

    ref: TaskRef
    job_name: Name[str]
    owner: Name[str]
    kind: JobKind
    command: Many[Argument]
    env: Table[Argument, Argument]
    gpus: OfGpus[Index[GpuIndex]]
    launcher: Launcher
    gpu_share_permille: Share = WHOLE_GPU
    """Its share of each of its GPUs; others may have the rest."""
    mig: Word[str] = ""
    """UUID of its MIG device on its one GPU; empty = none."""
    workdir: Path = ""
    """Empty: `submit_dir`, or a directory of the task's own."""
    submit_dir: Path = ""
    """Working directory without a `workdir`, if it exists and is accessible; empty: unknown."""
    array_index: Count[int] | None = None
    rendezvous: Rendezvous | None = None
    cpus: Count[int] = 0
    """CPU limit; 0 = none."""
    memory_bytes: Bytes = 0
    """Memory limit; 0 = none."""
    grace_s: Seconds = 30.0
    runtime_limit_s: Seconds = 0.0
    checkpoint_every_s: Seconds = 0.0
    failure_free_s: Seconds = 0.0
    """Mean time between failures of its gang, where it chooses the interval by that; 0 = not."""
    clock_permille: Permille = 1000
    """Ceiling of its GPUs' SM clock, as a share of their highest; 1000 = none."""
    on_isolation: Literal["continue", "stop"] = "continue"
    """stop: it starts with a task lease; else LeaseTask may give it one later."""
    log_limit_bytes: Bytes = 64 * 1024 * 1024
    run_as: Name[str] = ""
    """Account of the host; empty = the keeper's own."""
    gateways: Few[Word[str]] = ()
    """Services: worker endpoints of the site's gateways."""
    gateway_public_key: Word[str] = ""
    """Key of the first of them, for agents that do not know `gateway_keys`."""
    gateway_keys: Few[Word[str]] = ()
    """Key of each of `gateways`, in their order."""
    nodes: Count[int] = 1
    """Tasks of its gang, one per node."""
    node_rank: Count[int] = 0
    processes: Count[int] = 1
    """Of the whole gang."""
    global_batch_size: Count[int] = 0
    """Samples of a step over all processes; 0 = not stated."""
    interface: Word[str] = ""
    """Network interface of its gang; empty: the agent's choice."""
    stop_signal: StopSignal = "TERM"
    checkpoints: Path = ""
    """Pattern of the checkpoints of a program that does not report them; empty = none."""
    has_run_before: bool = False
    """An earlier attempt of its gang has started: what it left may be a part of a checkpoint."""
    saved_step: Serial[int] | None = None
    """Of its newest known checkpoint; None = none is known."""
    from_scratch: bool = False
    """It may begin at step 0 if there are checkpoints and none is intact."""
    image: Word[str] = ""
    """Of its container."""
    secrets: Table[Argument, SecretUse] = {}
    """Entries of its owner on the node, by the name that the task finds each under."""
    data: Few[TaskData] = ()
    """Versions of data sets that the node holds for it."""
    has_output: bool = False
    """It has a directory whose content becomes a version of a data set."""
    pty: bool = False
    """Its command runs on a terminal that clients attach to."""
