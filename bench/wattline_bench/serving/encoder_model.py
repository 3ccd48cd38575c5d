"""A sentence encoder of all-MiniLM-L6-v2's shape (6 layers, 384 wide) with random weights.

Random weights compute as much as trained ones; only the cost is measured with it.
"""

from collections.abc import Mapping

import torch
from torch import nn

WIDTH, HEADS, INNER, LAYERS, WORDS = 384, 12, 1536, 6, 30_522


class Unordered:
    """Input: a list of token ids. Output: 384 numbers. Says nothing about lengths."""

    def load(self, args: Mapping[str, str]) -> None:
        """`layers`: fewer for a quick look."""
        torch.manual_seed(1)
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, INNER, activation="gelu", batch_first=True)
        layers = int(args.get("layers", LAYERS))
        # Nested tensors would skip padding by themselves; the peers' model does not do that.
        self._encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False).eval()
        self._embedding = nn.Embedding(WORDS, WIDTH)
        self.predict([[1, 2, 3]])

    def predict(self, batch: list[list[int]]) -> list[list[float]]:
        """Pad to the longest, encode, average over the real tokens, normalise."""
        longest = max(len(tokens) for tokens in batch)
        ids = torch.tensor([tokens + [0] * (longest - len(tokens)) for tokens in batch])
        padding = torch.tensor([[n >= len(t) for n in range(longest)] for t in batch])
        states = self._encoder(self._embedding(ids), src_key_padding_mask=padding)
        real = (~padding).unsqueeze(-1)
        means = (states * real).sum(1) / real.sum(1)
        vectors: list[list[float]] = nn.functional.normalize(means).tolist()
        return vectors


class Ordered(Unordered):
    """The same, but the batcher may put like beside like."""

    def length(self, tokens: list[int]) -> int:
        """What padding depends on."""
        return len(tokens)
