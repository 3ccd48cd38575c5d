"""Identity and GPU shares of this process, from the variables that its agent sets."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Identity:
    """Identity of this process in Wattline; outside Wattline the defaults."""

    job: int
    job_name: str
    task: int
    attempt: int
    array_index: int | None
    node: str


def identity() -> Identity:
    """Job, task, attempt, array index and node of this process."""
    index = os.environ.get("WATTLINE_ARRAY_INDEX", "")
    return Identity(
        job=_number("WATTLINE_JOB"),
        job_name=os.environ.get("WATTLINE_JOB_NAME", "local"),
        task=_number("WATTLINE_TASK"),
        attempt=_number("WATTLINE_ATTEMPT"),
        array_index=int(index) if index else None,
        node=os.environ.get("WATTLINE_NODE", "local"),
    )


def gpu_share() -> float:
    """The share of each of its GPUs allocated to this task; 1 outside Wattline."""
    return float(os.environ.get("WATTLINE_GPU_SHARE", "") or 1.0)


def gpu_memory_limit_bytes() -> int | None:
    """Memory of each of its GPUs that this task may use; None without a GPU or outside Wattline.

    Other tasks on the GPU rely on it. PyTorch observes it once it is set:

        limit, total = task.gpu_memory_limit_bytes(), torch.cuda.mem_get_info()[1]
        if limit is not None:
            torch.cuda.set_per_process_memory_fraction(min(1.0, limit / total))
    """
    return _number("WATTLINE_GPU_MEMORY_BYTES") or None


def _number(name: str) -> int:
    return int(os.environ.get(name, "") or 0)
