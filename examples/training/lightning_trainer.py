"""Lightning on a tiny model: a stop by SIGUSR1 saves and ends; the next attempt resumes.

It imports nothing of Wattline: `lightning_trainer.toml` names the signal and where it saves.
"""

import os
import signal
from collections.abc import Iterator
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

COORDINATES, BATCH, STEPS, SAVE_EVERY = 16, 64, 3000, 250


class Model(LightningModule):  # type: ignore[misc] # mypy is not shown Lightning
    """Learns which coordinate of a random point is the largest."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.net = nn.Sequential(
            nn.Linear(COORDINATES, 128), nn.ReLU(), nn.Linear(128, COORDINATES)
        )

    def training_step(self, points: torch.Tensor) -> torch.Tensor:
        """One batch."""
        return nn.functional.cross_entropy(self.net(points), points.argmax(1))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """For all parameters."""
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


class Batches:
    """Batches that depend on their number alone; Lightning saves and restores that."""

    def __init__(self) -> None:
        self.number = 0

    def __len__(self) -> int:
        """Without it Lightning would fetch one batch ahead, and skip it when it resumes."""
        return STEPS

    def __iter__(self) -> Iterator[torch.Tensor]:
        while self.number < STEPS:
            self.number += 1
            generator = torch.Generator().manual_seed(self.number)
            yield torch.randn(BATCH, COORDINATES, generator=generator)

    def state_dict(self) -> dict[str, int]:
        """For a checkpoint."""
        return {"number": self.number}

    def load_state_dict(self, saved: dict[str, int]) -> None:
        """Continue with the batch after it."""
        self.number = saved["number"]


class StopSignal(Callback):  # type: ignore[misc] # mypy is not shown Lightning
    """Saves after the step in which SIGUSR1 arrived, and ends the training."""

    def __init__(self) -> None:
        self.is_requested = False
        signal.signal(signal.SIGUSR1, self._request)

    def _request(self, *_: object) -> None:
        self.is_requested = True

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Between two steps nothing is half done."""
        if self.is_requested:
            trainer.save_checkpoint(f"out/lightning/step-{trainer.global_step}.ckpt")
            trainer.should_stop = True


def main() -> None:
    """Train to the last step, from the newest checkpoint if there is one."""
    saves = ModelCheckpoint(
        "out/lightning", "{step}", every_n_train_steps=SAVE_EVERY, save_top_k=-1
    )
    trainer = Trainer(
        max_epochs=1,
        callbacks=[saves, StopSignal()],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    resume_from = os.environ.get("WATTLINE_RESUME_FROM")
    trainer.fit(Model(), Batches(), ckpt_path=resume_from)
    print(f"resumed from {resume_from}, ended at step {trainer.global_step}", flush=True)


if __name__ == "__main__":
    main()
