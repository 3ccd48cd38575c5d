"""The digits' model as a GPU under a cap would serve it: for demonstrations on simulated GPUs.

    python -m wattline_runtime.serve --model wattline_examples.serve_clocked:ClockedDigits \\
        --arg checkpoints=DIRECTORY --arg image_ms=20

Each image is classified for real, on the processor. The answer then waits until the time is over
that the image would have taken at the clock that NVML shows: a part of it follows the core clock,
as in decoding a language model, the rest follows the memory.
"""

import os
import time
from collections.abc import Mapping
from typing import Any

import pynvml

from wattline_examples.serve_digits import Digits

CORE_SHARE = 1 / 6
"""Of the time at the highest clock, the part that follows the core clock."""


class ClockedDigits(Digits):
    """`image_ms`: time of an image at the highest clock."""

    def load(self, args: Mapping[str, str]) -> None:
        """Raises what `Digits` does, ValueError for a bad number, and NVMLError without a GPU."""
        self._image_s = float(args["image_ms"]) / 1000
        pynvml.nvmlInit()
        uuid = os.environ.get("CUDA_VISIBLE_DEVICES", "").partition(",")[0]
        self._gpu = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        super().load(args)

    def predict(self, batch: list[Any]) -> list[Any]:
        """As `Digits`, in the time that the clock allows."""
        began_s = time.monotonic()
        answers = super().predict(batch)
        end_s = began_s + len(batch) * self._image_s * slowdown(self._clock_share())
        time.sleep(max(0.0, end_s - time.monotonic()))
        return answers

    def _clock_share(self) -> float:
        """Core clock over the highest; an idle GPU is about to have that."""
        reasons = pynvml.nvmlDeviceGetCurrentClocksEventReasons(self._gpu)
        if reasons & pynvml.nvmlClocksEventReasonGpuIdle:
            return 1.0
        clock_mhz: int = pynvml.nvmlDeviceGetClockInfo(self._gpu, pynvml.NVML_CLOCK_SM)
        most_mhz: int = pynvml.nvmlDeviceGetMaxClockInfo(self._gpu, pynvml.NVML_CLOCK_SM)
        return min(1.0, clock_mhz / most_mhz)


def slowdown(clock_share: float) -> float:
    """Factor on the time at the highest clock."""
    return CORE_SHARE / clock_share + 1.0 - CORE_SHARE
