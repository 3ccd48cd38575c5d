"""A model that trains on as many nodes as there are, with the same batches on any number of them.

    wattline submit elastic.toml        # in this directory
    python elastic.py --epochs 2        # without Wattline

The data is a table of random points; what is learned of each is its sum of squares.
"""

import argparse
import os

import torch
from torch import nn

from wattline import task
from wattline_runtime.train.gang import Gang, join_gang
from wattline_runtime.train.state import State

COORDINATES, WIDTH, ROWS = 16, 512, 8192
BATCH = int(os.environ.get("WATTLINE_GLOBAL_BATCH_SIZE", "256"))
"""Rows of a step, over all ranks."""
STEPS_PER_EPOCH = ROWS // BATCH


def rows_of(step: int, gang: Gang) -> torch.Tensor:
    """The rows of this rank. Those of all ranks together depend on the number of the step alone."""
    epoch, batch = divmod(step - 1, STEPS_PER_EPOCH)
    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(epoch))
    part = int(os.environ.get("WATTLINE_LOCAL_BATCH_SIZE", BATCH // gang.world_size))
    begin = batch * BATCH + gang.rank * part
    return order[begin : begin + part]


def train(gang: Gang, steps: int) -> None:
    """One rank: to the last step, or to a stop notice."""
    torch.manual_seed(1)  # the same table on each rank
    points = torch.randn(ROWS, COORDINATES, device=gang.device)
    sums = points.square().sum(1, keepdim=True)
    hidden = (nn.Linear(COORDINATES, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU())
    net = nn.Sequential(*hidden, nn.Linear(WIDTH, 1)).to(gang.device)
    parallel = gang.parallel(net)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)

    state = State(model=net, optimizer=optimizer)
    for step in range(state.resume() + 1, steps + 1):
        rows = rows_of(step, gang).to(gang.device)
        loss = nn.functional.mse_loss(parallel(points[rows]), sums[rows])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        is_due = gang.any(gang.is_first and task.should_checkpoint())
        is_stopping = gang.any(task.stop_requested())
        if is_due or is_stopping or step == steps:
            state.save(step)
        task.metric(step=step, ranks=gang.world_size)
        if gang.is_first:
            task.progress(step / steps, loss=loss.item())
        if is_stopping:
            break


def main() -> None:
    """Options; then train as one rank of the gang."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    with task.stoppable(), join_gang() as gang:
        train(gang, options.epochs * STEPS_PER_EPOCH)


if __name__ == "__main__":
    main()
