"""A model that returns each input: for benchmarks and for trying a service out."""

import time
from collections.abc import Mapping
from typing import Any

from wattline_runtime.serve.model import InputRefused


class Echo:
    """`--arg busy_ms=N` uses the CPU that long for each batch, as a real model would."""

    def load(self, args: Mapping[str, str]) -> None:
        """Raises ValueError for a `busy_ms` that is no number."""
        self._busy_s = float(args.get("busy_ms", "0")) / 1000

    def predict(self, batch: list[Any]) -> list[Any]:
        """The batch unchanged. Inputs `{"refuse": text}` are refused with that text."""
        end_s = time.monotonic() + self._busy_s
        while time.monotonic() < end_s:
            pass
        return [self._one(value) for value in batch]

    def length(self, value: Any) -> int:
        """Length of a string or list; 0 for anything else."""
        return len(value) if isinstance(value, str | list) else 0

    def _one(self, value: Any) -> Any:
        if isinstance(value, dict) and "refuse" in value:
            return InputRefused(str(value["refuse"]))
        return value
