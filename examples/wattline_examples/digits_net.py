"""The digits data set and its network; shared by training and serving."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

PIXELS = 64
SIDE = 8
CLASSES = 10
BRIGHTEST = 16.0
"""Pixels are 0 to 16."""
HELD_OUT_EVERY = 10
"""One in this many images is excluded from training."""
SPLIT_SEED = 7


class DigitsNet(nn.Module):
    """A small residual convolutional network: (batch, 64) pixels in 0..16 to (batch, 10) logits."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, width, 3, padding=1)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(blocks))
        self.last = nn.Linear(width, CLASSES)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits of each class."""
        image = pixels.view(-1, 1, SIDE, SIDE) / BRIGHTEST
        features = torch.relu(self.first(image))
        for block in self.blocks:
            features = block(features)
        logits: Tensor = self.last(features.mean(dim=(2, 3)))
        return logits


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, width)
        self.one = nn.Conv2d(width, width, 3, padding=1)
        self.two = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        change = self.two(torch.relu(self.one(self.norm(features))))
        return torch.relu(features + change)


DIGITS_FILE = "digits.npz"
"""With the arrays `images` and `labels`."""


def load_split(folder: Path | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images (n, 64) and labels (n,) for training, then those held out; always the same split.
    Of a folder with `DIGITS_FILE`, otherwise those of scikit-learn."""
    images, labels = all_digits() if folder is None else _read(folder / DIGITS_FILE)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(SPLIT_SEED))
    x = torch.tensor(images, dtype=torch.float32)[order]
    y = torch.tensor(labels, dtype=torch.int64)[order]
    held = torch.arange(len(y)) % HELD_OUT_EVERY == 0
    return x[~held], y[~held], x[held], y[held]


def all_digits() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The 1,797 images of scikit-learn, and what they show."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return images, labels


def _read(file: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    with np.load(file, allow_pickle=False) as found:
        return found["images"], found["labels"]


def shifted(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Each image moved by up to one pixel either way: digits are not always centred."""
    dx, dy = (int(torch.randint(-1, 2, (1,), generator=generator).item()) for _ in range(2))
    images = pixels.view(-1, SIDE, SIDE)
    padded = nn.functional.pad(images, (1, 1, 1, 1))
    return padded[:, 1 + dy : 1 + dy + SIDE, 1 + dx : 1 + dx + SIDE].reshape(-1, PIXELS)
