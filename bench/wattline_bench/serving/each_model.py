"""A model whose time grows with the number of inputs: a batch saves nothing."""

import time
from collections.abc import Mapping
from typing import Any


class Each:
    """`--arg each_ms=N` uses the CPU that long for each input."""

    def load(self, args: Mapping[str, str]) -> None:
        """Raises KeyError without `each_ms`."""
        self._each_s = float(args["each_ms"]) / 1000

    def predict(self, batch: list[Any]) -> list[Any]:
        """The batch unchanged."""
        end_s = time.monotonic() + self._each_s * len(batch)
        while time.monotonic() < end_s:
            pass
        return batch
