"""Caps of GPUs over time, by the simulated hardware's own state; never by Wattline's telemetry."""

import threading
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from wattline_sim.nodedir import NodeDir
from wattline_sim.state import enforced_limit_mw
from wattline_sim.statefile import open_state

PERIOD_S = 0.02
RAISED = 1.05
"""A cap is raised when it is above so many times what it was."""


class CapChange(NamedTuple):
    """From `mono_s` on, the limit of a GPU is `limit_w`."""

    mono_s: float
    gpu: int
    limit_w: float


class CapWatch:
    """A thread that looks at the limits of one node's GPUs."""

    def __init__(self, node: NodeDir) -> None:
        state = open_state(node.state_file)
        self._gpus = [state.gpus[index] for index in range(state.header.gpu_count)]
        self._changes: list[CapChange] = []
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="caps", daemon=True)
        self._thread.start()

    def changes(self) -> list[CapChange]:
        """Those so far, by time; the first of each GPU is what it began with."""
        return list(self._changes)

    def highest_w(self, gpus: Collection[int]) -> float:
        """The highest limit of some GPUs now."""
        return max(_newest(one for one in self.changes() if one.gpu in gpus).values())

    def stop(self) -> None:
        """Look no more."""
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        limits = [0] * len(self._gpus)
        while not self._is_over.wait(PERIOD_S):
            now_s = time.monotonic()
            for index, gpu in enumerate(self._gpus):
                limit_mw = enforced_limit_mw(gpu)
                if limit_mw != limits[index]:
                    limits[index] = limit_mw
                    self._changes.append(CapChange(now_s, index, limit_mw / 1000))


@dataclass(frozen=True, slots=True)
class Raise:
    """Caps of some GPUs around a step: the highest of each time."""

    before_w: float
    after_w: float
    raised_s: float | None
    """From the step to the first cap that is clearly higher; None = none."""


def raised(
    changes: Sequence[CapChange], gpus: Collection[int], step_s: float, until_s: float
) -> Raise:
    """What a step of the load did to the caps, up to a time."""
    mine = [one for one in changes if one.gpu in gpus and one.mono_s <= until_s]
    before_w = max(_newest(one for one in mine if one.mono_s <= step_s).values(), default=0.0)
    later = [one for one in mine if one.mono_s > step_s]
    first_s = next((one.mono_s for one in later if one.limit_w > RAISED * before_w), None)
    after_w = max((one.limit_w for one in later), default=before_w)
    return Raise(before_w, after_w, None if first_s is None else first_s - step_s)


def _newest(changes: Iterable[CapChange]) -> dict[int, float]:
    return {one.gpu: one.limit_w for one in changes}
