"""A matrix whose rows are divided over the ranks of a gang, so that no rank holds all of it.

    torchrun --nproc-per-node 2 -m wattline_examples.train_sharded --steps 100

It resumes with any number of ranks.
"""

import argparse

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from wattline import task
from wattline_runtime.train.gang import join_gang
from wattline_runtime.train.sharded import load_sharded, save_sharded

ROWS, COLUMNS = 6, 4
RATE = 0.5


def wanted() -> torch.Tensor:
    """What the matrix is trained to become."""
    return torch.rand(ROWS, COLUMNS, generator=torch.Generator().manual_seed(0))


def train(steps: int, save_every: int) -> int:
    """On every rank; returns the step that it resumed at."""
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    weight = distribute_tensor(torch.zeros(ROWS, COLUMNS), mesh, [Shard(0)])
    target = distribute_tensor(wanted(), mesh, [Shard(0)]).to_local()
    resumed = load_sharded({"weight": weight})
    rows = weight.to_local()
    for step in range(resumed + 1, steps + 1):
        rows -= RATE * (rows - target)
        if step % save_every == 0:
            save_sharded(step, {"weight": weight})
        if dist.get_rank() == 0:
            task.progress(step / steps, loss=float((rows - target).square().sum()))
    return resumed


def main() -> None:
    """Under torchrun."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--steps", type=int, default=100)
    options.add_argument("--save-every", type=int, default=10)
    chosen = options.parse_args()
    with join_gang():
        train(chosen.steps, chosen.save_every)


if __name__ == "__main__":
    main()
