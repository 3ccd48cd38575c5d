"""A chat model without weights: it answers in the words of the last message, last word first.

python -m wattline_runtime.serve --model chat.py:Backwards
"""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from wattline_runtime.serve.model import InputRefused
from wattline_runtime.serve.openai import Finish


class Backwards:
    """Offers `chat` and `complete`. `--arg pause_ms=N`: the time of one word."""

    concurrency = 8

    def load(self, args: Mapping[str, str]) -> Iterator[str]:
        """What it yields is shown in the worker's log and state."""
        yield "reading no weights"
        self._pause_s = float(args.get("pause_ms", "0")) / 1000

    def chat(self, request: dict[str, Any]) -> Iterator[str | Finish]:
        """Each piece that it yields is a chunk for a client that streams."""
        text = request["messages"][-1].get("content")
        if not isinstance(text, str):
            raise InputRefused("the content of the last message is no text")
        return self._words(text, request.get("max_tokens"))

    def complete(self, request: dict[str, Any]) -> Iterator[str | Finish]:
        """The same for `/v1/completions`."""
        return self._words(request["prompt"], request.get("max_tokens"))

    def _words(self, text: str, limit: int | None) -> Iterator[str | Finish]:
        words = text.split()[::-1]
        given = words[:limit]
        for number, word in enumerate(given):
            time.sleep(self._pause_s)
            yield word if number == 0 else f" {word}"
        reason = "stop" if len(given) == len(words) else "length"
        yield Finish(prompt_tokens=len(words), completion_tokens=len(given), reason=reason)
