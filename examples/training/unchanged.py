"""Plain torch, as it is run by hand: it knows nothing of Wattline.

    python unchanged.py --steps 100
    python unchanged.py --resume-from out/checkpoint-100

It writes `out/checkpoint-STEP` every `--save-every` steps, and can resume from one.
"""

import argparse
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn

COORDINATES, WIDTH, BATCH = 16, 512, 256


class Training:
    """A model that learns which coordinate of a random point is the largest."""

    def __init__(self) -> None:
        torch.manual_seed(1)
        hidden = (nn.Linear(COORDINATES, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU())
        self.net = nn.Sequential(*hidden, nn.Linear(WIDTH, COORDINATES))
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=1e-3)
        self.step = 0

    def run_step(self) -> None:
        """One batch."""
        points = torch.randn(BATCH, COORDINATES)
        loss = nn.functional.cross_entropy(self.net(points), points.argmax(1))
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        self.optimizer.step()
        self.step += 1

    def save(self) -> None:
        """Write a checkpoint: under another name until it is complete."""
        parts = {"net": self.net.state_dict(), "optimizer": self.optimizer.state_dict()}
        unfinished, folder = Path("out/unfinished"), Path(f"out/checkpoint-{self.step}")
        unfinished.mkdir(parents=True, exist_ok=True)
        state = {**parts, "rng": torch.get_rng_state(), "step": self.step}
        torch.save(state, unfinished / "state.pt")
        shutil.rmtree(folder, ignore_errors=True)  # of an earlier run
        unfinished.rename(folder)
        print(f"saved {folder}", flush=True)

    def load(self, folder: Path) -> None:
        """Continue from a checkpoint."""
        saved: dict[str, Any] = torch.load(folder / "state.pt", weights_only=True)
        self.net.load_state_dict(saved["net"])
        self.optimizer.load_state_dict(saved["optimizer"])
        torch.set_rng_state(saved["rng"])
        self.step = saved["step"]
        print(f"resumed from {folder}", flush=True)


def main() -> None:
    """Options; then train to the last step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--save-every", type=int, default=25)
    parser.add_argument("--resume-from", type=Path)
    options = parser.parse_args()
    training = Training()
    if options.resume_from is not None:
        training.load(options.resume_from)
    while training.step < options.steps:
        training.run_step()
        if training.step % options.save_every == 0 or training.step == options.steps:
            training.save()


if __name__ == "__main__":
    main()
