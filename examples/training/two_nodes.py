"""A classifier that trains on two nodes, and loses no step to a planned interruption.

    wattline submit two_nodes.toml      # in this directory
    python two_nodes.py --steps 20      # without Wattline

The data is random: the class of a point is its largest coordinate.
"""

import argparse

import torch
from torch import nn

from wattline import task
from wattline_runtime.train.gang import Gang, join_gang
from wattline_runtime.train.state import State

COORDINATES, WIDTH, BATCH = 16, 512, 128


def classifier() -> nn.Module:
    """A small one."""
    hidden = (nn.Linear(COORDINATES, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU())
    return nn.Sequential(*hidden, nn.Linear(WIDTH, COORDINATES))


def train(gang: Gang, steps: int) -> None:
    """One rank: to the last step, or to a stop notice."""
    torch.manual_seed(gang.rank)  # each rank draws other points
    net = classifier().to(gang.device)
    parallel = gang.parallel(net)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)

    def train_step() -> torch.Tensor:
        points = torch.randn(BATCH, COORDINATES, device=gang.device)
        loss = nn.functional.cross_entropy(parallel(points), points.argmax(1))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        return loss.detach()

    state = State(model=net, optimizer=optimizer, schedule=schedule)
    for step in range(state.resume() + 1, steps + 1):
        loss = train_step()
        is_due = gang.any(gang.is_first and task.should_checkpoint())
        is_stopping = gang.any(task.stop_requested())
        if is_due or is_stopping or step == steps:
            state.save(step)
        task.metric(step=step)  # of every rank: a slow one is found
        if gang.is_first:
            task.progress(step / steps, loss=loss.item())
        if is_stopping:
            break


def main() -> None:
    """Options; then train as one rank of the gang."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args()
    with task.stoppable(), join_gang() as gang:
        train(gang, options.steps)


if __name__ == "__main__":
    main()
