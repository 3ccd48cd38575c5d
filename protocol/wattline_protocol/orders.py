"""What an agent is told of an attempt: all it needs to run it."""

from typing import Literal

import msgspec

from wattline_protocol.ids import GpuIndex, TaskRef
from wattline_protocol.job import WHOLE_GPU, Launcher, Share


class Rendezvous(msgspec.Struct, frozen=True):
    """Where the processes of a torchrun gang meet."""

    host: str
    port: int
    node_rank: int
    nodes: int
    procs_per_node: int


class TaskOrder(msgspec.Struct, frozen=True):
    """All an agent needs to run one attempt. Never holds a secret."""

    ref: TaskRef
    job_name: str
    owner: str
    kind: Literal["training", "batch", "service"]
    command: tuple[str, ...]
    env: dict[str, str]
    gpus: tuple[GpuIndex, ...]
    launcher: Launcher
    gpu_share_permille: Share = WHOLE_GPU
    """What it gets of each of its GPUs; others may hold the rest."""
    mig: str = ""
    """UUID of the MIG device of its one GPU that it gets; empty = it gets no such device."""
    workdir: str = ""
    """Empty: `submit_dir`, or a directory of the task's own."""
    submit_dir: str = ""
    """Where it starts without a `workdir`, if that is there and open to it; empty: not known."""
    array_index: int | None = None
    rendezvous: Rendezvous | None = None
    cpus: int = 0
    """CPU limit; 0 = none."""
    memory_bytes: int = 0
    """Memory limit; 0 = none."""
    grace_s: float = 30.0
    runtime_limit_s: float = 0.0
    checkpoint_every_s: float = 0.0
    clock_permille: int = 1000
    """Ceiling of its GPUs' SM clock, as a share of their highest; 1000 = none."""
    on_isolation: Literal["continue", "stop"] = "continue"
    log_limit_bytes: int = 64 * 1024 * 1024
    run_as: str = ""
    """Account of the host; empty = the keeper's own."""
    gateways: tuple[str, ...] = ()
    """Services: worker endpoints of the site's gateways."""
    gateway_public_key: str = ""
