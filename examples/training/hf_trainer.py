"""The Trainer of Hugging Face on a tiny model: a stop by SIGUSR1 saves and ends; it resumes there.

It imports nothing of Wattline: `hf_trainer.toml` names the signal and where it saves.
"""

import os
import signal
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments

COORDINATES, ROWS, BATCH, STEPS, SAVE_EVERY = 16, 4096, 64, 3000, 250


class Points(Dataset[dict[str, torch.Tensor]]):
    """Random points, and which coordinate of each is the largest."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(1)
        self.points = torch.randn(ROWS, COORDINATES, generator=generator)

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        return {"points": self.points[row], "labels": self.points[row].argmax()}


class Model(nn.Module):
    """A classifier as the Trainer expects it: it returns its loss."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.net = nn.Sequential(
            nn.Linear(COORDINATES, 128), nn.ReLU(), nn.Linear(128, COORDINATES)
        )

    def forward(self, points: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """One batch."""
        logits = self.net(points)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


class StopSignal(TrainerCallback):  # type: ignore[misc] # mypy is not shown transformers
    """Saves after the step in which SIGUSR1 arrived, and ends the training."""

    def __init__(self) -> None:
        self.is_requested = False
        signal.signal(signal.SIGUSR1, self._request)

    def _request(self, *_: object) -> None:
        self.is_requested = True

    def on_step_end(self, _args: Any, _state: Any, control: Any, **_: Any) -> None:
        """Between two steps nothing is half done."""
        if self.is_requested:
            control.should_save = control.should_training_stop = True


def main() -> None:
    """Train to the last step, from the newest checkpoint if there is one."""
    arguments = TrainingArguments(
        "out/hf",
        max_steps=STEPS,
        per_device_train_batch_size=BATCH,
        learning_rate=1e-3,
        save_steps=SAVE_EVERY,
        save_total_limit=3,
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=False,
        seed=1,
    )
    trainer = Trainer(Model(), arguments, train_dataset=Points(), callbacks=[StopSignal()])
    resume_from = os.environ.get("WATTLINE_RESUME_FROM")
    trainer.train(resume_from_checkpoint=resume_from)
    print(f"resumed from {resume_from}, ended at step {trainer.state.global_step}", flush=True)


if __name__ == "__main__":
    main()
