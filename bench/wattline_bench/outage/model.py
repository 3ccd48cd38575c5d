"""The model of the benchmark: it returns its input, and hangs or fails where a file says so."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Outage:
    """`--arg switches=FOLDER`: a file `hang-PID` there hangs that worker's next batch for ever.
    `--arg fails=load|predict`: a revision that must not be rolled out."""

    def load(self, args: Mapping[str, str]) -> None:
        """Raises RuntimeError where it is to fail."""
        self._hang = Path(args["switches"]) / f"hang-{os.getpid()}"
        self._fails = args.get("fails", "")
        if self._fails == "load":
            raise RuntimeError("this revision cannot be loaded")

    def predict(self, batch: list[Any]) -> list[Any]:
        """The batch unchanged."""
        while self._hang.exists():
            time.sleep(0.1)
        if self._fails == "predict":
            raise RuntimeError("this revision cannot answer")
        return batch
