"""Data-parallel training on scikit-learn's digits: an example, and the demo's training job.

    python -m torch.distributed.run --nproc-per-node 2 -m wattline_examples.train_digits
    python -m wattline_examples.train_digits --epochs 5

The first rank saves a checkpoint every `--save-every` epochs and reports metrics; a new attempt
resumes from the newest intact checkpoint. On a stop notice all ranks end after the same epoch.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wattline import task
from wattline_examples.digits_net import DigitsNet, load_split, shifted
from wattline_runtime.train.gang import Gang, join_gang


class Training:
    """Model, optimizer and data of one rank."""

    def __init__(self, gang: Gang, options: argparse.Namespace) -> None:
        self.gang = gang
        self.options = options
        torch.manual_seed(options.seed)
        self.net = DigitsNet(options.width, options.blocks).to(gang.device)
        folder = task.data_path(options.data) if options.data else None
        self.x, self.y, self.held_x, self.held_y = (t.to(gang.device) for t in load_split(folder))
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=options.learning_rate)
        self.epoch = 0
        self._resume()
        self.parallel = gang.parallel(self.net)

    def _resume(self) -> None:
        """Continue from the newest intact checkpoint, which only the first rank needs to reach."""
        state = self.gang.from_first(self._load() if self.gang.is_first else None)
        if state is not None:
            self.net.load_state_dict(state["net"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.epoch = state["epoch"]

    def _load(self) -> dict[str, Any] | None:
        found = task.latest(on_reject=lambda r: print(f"skipped {r.directory}: {r.reason}"))
        if found is None:
            return None
        if found.about.get("shape") != [self.options.width, self.options.blocks]:
            raise SystemExit(
                f"{found.path} is of a network of width and blocks {found.about.get('shape')}, "
                f"not {[self.options.width, self.options.blocks]}; use another job name"
            )
        print(f"going on from epoch {found.step}", flush=True)
        state: dict[str, Any] = torch.load(found.path, map_location="cpu", weights_only=True)
        return state

    def run_epoch(self) -> float:
        """One pass over this rank's share of the images; returns the mean loss."""
        generator = torch.Generator().manual_seed(self.options.seed * 1000 + self.epoch)
        order = torch.randperm(len(self.y), generator=generator)
        share = len(order) // self.gang.world_size
        mine = order[self.gang.rank * share : (self.gang.rank + 1) * share]
        self.parallel.train()
        losses = [
            self._step(shifted(self.x[batch], generator), self.y[batch])
            for batch in torch.split(mine, self.options.batch_size)
        ]
        self.epoch += 1
        return float(torch.stack(losses).mean())

    def _step(self, pixels: Tensor, labels: Tensor) -> Tensor:
        self.optimizer.zero_grad()
        loss = nn.functional.cross_entropy(self.parallel(pixels), labels)
        torch.autograd.backward(loss)
        self.optimizer.step()
        return loss.detach()

    def accuracy(self) -> float:
        """Share of the held-out tenth that is classified correctly."""
        self.net.eval()
        with torch.inference_mode():
            return float((self.net(self.held_x).argmax(1) == self.held_y).float().mean())

    def is_save_due(self) -> bool:
        """After the last epoch, every so many, and before an interruption that is announced."""
        is_last = self.epoch >= self.options.epochs
        return is_last or self.epoch % self.options.save_every == 0 or task.should_checkpoint()

    def save(self, accuracy: float) -> None:
        """Save a checkpoint of this epoch; for the first rank only."""
        state = {
            "net": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.epoch,
        }
        about = {"shape": [self.options.width, self.options.blocks], "accuracy": accuracy}

        def write(path: Path) -> None:
            torch.save(state, path)

        task.save(self.epoch, write, keep=3, about=about)


def train(gang: Gang, options: argparse.Namespace) -> float:
    """Train to the last epoch or to a stop notice; returns the accuracy reached."""
    training = Training(gang, options)
    accuracy = training.accuracy()
    until_s = time.monotonic() + options.at_least_s
    is_stopping = gang.any(task.stop_requested())
    while not is_stopping:
        # One rank's clock decides for all, or they would not end after the same epoch.
        is_long_enough = gang.from_first(time.monotonic() >= until_s)
        if training.epoch >= options.epochs and is_long_enough:
            break
        loss = training.run_epoch()
        accuracy = training.accuracy()
        is_stopping = gang.any(task.stop_requested())
        if gang.is_first:
            task.progress(
                min(1.0, training.epoch / options.epochs),
                epoch=training.epoch,
                loss=loss,
                accuracy=accuracy,
                world_size=gang.world_size,
            )
            if is_stopping or training.is_save_due():
                training.save(accuracy)
            print(f"epoch {training.epoch}: loss {loss:.4f}, accuracy {accuracy:.4f}", flush=True)
        time.sleep(options.rest_s)
    if gang.is_first:
        task.metric(accuracy=accuracy, epoch=training.epoch, world_size=gang.world_size)
    return accuracy


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 also after a stop notice, when all is saved."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="data set of the job; otherwise scikit-learn's digits")
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--at-least-s", type=float, default=0.0, help="train on for so long")
    parser.add_argument("--save-every", type=int, default=1, help="epochs between two checkpoints")
    parser.add_argument("--rest-s", type=float, default=0.0, help="pause so long after an epoch")
    parser.add_argument("--batch-size", type=int, default=32, help="images a rank and step")
    parser.add_argument("--width", type=int, default=48, help="channels, a multiple of 8")
    parser.add_argument("--blocks", type=int, default=3)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(argv)
    began_s = time.monotonic()
    with task.stoppable(), join_gang() as gang:
        task.metric(rendezvous_s=time.monotonic() - began_s)
        train(gang, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
