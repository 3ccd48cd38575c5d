"""How long a rank waits for the others in a step whose gradients are averaged.

A step ends on all ranks at the same time, since the average needs the gradients of all. The wait of
a rank begins when its own are complete, and ends with the last average. It includes the transfer,
which takes all ranks the same time.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import GradBucket
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel

from wattline import task

MAX_OPEN = 64
"""Waits whose end the GPU has not come to; older ones are dropped."""


def mark_waits(model: DistributedDataParallel) -> None:
    """Average as `model` does by itself, and report the waits to `wattline.task`."""
    gang = model.process_group
    if next(model.parameters()).device.type == "cuda":
        waits = GpuWaits(partial(torch.cuda.Event, enable_timing=True))
        model.register_comm_hook((gang, waits), _on_gpu)
    else:
        model.register_comm_hook(gang, _on_cpu)


def _on_cpu(gang: dist.ProcessGroup, bucket: GradBucket) -> Future[torch.Tensor]:
    averaged = default_hooks.allreduce_hook(gang, bucket)
    if not bucket.is_last():
        return averaged
    ready_s = time.monotonic()

    def ended(done: Future[torch.Tensor]) -> torch.Tensor:
        task.waited(time.monotonic() - ready_s)
        return done.value()

    return averaged.then(ended)


class Mark(Protocol):
    """A `torch.cuda.Event`."""

    def record(self) -> None:
        """At this point of the work of the GPU."""

    def query(self) -> bool:
        """Whether the GPU has come to it."""

    def elapsed_time(self, end_event: Any) -> float:
        """Milliseconds between the two."""


@dataclass(slots=True)
class _Wait:
    begin: Mark
    end: Mark
    has_end: bool = False
    """An event that was never recorded counts as reached, and has no time."""


class GpuWaits:
    """Pairs of events on the GPU: the host runs ahead of it, so the host's clock shows no wait."""

    def __init__(self, new_mark: Callable[[], Mark]) -> None:
        self._new_mark = new_mark
        self._open: deque[_Wait] = deque(maxlen=MAX_OPEN)

    def begin(self) -> Callable[[], None]:
        """The gradients of this rank are complete; the result is to be called when all are."""
        wait = _Wait(self._new_mark(), self._new_mark())
        wait.begin.record()
        self._open.append(wait)

        def end() -> None:
            wait.end.record()
            wait.has_end = True

        return end

    def take_s(self) -> float:
        """Seconds of the waits that have ended since; without waiting for the GPU."""
        taken_s = 0.0
        while self._open and self._open[0].has_end and self._open[0].end.query():
            wait = self._open.popleft()
            taken_s += wait.begin.elapsed_time(wait.end) / 1e3
        return taken_s


def _on_gpu(state: tuple[dist.ProcessGroup, GpuWaits], bucket: GradBucket) -> Future[torch.Tensor]:
    gang, waits = state
    averaged = default_hooks.allreduce_hook(gang, bucket)
    if not bucket.is_last():
        return averaged
    task.waited(waits.take_s())
    end = waits.begin()

    def ended(done: Future[torch.Tensor]) -> torch.Tensor:
        end()
        return done.value()

    return averaged.then(ended)
