"""Embeddings without weights: counts of letters, normalised.

python -m wattline_runtime.serve --model embed.py:Letters
"""

from collections.abc import Mapping
from math import sqrt
from string import ascii_lowercase


class Letters:
    """Texts of several requests are embedded in one call."""

    def load(self, args: Mapping[str, str]) -> None:
        """Nothing to load."""

    def embed(self, texts: list[str]) -> list[list[float]]:
        """One vector a text: lists, an array, or a tensor."""
        return [_vector(text.lower()) for text in texts]

    def tokens(self, text: str) -> int:
        """Counted for the usage of a request."""
        return len(text.split())

    def length(self, text: str) -> int:
        """Texts of similar length share a batch."""
        return len(text)


def _vector(text: str) -> list[float]:
    counts = [text.count(letter) for letter in ascii_lowercase]
    norm = sqrt(sum(x * x for x in counts)) or 1.0
    return [x / norm for x in counts]
