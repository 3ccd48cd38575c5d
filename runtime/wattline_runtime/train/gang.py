"""The processes of one training job: rendezvous and agreement, under torchrun or alone.

`torchrun` (started by the agents on every node of the gang) sets RANK, WORLD_SIZE and the address
where the ranks meet; alone, the same script is a gang of one.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from wattline import task
from wattline_runtime.train.waits import mark_waits

T = TypeVar("T")

MEET_TIMEOUT = timedelta(seconds=120)
"""A rank that does not hear from the others for this long gives up, and the gang is retried."""


@dataclass(frozen=True, slots=True)
class Gang:
    """This process's place among all ranks."""

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """True for the one rank that saves checkpoints and reports metrics."""
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """True on every rank if `flag` is true on one: so that all stop at the same step."""
        if self.world_size == 1:
            return flag
        votes = torch.tensor([int(flag)], device=self.device)
        with self._waiting():
            dist.all_reduce(votes, dist.ReduceOp.MAX)
            return bool(votes.item())

    def from_first(self, value: T) -> T:
        """The first rank's `value`, on every rank; any value that can be pickled."""
        if self.world_size == 1:
            return value
        box = [value]
        with self._waiting():
            dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def _waiting(self) -> AbstractContextManager[None]:
        """On a GPU the host waits here for the rank's own work too: no wait for the others."""
        return nullcontext() if self.device.type == "cuda" else task.waiting()

    def parallel(self, model: nn.Module) -> nn.Module:
        """The model with gradients averaged over the gang, starting from the first's weights.

        What a rank waits for the others is marked, so that a slow one is found.
        """
        if self.world_size == 1:
            return model
        parallel = DistributedDataParallel(model)
        mark_waits(parallel)
        return parallel


@contextmanager
def join_gang(torch_threads: int = 1) -> Iterator[Gang]:
    """Meet the other ranks; leave in order at the end. Raises torch's error if they do not come.

    One torch thread a process by default: the ranks of a node share its cores.
    """
    torch.set_num_threads(torch_threads)
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    use_cuda = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) if use_cuda else 0)
    device = device if use_cuda else torch.device("cpu")
    if world_size > 1:
        dist.init_process_group("nccl" if use_cuda else "gloo", timeout=MEET_TIMEOUT)
    try:
        yield Gang(rank, world_size, device)
    finally:
        if world_size > 1:
            dist.destroy_process_group()
